"""From a file and the environment to plain values: defaults, everything at once, and what is exported where."""

import json
import os
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from otel_sla.config import Config, LogFormat, LogLevel, load_config
from otel_sla.errors import ConfigError
from otel_sla.exporter.settings import DebugSettings, OtlpSettings, Signal
from otel_sla.receiver.settings import GrpcServerSettings, HttpServerSettings, ReceiverSettings
from otel_sla.sla.agreement import (
    Agreement,
    CodeRule,
    Condition,
    Counting,
    DowntimeTerms,
    ExclusionReason,
    ExclusionTerms,
    ExclusionWindow,
    NoData,
    NoStatusCode,
    Scope,
    WhenAbsent,
)

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "config"
SERVER_ERRORS = frozenset(range(500, 600))
DEFAULT_AGREEMENT = Agreement(
    name="default",
    covered_service=(),
    entry_spans_only=False,
    group_by=("service.name",),
    invalid=(),
    no_status_code=NoStatusCode.SPAN_STATUS,
    failed_http_status=SERVER_ERRORS,
    code=None,
    downtime=DowntimeTerms(
        error_rate_above=Fraction(1, 20), valid_requests_min=1, period_minutes_min=1, no_data=NoData.UP
    ),
    target=Fraction(999, 1000),
    time_zone="UTC",
    exclusions=ExclusionTerms(notice_business_days_min=3, holidays=(), windows=()),
)


def load(folder: Path, text: str, **environ: str) -> Config:
    """Load a file of this text."""
    path = folder / "otel-sla.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ)


def load_agreement(folder: Path, text: str) -> Agreement:
    """Load a file with one agreement, given as a YAML flow mapping's inside."""
    (agreement,) = load(folder, f"agreements: [{{name: a, {text}}}]").agreements
    return agreement


def test_without_a_file_the_defaults_serve() -> None:
    """No file, empty environment: both receivers on localhost, one agreement, the log as the only exporter."""
    config = load_config(None, {})
    assert config.source == "defaults"
    assert config.receiver == ReceiverSettings()
    assert config.ledger.url == "sqlite:///otel-sla.db"
    assert config.ledger.retention_s == 400 * 86400
    assert config.processor.grace_s == 60
    assert config.processor.late_spans_max_s == 86400
    assert config.processor.future_spans_max_s == 300
    assert config.processor.series_max == 10_000
    assert config.exporters == (DebugSettings(name="debug", interval_s=60),)
    assert config.agreements == (DEFAULT_AGREEMENT,)
    assert (config.logs.level, config.logs.format) == (LogLevel.INFO, LogFormat.TEXT)


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "agreements:\nreceivers:\nexporters: {}\n", "\ufeff"])
def test_a_file_that_says_nothing_leaves_the_defaults(tmp_path: Path, text: str) -> None:
    """Empty files, comments, empty sections, a byte order mark: as without a file."""
    assert load(tmp_path, text).effective == load_config(None, {}).effective


def test_the_design_example_says_what_it_means() -> None:
    """The example of the design, word for word: every value arrives as the plain value it stands for."""
    config = load_config(DATA / "full.yaml", {})
    assert config.receiver.grpc == GrpcServerSettings(endpoint="localhost:4317", max_recv_msg_size_mib=64)
    assert config.receiver.http == HttpServerSettings(endpoint="localhost:4318", max_request_body_size_mib=64)
    (exporter,) = config.exporters
    assert isinstance(exporter, OtlpSettings)
    assert (exporter.name, exporter.is_http, exporter.endpoint) == ("otlp", False, "localhost:14317")
    assert exporter.interval_s == 60
    assert exporter.tls is not None
    assert exporter.tls.insecure
    (agreement,) = config.agreements
    assert agreement == Agreement(
        name="chat",
        covered_service=(
            Condition(Scope.RESOURCE, "service.name", ("chat-*",)),
            Condition(Scope.RESOURCE, "deployment.environment.name", ("production",)),
            Condition(Scope.SPAN, "http.route", ("/v1/*",)),
        ),
        entry_spans_only=False,
        group_by=("service.name",),
        invalid=((Condition(Scope.SPAN, "feature.stage", ("alpha", "beta")),),),
        no_status_code=NoStatusCode.SPAN_STATUS,
        failed_http_status=SERVER_ERRORS,
        code=None,
        downtime=DEFAULT_AGREEMENT.downtime,
        target=Fraction(999, 1000),
        time_zone="UTC",
        failed_grpc_status=frozenset({2, 4, 12, 13, 14, 15}),
        failed=((Condition(Scope.SPAN, "graphql.response.has_errors", ("true",)),),),
        counting=Counting.REQUESTS,
        outcome_rules=2,
        exclusions=ExclusionTerms(
            notice_business_days_min=3,
            holidays=(date(2026, 12, 25),),
            windows=(
                ExclusionWindow(
                    reason=ExclusionReason.SCHEDULED_MAINTENANCE,
                    start=datetime(2026, 11, 6, 20, tzinfo=UTC),
                    stop=datetime(2026, 11, 6, 22, tzinfo=UTC),
                    group=None,
                    announced_at=datetime(2026, 11, 2, 9, tzinfo=UTC),
                    note="database upgrade",
                    recorded_by="configuration",
                    recorded_at=None,
                ),
            ),
        ),
    )


def test_the_documented_example_is_accepted() -> None:
    """docs/otel-sla.yaml: valid, also with its variable set."""
    assert len(load_config(ROOT / "docs" / "otel-sla.yaml", {}).agreements) == 2
    config = load_config(ROOT / "docs" / "otel-sla.yaml", {"BACKEND": "backend:4317"})
    assert isinstance(config.exporters[0], OtlpSettings)
    assert config.exporters[0].endpoint == "backend:4317"


@pytest.mark.parametrize("name", ["full.yaml", "secrets.yaml", "../../../docs/otel-sla.yaml"])
def test_what_is_in_effect_is_a_configuration_itself(tmp_path: Path, name: str) -> None:
    """The effective configuration, read again: the same effective configuration."""
    text = load_config(DATA / name, {"TOKEN": "t0ken$x", "HOME": "/root"}).effective
    assert load(tmp_path, text).effective == text


def test_secrets_are_read_but_never_shown() -> None:
    """Tokens and headers from the environment: given to the stages, masked wherever they could be seen."""
    config = load_config(DATA / "secrets.yaml", {"TOKEN": "t0ken$x"})
    assert config.receiver.grpc is not None
    assert config.receiver.grpc.auth is not None
    assert config.receiver.grpc.auth.tokens == ("t0ken$x", "second")
    assert config.receiver.http is not None
    assert config.receiver.http.auth is not None
    assert config.receiver.http.auth.tokens_file == Path("/run/secrets/tokens")
    exporter = config.exporters[0]
    assert isinstance(exporter, OtlpSettings)
    assert exporter.headers == {"authorization": "Bearer t0ken$x"}
    for shown in (config.effective, repr(config)):
        assert "t0ken" not in shown
        assert "second" not in shown
    assert yaml.safe_load(config.effective)["exporters"]["otlp_http/backend"]["headers"] == {"authorization": "****"}


@pytest.mark.parametrize(
    ("text", "grpc", "http"),
    [
        ("{}", True, True),
        ("", True, True),
        ("{grpc: }", True, False),
        ("{http: {}}", False, True),
        ("{grpc: , http: }", True, True),
    ],
)
def test_only_the_protocols_that_are_named_are_served(tmp_path: Path, text: str, *, grpc: bool, http: bool) -> None:
    """`protocols` with none, one and both of its keys: as in the Collector, and both where it is silent."""
    receiver = load(tmp_path, f"receivers: {{otlp: {{protocols: {text}}}}}").receiver
    assert receiver.grpc == (GrpcServerSettings() if grpc else None)
    assert receiver.http == (HttpServerSettings() if http else None)


def test_every_receiver_setting_arrives(tmp_path: Path) -> None:
    """All settings of both servers, none at its default: each in its place."""
    text = """
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: "[::1]:0"
        max_recv_msg_size_mib: 5
        max_concurrent_streams: 6
        connections_max: 7
        body_timeout: 8s
        handshake_timeout: 9s
        keepalive:
          server_parameters:
            {time: 11s, timeout: 12s, max_connection_age: 13s, max_connection_age_grace: 14s}
          enforcement_policy: {min_time: 15s}
        tls: {cert_file: a.crt, key_file: a.key, client_ca_file: ca.crt, reload_interval: 16s}
        auth: {tokens: one, tokens_file: tokens, reload_interval: 17s}
      http:
        endpoint: 0.0.0.0:0
        traces_url_path: /otlp/traces
        max_request_body_size_mib: 18
        connections_max: 19
        header_timeout: 20s
        body_timeout: 21s
        keep_alive_timeout: 22s
        cors: {allowed_origins: "*", allowed_headers: [x-a, x-b], max_age: 23}
processor: {memory_limit_mib: 24}
"""
    receiver = load(tmp_path, text).receiver
    grpc, http = receiver.grpc, receiver.http
    assert receiver.memory_limit_mib == 24
    assert grpc is not None
    assert (grpc.endpoint, grpc.max_recv_msg_size_mib, grpc.max_concurrent_streams) == ("[::1]:0", 5, 6)
    assert (grpc.connections_max, grpc.body_timeout_s, grpc.handshake_timeout_s) == (7, 8, 9)
    assert (grpc.keepalive_time_s, grpc.keepalive_timeout_s, grpc.keepalive_min_time_s) == (11, 12, 15)
    assert (grpc.max_connection_age_s, grpc.max_connection_age_grace_s) == (13, 14)
    assert grpc.tls is not None
    assert (grpc.tls.cert_file, grpc.tls.key_file) == (Path("a.crt"), Path("a.key"))
    assert (grpc.tls.client_ca_file, grpc.tls.reload_interval_s) == (Path("ca.crt"), 16)
    assert grpc.auth is not None
    assert (grpc.auth.tokens, grpc.auth.tokens_file, grpc.auth.reload_interval_s) == (("one",), Path("tokens"), 17)
    assert http is not None
    assert (http.endpoint, http.traces_url_path, http.max_request_body_size_mib) == ("0.0.0.0:0", "/otlp/traces", 18)
    assert (http.connections_max, http.header_timeout_s, http.body_timeout_s) == (19, 20, 21)
    assert http.keep_alive_timeout_s == 22
    assert http.cors is not None
    assert (http.cors.allowed_origins, http.cors.allowed_headers) == (("*",), ("x-a", "x-b"))
    assert http.cors.max_age_s == 23


@pytest.mark.parametrize(
    ("component_id", "is_http"),
    [("otlp", False), ("otlp_grpc", False), ("otlp_grpc/eu", False), ("otlp_http", True), ("otlphttp/2", True)],
)
def test_exporters_are_known_by_the_collectors_names(tmp_path: Path, component_id: str, *, is_http: bool) -> None:
    """Old and new type names, with and without a name behind the slash: the protocol they stand for."""
    (exporter,) = load(tmp_path, f"exporters: {{{component_id}: }}").exporters
    assert exporter == OtlpSettings(name=component_id, is_http=is_http)


def test_every_exporter_setting_arrives(tmp_path: Path) -> None:
    """All settings of an HTTP and of a debug exporter: each in its place, exporters in the file's order."""
    text = """
exporters:
  otlp_http:
    endpoint: https://otlp.example.com
    metrics_endpoint: https://metrics.example.com/v1/metrics
    logs_endpoint: https://logs.example.com/v1/logs
    tls: {ca_file: ca.crt, cert_file: a.crt, key_file: a.key}
    headers: {x-tenant: 007}
    compression: deflate
    timeout: 1500ms
    interval: 2m
  otlp_http/prometheus: {signals: [metrics]}
  debug: {interval: 5s}
"""
    exporter, prometheus, debug = load(tmp_path, text).exporters
    assert isinstance(exporter, OtlpSettings)
    assert exporter.endpoint == "https://otlp.example.com"
    assert exporter.metrics_endpoint == "https://metrics.example.com/v1/metrics"
    assert exporter.logs_endpoint == "https://logs.example.com/v1/logs"
    assert exporter.tls is not None
    assert (exporter.tls.insecure, exporter.tls.ca_file) == (False, Path("ca.crt"))
    assert (exporter.tls.cert_file, exporter.tls.key_file) == (Path("a.crt"), Path("a.key"))
    assert (exporter.headers, exporter.compression) == ({"x-tenant": "007"}, "deflate")
    assert (exporter.timeout_s, exporter.interval_s) == (1.5, 120)
    assert exporter.signals == {Signal.METRICS, Signal.LOGS}
    assert isinstance(prometheus, OtlpSettings)
    assert prometheus.signals == {Signal.METRICS}
    assert debug == DebugSettings(name="debug", interval_s=5)


@pytest.mark.parametrize(
    "name",
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"],
)
@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (None, OtlpSettings(name="otlp_grpc", is_http=False)),
        ("grpc", OtlpSettings(name="otlp_grpc", is_http=False)),
        ("http/protobuf", OtlpSettings(name="otlp_http", is_http=True)),
    ],
)
def test_a_backend_of_the_environment_is_exported_to(name: str, protocol: str | None, expected: OtlpSettings) -> None:
    """Any endpoint variable, any protocol, a silent file: one exporter, whose settings the variables give."""
    environ = {name: "http://backend:4317"} | ({"OTEL_EXPORTER_OTLP_PROTOCOL": protocol} if protocol else {})
    assert load_config(None, environ).exporters == (expected,)


def test_an_exporter_of_the_file_wins_over_the_environment(tmp_path: Path) -> None:
    """A file that names an exporter, and the variable: the file's only."""
    (exporter,) = load(tmp_path, "exporters: {debug: }", OTEL_EXPORTER_OTLP_ENDPOINT="http://backend").exporters
    assert exporter == DebugSettings(name="debug")


def test_an_empty_variable_names_no_backend() -> None:
    """The variable set to nothing: as if it were not set."""
    assert load_config(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}).exporters == (DebugSettings(name="debug"),)


def test_a_protocol_that_is_not_spoken_is_refused() -> None:
    """OTLP as JSON: an error that names the variable, not another protocol than the one asked for."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
    with pytest.raises(ConfigError) as raised:
        load_config(None, environ)
    assert str(raised.value) == (
        "defaults: OTEL_EXPORTER_OTLP_PROTOCOL must be one of grpc, http/protobuf, not 'http/json'"
    )


def test_conditions_take_texts_lists_numbers_and_booleans(tmp_path: Path) -> None:
    """Every way to write a condition's value: the text that OTLP attributes are compared by."""
    agreement = load_agreement(
        tmp_path,
        "covered_service: {resource: {a: x, b: [y, z*]}, span: {port: 443, ok: True, ratio: 0.5, word: no, empty: ''}}",
    )
    assert agreement.covered_service == (
        Condition(Scope.RESOURCE, "a", ("x",)),
        Condition(Scope.RESOURCE, "b", ("y", "z*")),
        Condition(Scope.SPAN, "port", ("443",)),
        Condition(Scope.SPAN, "ok", ("true",)),
        Condition(Scope.SPAN, "ratio", ("0.5",)),
        Condition(Scope.SPAN, "word", ("no",)),
        Condition(Scope.SPAN, "empty", ("",)),
    )


def test_a_service_that_is_said_in_several_ways_is_covered_by_any_of_them(tmp_path: Path) -> None:
    """Two keys for one thing: the conditions that always hold apart from those of which one suffices."""
    agreement = load_agreement(
        tmp_path,
        "covered_service: {resource: {service.name: chat}, any: [{resource: {env.name: prod}}, {span: {env: prod}}]}",
    )
    assert agreement.covered_service == (Condition(Scope.RESOURCE, "service.name", ("chat",)),)
    assert agreement.covered_any == (
        (Condition(Scope.RESOURCE, "env.name", ("prod",)),),
        (Condition(Scope.SPAN, "env", ("prod",)),),
    )


@pytest.mark.parametrize(
    ("written", "codes"),
    [
        ("[INTERNAL, UNAVAILABLE]", {13, 14}),
        ("[Internal, deadline_exceeded, DeadlineExceeded, dataLoss]", {13, 4, 15}),
        ('["13", 2]', {13, 2}),
        ("UNIMPLEMENTED", {12}),
        ("[]", set()),
        ("", {2, 4, 12, 13, 14, 15}),
    ],
)
def test_clause_4_grpc_codes_are_taken_in_any_writing(tmp_path: Path, written: str, codes: set[int]) -> None:
    """Names with underscores or without, numbers, one alone, none at all: the codes that fail."""
    agreement = load_agreement(tmp_path, f"error_rate: {{failed_grpc_status: {written}}}")
    assert agreement.failed_grpc_status == codes


def test_clause_19_the_basis_arrives(tmp_path: Path) -> None:
    """What is judged is chosen for each agreement; requests if nothing is said."""
    assert load_agreement(tmp_path, "counting: adjusted").counting is Counting.ADJUSTED
    assert DEFAULT_AGREEMENT.counting is Counting.REQUESTS


def test_the_strict_reading_arrives(tmp_path: Path) -> None:
    """HTTP 500 with a code beside it, the other policies changed: each in its place."""
    agreement = load_agreement(
        tmp_path,
        "entry_spans_only: true, group_by: [], valid_requests: {no_status_code: invalid},"
        ' error_rate: {failed_http_status: "500",'
        " code: {attribute: app.code, values: Internal Error, when_absent: succeeded}},"
        " downtime: {error_rate_above: 0.1, valid_requests_min: 2, period_minutes_min: 3, no_data: carry}",
    )
    assert agreement.entry_spans_only
    assert agreement.group_by == ()
    assert agreement.no_status_code is NoStatusCode.INVALID
    assert agreement.failed_http_status == {500}
    assert agreement.code == CodeRule("app.code", ("Internal Error",), WhenAbsent.SUCCEEDED)
    assert agreement.downtime == DowntimeTerms(Fraction(1, 10), 2, 3, NoData.CARRY)


def test_statuses_of_a_list_are_taken_together(tmp_path: Path) -> None:
    """A quoted status, a bare one and a range: the set of all."""
    agreement = load_agreement(tmp_path, 'error_rate: {failed_http_status: [500, "502", 503-504]}')
    assert agreement.failed_http_status == {500, 502, 503, 504}


def test_local_times_are_the_agreements(tmp_path: Path) -> None:
    """A window without offsets in an agreement with a time zone, and one with: the moments that are meant."""
    agreement = load_agreement(
        tmp_path,
        "monthly_uptime: {time_zone: Europe/Berlin}, exclusions: {windows: ["
        "{reason: force_majeure, start: 2026-07-01T10:00, stop: 2026-07-01T11:00+01:00},"
        "{reason: third_party, start: 2026-12-01T10:00, stop: 2026-12-01T11:00}]}",
    )
    summer, winter = agreement.exclusions.windows
    assert summer.start == datetime(2026, 7, 1, 8, tzinfo=UTC)
    assert summer.stop == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert winter.start == datetime(2026, 12, 1, 10, tzinfo=ZoneInfo("Europe/Berlin"))


def test_a_windows_group_is_ordered_as_group_by(tmp_path: Path) -> None:
    """A group written in another order: the order of `group_by`."""
    agreement = load_agreement(
        tmp_path,
        "group_by: [service.name, region], exclusions: {windows: [{reason: third_party, start: 2026-12-01T10:00,"
        " stop: 2026-12-01T11:00, group: {region: eu, service.name: chat}}]}",
    )
    assert agreement.exclusions.windows[0].group == (("service.name", "chat"), ("region", "eu"))


@pytest.mark.parametrize("group", [{"service.namespace": "shop", "host": "a"}, {"region": "eu"}, {}])
def test_clause_22_a_windows_group_may_be_of_a_former_grouping(tmp_path: Path, group: dict[str, str]) -> None:
    """Other keys than those of `group_by`, some of them, or none: the window is of that group, and stays it."""
    agreement = load_agreement(
        tmp_path,
        "group_by: [service.name, region], exclusions: {windows: [{reason: third_party, start: 2026-12-01T10:00,"
        f" stop: 2026-12-01T11:00, group: {json.dumps(group)}}}]}}",
    )
    assert agreement.exclusions.windows[0].group == tuple(group.items())


def test_log_settings_arrive(tmp_path: Path) -> None:
    """`telemetry.logs`: level and format."""
    logs = load(tmp_path, "telemetry: {logs: {level: debug, format: json}}").logs
    assert (logs.level, logs.format) == (LogLevel.DEBUG, LogFormat.JSON)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """No such file: one line with its name and the reason."""
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / "none.yaml", {})
    assert str(raised.value) == f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="folders open differently elsewhere")
def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder as the configuration: refused, no traceback."""
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path, {})


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"a: \xff", "is not UTF-8 at byte 3"), (b" " * (16 * 2**20 + 1), "is larger than 16777216 bytes")],
)
def test_what_is_no_text_of_a_sensible_size_is_refused(tmp_path: Path, body: bytes, message: str) -> None:
    """Other encodings and huge files: refused before they are parsed."""
    path = tmp_path / "bad.yaml"
    path.write_bytes(body)
    with pytest.raises(ConfigError) as raised:
        load_config(path, {})
    assert str(raised.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ENDPOINT", "ftp://a", "a URL such as http://localhost:4317"),
        ("METRICS_ENDPOINT", "http://local host:1", "a URL such as http://localhost:4317"),
        ("ENDPOINT", "http://a:99999", "a URL such as http://localhost:4317"),
        ("TIMEOUT", "abc", "a number of seconds above 0"),
        ("LOGS_COMPRESSION", "zip", "one of none, gzip, deflate"),
        ("INSECURE", "maybe", "one of true, false"),
        ("CERTIFICATE", "/nowhere", "the path of a file that is there"),
    ],
)
def test_a_wrong_variable_of_the_environment_is_refused_by_its_name(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    """Where an exporter reads it; the debug exporter reads none."""
    environ = {f"OTEL_EXPORTER_OTLP_{name}": value}
    path = tmp_path / "otel-sla.yaml"
    path.write_text("exporters: {otlp: {}}")
    with pytest.raises(ConfigError) as refused:
        load_config(path, environ)
    assert str(refused.value) == f"{path}: OTEL_EXPORTER_OTLP_{name} must be {message}, not {value!r}"
    path.write_text("exporters: {debug: {}}")
    load_config(path, environ)
