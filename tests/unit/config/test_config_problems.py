"""What is wrong with a configuration: each rule, each misspelt key, all at once, in words for people."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_origin

import pytest
import yaml
from pydantic import ValidationError

from otel_sla.config import load_config, parse_config
from otel_sla.config.agreements import AgreementSection
from otel_sla.config.document import ConfigDocument
from otel_sla.config.exporters import DebugExporter, OtlpGrpcExporter, OtlpHttpExporter
from otel_sla.config.problems import find_problems
from otel_sla.config.section import Section, section_in
from otel_sla.errors import ConfigError
from otel_sla.sla.agreement import ExclusionReason

GRPC = "receivers.otlp.protocols.grpc"
HTTP = "receivers.otlp.protocols.http"
ZONE = "agreements[0].monthly_uptime.time_zone"
NO_ADDRESS = "must be host:port such as localhost:4317 or [::1]:4317, not "
NO_DURATION = "must be a duration such as 90s, 1h30m or 400d, not "
NO_LEDGER = "must be sqlite:///relative.db or sqlite:////absolute.db, not "
NO_EXPORTER = "is no exporter that is known"
REASONS = ", ".join(reason.value for reason in ExclusionReason)
KEYS = ", ".join(AgreementSection.model_fields)
NO_ZONE = "must be an IANA time zone, not "
WINDOW = "agreements[0].exclusions.windows[0]"


def problems_of(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[tuple[str, str]]:
    """Load a file that has problems; give each one's path and message, without its line."""
    path = folder / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(path, environ or {})
    return [(problem.path, re.sub(r" \(line \d+\)$", "", problem.message)) for problem in raised.value.problems]


def nested(path: str, value: str) -> str:
    """Write the YAML that has `value` at `path` and little else; agreements have their name."""
    for part in reversed(path.split(".")):
        name, bracket, _ = part.partition("[")
        if bracket and name == "agreements":
            value = f"[{{name: a, {value[1:]}]"
        elif bracket:
            value = f"[{value}]"
        value = f"{{{name}: {value}}}"
    return value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{GRPC}.endpoint", "'4317'", f"{NO_ADDRESS}'4317'"),
        (f"{GRPC}.endpoint", "'::1:4317'", f"{NO_ADDRESS}'::1:4317'"),
        (f"{GRPC}.endpoint", "localhost:65536", f"{NO_ADDRESS}'localhost:65536'"),
        (f"{GRPC}.endpoint", "http://a:1", f"{NO_ADDRESS}'http://a:1'"),
        (f"{GRPC}.endpoint", "[a]", "must be a text, not a list"),
        (f"{GRPC}.max_recv_msg_size_mib", "0", "must be at least 1, not 0"),
        (f"{GRPC}.max_recv_msg_size_mib", "2048", "must be at most 2047, not 2048"),
        (f"{GRPC}.max_recv_msg_size_mib", "64MiB", "must be a whole number, not '64MiB'"),
        (f"{GRPC}.max_recv_msg_size_mib", "{a: b}", "must be a whole number, not a mapping"),
        (f"{GRPC}.max_recv_msg_size_mib", "9" * 5000, "is too large a number"),
        (f"{GRPC}.body_timeout", "0s", "must be longer than 0s"),
        (f"{GRPC}.body_timeout", "[1s]", "must be a duration, not a list"),
        (f"{GRPC}.keepalive.server_parameters.time", "60", f"{NO_DURATION}'60'; did you mean '60s'?"),
        (f"{GRPC}.tls.cert_file", "[x]", "must be a file's path, not a list"),
        (f"{GRPC}.auth", "", "is left empty: give it a value, or leave the key out"),
        (f"{GRPC}.tls", "", "is left empty: give it a value, or leave the key out"),
        (f"{HTTP}.auth", "", "is left empty: give it a value, or leave the key out"),
        (f"{HTTP}.tls", "", "is left empty: give it a value, or leave the key out"),
        (f"{HTTP}.tls.client_ca_file", "", "is left empty: give it a value, or leave the key out"),
        (f"{GRPC}.auth", "{}", "needs tokens, tokens_file, or both"),
        (f"{GRPC}.auth", "{tokens: []}", "needs tokens, tokens_file, or both"),
        (f"{GRPC}.auth", "5", "must be a mapping of keys to values, not '5'"),
        ("receivers.otlp.protocols", "grpc", "must be a mapping of keys to values, not 'grpc'"),
        (f"{HTTP}.traces_url_path", "v1/traces", "must match ^/[^?#]*$, not 'v1/traces'"),
        (f"{HTTP}.cors.max_age", "-1", "must be at least 0, not -1"),
        ("ledger.url", "postgresql://a/b", f"{NO_LEDGER}'postgresql://a/b'"),
        ("ledger.url", "sqlite:///", f"{NO_LEDGER}'sqlite:///'"),
        ("ledger.retention", "30d", "must be at least 33d (32d and processor.late_spans_max), not 30d"),
        ("processor.late_spans_max", "30s", "must not be shorter than grace: 30s is below 1m"),
        ("processor.series_max", "0", "must be at least 1, not 0"),
        ("processor.grace", "-1s", f"{NO_DURATION}'-1s'"),
        ("exporters", "[otlp]", "must be a mapping of keys to values, not a list"),
        ("exporters.oltp", "{}", "is no exporter that is known; did you mean 'otlp'?"),
        ("exporters.kafka", "{}", f"{NO_EXPORTER}; known are otlp, otlp_grpc, otlp_http, otlphttp, debug"),
        ("exporters.debug/", "{}", "needs a name after the slash, as in debug/2"),
        ("exporters.otlp.compression", "gzp", "must be one of none, gzip, deflate; not 'gzp'; did you mean 'gzip'?"),
        ("exporters.otlp.compression", "deflate", "must be none or gzip over gRPC, not deflate"),
        ("exporters.otlp.endpoint", "backend", f"{NO_ADDRESS}'backend'"),
        ("exporters.otlp.endpoint", "ftp://a", "must be a URL such as http://localhost:4318, not 'ftp://a'"),
        ("exporters.otlp.tls.insecure", "maybe", "must be true or false, not 'maybe'"),
        ("exporters.otlp.headers", "{bad name: b}", "'bad name' is no header's name: letters, digits and -"),
        ("exporters.otlp.headers", '{a: "b\\nc"}', "the value of a must be printable ASCII on one line"),
        ("exporters.otlp.headers", "[a]", "must be a mapping of keys to values, not a list"),
        ("exporters.otlp_http.endpoint", "a:4318", "must be a URL such as http://localhost:4318, not 'a:4318'"),
        ("exporters.otlp_http.timeout", "0s", "must be longer than 0s"),
        ("exporters.otlp_http.signals", "[]", "must not be empty"),
        ("exporters.otlp_http.signals[0]", "metric",
         "must be one of metrics, logs; not 'metric'; did you mean 'metrics'?"),
        ("agreements", "[]", "must not be empty"),
        ("agreements", "chat", "must be a list, not 'chat'"),
        ("agreements[0].group_by", "[a, b, a]", "names 'a' more than once"),
        ("agreements[0].group_by", "[a, sla.x]", "'sla.x' is a name of ours, in figures and events"),
        ("agreements[0].entry_spans_only", "sometimes", "must be true or false, not 'sometimes'"),
        ("agreements[0].downtime.error_rate_above", "5", "must be at most 1, not 5; did you mean 5%?"),
        ("agreements[0].downtime.error_rate_above", "[5%]", "must be a percentage or a ratio, not a list"),
        ("agreements[0].downtime.no_data", "upp", "must be one of up, down, carry; not 'upp'; did you mean 'up'?"),
        ("agreements[0].downtime.valid_requests_min", "0", "must be at least 1, not 0"),
        ("agreements[0].downtime.period_minutes_min", "1.5", "must be a whole number, not '1.5'"),
        ("agreements[0].monthly_uptime.target", "0%", "must be above 0%"),
        ("agreements[0].monthly_uptime.target", "99.9", "must be at most 1, not 99.9; did you mean 99.9%?"),
        (ZONE, "Europe/Berln", f"{NO_ZONE}'Europe/Berln'; did you mean 'Europe/Berlin'?"),
        (ZONE, "kolkata", f"{NO_ZONE}'kolkata'; did you mean 'Asia/Kolkata'?"),
        (ZONE, "new york", f"{NO_ZONE}'new york'; did you mean 'America/New_York'?"),
        (ZONE, "../etc", f"{NO_ZONE}'../etc'"),
        ("agreements[0].error_rate.failed_http_status", "{}", "must be a list, not a mapping"),
        ("agreements[0].error_rate.failed_http_status", "[]", "must not be empty"),
        ("agreements[0].error_rate.code.values", "[]", "must not be empty"),
        ("agreements[0].covered_service.resource", "[a]", "must be a mapping of keys to values, not a list"),
        ("agreements[0].exclusions.notice_business_days_min", "-1", "must be at least 0, not -1"),
        ("telemetry.logs.level", "verbose", "must be one of debug, info, warn, error; not 'verbose'"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_path(tmp_path: Path, path: str, value: str, message: str) -> None:
    """Each setting with a value that it cannot have: its path, and what it must be."""
    assert (path, message) in problems_of(tmp_path, nested(path, value))


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("{grpc: {endpoint: 'localhost:1'}, http: {endpoint: 'localhost:1'}}",
         f"{HTTP}.endpoint", "grpc has localhost:1 already; each needs its own"),
        ("{grpc: {auth: {tokens: [a, ' ']}}}", f"{GRPC}.auth.tokens[1]", "must be ASCII, and not empty"),
        ("{grpc: {tls: {cert_file: a}}}", f"{GRPC}.tls.key_file", "is required"),
    ],
)  # fmt: skip
def test_a_broken_rule_of_the_receiver_is_refused(tmp_path: Path, text: str, path: str, message: str) -> None:
    """Rules between settings of the receiver: refused at the setting that has to change."""
    assert problems_of(tmp_path, f"receivers: {{otlp: {{protocols: {text}}}}}") == [(path, message)]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("{cert_file: a}", "key_file", "is required: cert_file and key_file belong together"),
        ("{key_file: a}", "cert_file", "is required: cert_file and key_file belong together"),
        ("{insecure: true, ca_file: a}", "insecure", "must be false where certificates are given"),
    ],
)
def test_a_broken_rule_of_an_exporters_tls_is_refused(tmp_path: Path, text: str, path: str, message: str) -> None:
    """Certificates that do not fit together: refused at the setting that has to change."""
    found = problems_of(tmp_path, f"exporters: {{otlp_http/a: {{tls: {text}}}}}")
    assert found == [(f"exporters.otlp_http/a.tls.{path}", message)]


def test_a_url_of_a_signal_that_is_not_sent_is_refused(tmp_path: Path) -> None:
    """One of the two is a mistake: refused at the URL; and our own metrics need an exporter that sends metrics."""
    exporters = "exporters: {otlp_http: {signals: [metrics], logs_endpoint: 'http://a/logs'}}"
    path, message = "exporters.otlp_http.logs_endpoint", "is of no use: signals leaves out logs"
    assert problems_of(tmp_path, exporters) == [(path, message)]
    text = "exporters: {otlp: {signals: [logs]}, otlp/2: {}}\ntelemetry: {metrics: {exporter: otlp}}"
    message = "must be one of the OTLP exporters of metrics (otlp/2), not 'otlp'"
    assert problems_of(tmp_path, text) == [("telemetry.metrics.exporter", message)]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("reason: scheduled_maintenance, start: 2026-11-06T20:00, stop: 2026-11-06T21:00", ".announced_at",
         "is required for scheduled_maintenance: notice is counted from it"),
        ("reason: third_party, start: 2026-11-06T20:00, stop: 2026-11-06T20:00", ".stop",
         "must be after start: 2026-11-06T20:00:00+01:00 is not after 2026-11-06T20:00:00+01:00"),
        ("reason: third_party, start: 2026-11-06T20:00Z, stop: 2026-11-06T20:30", ".stop",
         "must be after start: 2026-11-06T20:30:00+01:00 is not after 2026-11-06T20:00:00+00:00"),
        ("reason: third_party, start: 2026-03-29T02:30, stop: 2026-03-29T04:00", ".start",
         "2026-03-29T02:30:00 does not exist in Europe/Berlin, where clocks are put forward then"),
        ("reason: third_party, start: 2026-10-25T00:00, stop: 2026-10-25T02:30", ".stop",
         "2026-10-25T02:30:00 happens twice in Europe/Berlin, where clocks are put back then; add +02:00 or +01:00"),
        ("reason: third_party, start: 2026-11-06T20:00, stop: 2026-11-06T21:00, group: {service.names: chat}",
         ".group['service.names']",
         "is no attribute of group_by (service.name); did you mean 'service.name'?"),
        ("reason: maintenance, start: 2026-11-06T20:00, stop: 2026-11-06T21:00", ".reason",
         f"must be one of {REASONS}; not 'maintenance'; did you mean 'scheduled_maintenance'?"),
        ("reason: third_party, start: 2026-11-06, stop: 2026-11-06T21:00", ".start",
         "must be a time such as 2026-11-06T20:00:00Z or 2026-11-06T20:00 (local), not '2026-11-06'"),
        ("reason: third_party, start: {a: b}, stop: 2026-11-06T21:00", ".start", "must be a time, not a mapping"),
        ("reason: third_party, start: 2026-11-06T20:00", ".stop", "is required"),
    ],
)  # fmt: skip
def test_a_broken_rule_of_a_window_is_refused(tmp_path: Path, text: str, path: str, message: str) -> None:
    """Notice, order, clock changes, groups of an exclusion window: refused at the setting that has to change."""
    agreement = f"{{name: a, monthly_uptime: {{time_zone: Europe/Berlin}}, exclusions: {{windows: [{{{text}}}]}}}}"
    assert problems_of(tmp_path, f"agreements: [{agreement}]") == [(f"{WINDOW}{path}", message)]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("valid_requests: {invalid: [{span: {a: b}}, {}]}", ".valid_requests.invalid[1]",
         "needs a condition under resource or span; without one it would hold for every request"),
        ("error_rate: {failed: [{}]}", ".error_rate.failed[0]",
         "needs a condition under resource or span; without one it would hold for every request"),
        ("covered_service: {any: [{}]}", ".covered_service.any[0]",
         "needs a condition under resource or span; without one it would hold for every request"),
        ("error_rate: {failed_grpc_status: [INTERNAL, NOT_FOUND]}", ".error_rate.failed_grpc_status[1]",
         ("only UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS can fail,"
          " not 'NOT_FOUND': any other code is the client's fault or a success")),
        ("error_rate: {failed_grpc_status: [[13]]}", ".error_rate.failed_grpc_status[0]",
         "must be a gRPC code, not a list"),
        ("counting: sampled", ".counting", "must be one of requests, adjusted; not 'sampled'"),
        ("covered_service: {span: {http.route: []}}", ".covered_service.span['http.route']", "must not be empty"),
        ("covered_service: {span: {a: [{b: c}]}}", ".covered_service.span.a[0]", "must be a text, not a mapping"),
        ("error_rate: {failed_http_status: [5xx, 404]}", ".error_rate.failed_http_status[1]",
         "only 500 to 599 can fail, not 404: a 4xx is the client's fault, the rest succeeded"),
        ("error_rate: {failed_http_status: [[500]]}", ".error_rate.failed_http_status[0]",
         "must be an HTTP status, not a list"),
        ("exclusions: {holidays: [2026-02-30]}", ".exclusions.holidays[0]",
         "must be a date such as 2026-12-25, not '2026-02-30'"),
        ("group_by: [a, '']", ".group_by[1]", "must not be empty"),
        ("target: 99.9%", ".target", "unknown key; did you mean 'monthly_uptime.target'?"),
        ("zzz: 1", ".zzz",
         f"unknown key; known here: {KEYS}"),
    ],
)  # fmt: skip
def test_a_broken_rule_of_an_agreement_is_refused(tmp_path: Path, text: str, path: str, message: str) -> None:
    """Lists, conditions and keys of an agreement: refused with the item that has to change."""
    assert problems_of(tmp_path, f"agreements: [{{name: a, {text}}}]") == [(f"agreements[0]{path}", message)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is required"),
        ("{name: ''}", "must not be empty"),
        ("{name: }", "is required"),
        ('{name: "a\\nb"}', "must be printable text on one line, not 'a\\nb'"),
        (f"{{name: {'x' * 201}}}", "must be at most 200 characters long"),
    ],
)
def test_an_agreement_has_a_name(tmp_path: Path, text: str, message: str) -> None:
    """No name, an empty one, more than a line, a long one: refused."""
    assert problems_of(tmp_path, f"agreements: [{text}]") == [("agreements[0].name", message)]


def test_agreement_names_are_unique(tmp_path: Path) -> None:
    """A name given three times, beside another problem: each repetition is named, and the other problem too."""
    found = problems_of(tmp_path, "agreements: [{name: a}, {name: b}, {name: a}, {name: a, zzz: 1}]")
    assert found[:2] == [
        ("agreements[2].name", "'a' is the name of agreements[0] already"),
        ("agreements[3].name", "'a' is the name of agreements[0] already"),
    ]
    assert [path for path, _ in found[2:]] == ["agreements[3].zzz"]


def misspelt_keys() -> Iterator[tuple[str, str, str]]:
    """Each key of each section, with its last letter twice, as the section's path, the wrong and the right key."""
    yield from _misspelt("", ConfigDocument)
    for component_id, section in (
        ("otlp", OtlpGrpcExporter),
        ("otlp_http", OtlpHttpExporter),
        ("debug", DebugExporter),
    ):
        yield from _misspelt(f"exporters.{component_id}", section)


def _misspelt(path: str, section: type[Section]) -> Iterator[tuple[str, str, str]]:
    for name, field in section.model_fields.items():
        yield path, name + name[-1], name
        inner = section_in(field.annotation)
        if inner is not None:
            item = {tuple: "[0]", dict: ".ops"}.get(get_origin(field.annotation), "")
            yield from _misspelt(f"{path}.{name}{item}".strip("."), inner)


@pytest.mark.parametrize(("path", "wrong", "right"), list(misspelt_keys()))
def test_a_misspelt_key_is_named_with_the_right_one(tmp_path: Path, path: str, wrong: str, right: str) -> None:
    """Every key there is, misspelt: its path and the key that was meant."""
    text = nested(path, f"{{{wrong}: 1}}") if path else f"{wrong}: 1"
    expected = f"{path}.{wrong}".strip(".")
    assert (expected, f"unknown key; did you mean {right!r}?") in problems_of(tmp_path, text)


def test_a_removed_key_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    """A configuration that had several processes receive, beside another problem: what has come in their place."""
    other, (processes, message) = problems_of(tmp_path, "processor: {processes: 1, grace: x}")
    assert (other[0], processes) == ("processor.grace", "processor.processes")
    assert message.startswith("no longer exists: leave it out; for more than one process can take, run several")


def test_all_problems_are_listed_at_once_in_the_files_order(tmp_path: Path) -> None:
    """Problems of syntax, environment, keys, values and rules in one file: all of them, line by line."""
    path = tmp_path / "bad.yaml"
    path.write_text(
        "processor: {grace: 2m, late_spans_max: 1m}\n"
        "receiverz: {}\n"
        "ledger:\n"
        "  url: ${env:GONE}\n"
        "exporters: {oltp: }\n"
        "agreements:\n"
        "  - {name: a, name: b}\n"
        "  - name: c\n"
        "    downtime: {no_data: upp, error_rate_above: 5}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as raised:
        load_config(path, {})
    assert [str(problem) for problem in raised.value.problems] == [
        "processor.late_spans_max: must not be shorter than grace: 1m is below 2m (line 1)",
        "receiverz: unknown key; did you mean 'receivers'? (line 2)",
        "ledger.url: the environment has no variable GONE; ${env:GONE:-…} would give a default (line 4)",
        "exporters.oltp: is no exporter that is known; did you mean 'otlp'? (line 5)",
        "agreements[0].name: is given again in line 7 (line 7)",
        "agreements[1].downtime.error_rate_above: must be at most 1, not 5; did you mean 5%? (line 9)",
        "agreements[1].downtime.no_data: must be one of up, down, carry; not 'upp'; did you mean 'up'? (line 9)",
    ]
    assert str(raised.value).splitlines() == [f"{path}: {problem}" for problem in raised.value.problems]


def test_rules_of_the_whole_file_are_said_beside_a_wrong_exporter(tmp_path: Path) -> None:
    """A wrong endpoint and a wrong type beside a short retention, then beside an exporter of metrics that is not there.

    That `otlp` is wrong does not make it absent.
    """
    exporters = "exporters: {otlp: {endpoint: foo}, oltp: }\n"
    wrong = [
        ("exporters.oltp", f"{NO_EXPORTER}; did you mean 'otlp'?"),
        ("exporters.otlp.endpoint", f"{NO_ADDRESS}'foo'"),
    ]
    retention = "must be at least 33d (32d and processor.late_spans_max), not 3d"
    text = f"{exporters}ledger: {{retention: 3d}}\ntelemetry: {{metrics: {{exporter: otlp}}}}"
    assert problems_of(tmp_path, text) == [*wrong, ("ledger.retention", retention)]
    absent = "must be one of the OTLP exporters of metrics (otlp), not 'gone'"
    text = f"{exporters}telemetry: {{metrics: {{exporter: gone}}}}"
    assert problems_of(tmp_path, text) == [*wrong, ("telemetry.metrics.exporter", absent)]
    text = "ledger: {retention: 3d}\ntelemetry: {metrics: {exporter: gone}}"
    assert [path for path, _ in problems_of(tmp_path, text)] == ["ledger.retention", "telemetry.metrics.exporter"]


def test_what_pydantic_says_names_what_is_given() -> None:
    """An error without a text of ours: pydantic's, and what stands there."""

    class Number(Section):
        value: float

    with pytest.raises(ValidationError) as caught:
        Number.model_validate({"value": [1]})
    assert find_problems(caught.value, Number) == [(("value",), "Input should be a valid number, not a list")]


def test_messages_do_not_show_secrets(tmp_path: Path) -> None:
    """Tokens and headers of the wrong shape: described without their text."""
    text = "receivers: {otlp: {protocols: {grpc: {auth: {tokens: [[s3cret], {a: s3cret}], zzz: s3cret}}}}}\n"
    text += "exporters: {otlp: {headers: {authorization: [s3cret]}}}"
    found = problems_of(tmp_path, text)
    assert len(found) == 4
    assert "s3cret" not in str(found)


@pytest.mark.parametrize("text", ["just text", "[a, list]", "5"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    """Text, a list, a number instead of the configuration: refused, no traceback."""
    ((path, message),) = problems_of(tmp_path, text)
    assert path == ""
    assert message.startswith("must be a mapping of keys to values, not ")


def _settings(section: type[Section], above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all settings; lists have one item."""
    for name, field in section.model_fields.items():
        yield (*above, name)
        inner = section_in(field.annotation)
        if inner is not None:
            item = {tuple: (0,), dict: ("ops",)}.get(get_origin(field.annotation), ())
            yield from _settings(inner, (*above, name, *item))


def _tree(path: tuple[str | int, ...], value: object) -> object:
    for part in reversed(path):
        value = [value] if part == 0 else {part: value}
    return value


@pytest.mark.parametrize("value", ["x", "", [], {}, ["x"], [[]], [{}], [None], {"a": "b"}, "1.5", "-1", "9" * 80])
def test_mistakes_are_described_in_our_words(value: object) -> None:
    """A value of any wrong kind for any setting: no phrase of pydantic's own is in the messages."""
    paths = [path for path in _settings(ConfigDocument) if path[0] != "exporters"]
    paths += [("exporters", "otlp_http", *path) for path in _settings(OtlpHttpExporter)]
    messages = []
    for path in paths:
        try:
            parse_config(yaml.safe_dump(_tree(path, value)), "file", {})
        except ConfigError as error:
            messages.append(str(error))
    assert messages
    assert not [words for words in messages if re.search(r"Input should|Value error|pydantic|type=", words)]
