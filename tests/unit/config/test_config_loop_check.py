"""Exporters whose backend is otel-sla itself."""

from pathlib import Path

import pytest

from otel_sla.config import check_own_receiver, load_config
from otel_sla.errors import ConfigError


def own_places(folder: Path, text: str, environ: dict[str, str]) -> list[str]:
    """Where a configuration says that it exports to itself; every problem says so."""
    path = folder / "otel-sla.yaml"
    path.write_text(text)
    said = "is where otel-sla itself receives (receivers"
    try:
        check_own_receiver(load_config(path, environ), environ)
    except ConfigError as error:
        return [problem.path for problem in error.problems if said in problem.message]
    return []


@pytest.mark.parametrize(
    ("receiver", "exporter", "is_own"),
    [
        ("localhost:4317", "localhost:4317", True),
        ("localhost:4317", "http://127.0.0.1:4317", True),
        ("0.0.0.0:4317", "LOCALHOST:4317", True),
        ("[::1]:4317", "localhost:4317", True),
        ("[::1]:4317", "127.0.0.1:4317", False),
        ("127.0.0.2:4317", "localhost:4317", False),
        ("0.0.0.0:4317", "collector:4317", False),
        ("localhost:14417", "localhost:4317", False),
        ("localhost:0", "localhost:0", False),
    ],
)
def test_an_exporter_to_our_own_receiver_is_refused(
    tmp_path: Path, receiver: str, exporter: str, *, is_own: bool
) -> None:
    """Where the backend is this very process, by any name of this machine, the exporter's key is named."""
    text = f"""
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{receiver}"}}}}}}}}
exporters: {{otlp: {{endpoint: "{exporter}"}}}}
"""
    assert own_places(tmp_path, text, {}) == ["exporters.otlp.endpoint"] * is_own


def test_each_url_of_an_http_exporter_is_looked_at(tmp_path: Path) -> None:
    """A signal's own URL, at either port of ours."""
    text = (
        "exporters: {otlp_http: {metrics_endpoint: 'http://localhost:4318/a', logs_endpoint: 'http://localhost:9/a'}}"
    )
    assert own_places(tmp_path, text, {}) == ["exporters.otlp_http.metrics_endpoint"]


def test_an_environment_that_names_our_own_receiver_is_refused(tmp_path: Path) -> None:
    """The variable that every SDK of a machine is given means the Collector, and not otel-sla at the same port."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}
    assert own_places(tmp_path, "", environ) == ["exporters.otlp_grpc"]
    assert own_places(tmp_path, "exporters: {otlp: {endpoint: 'a:1'}, debug: {}}", environ) == []
