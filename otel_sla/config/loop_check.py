"""An exporter that sends to our own receiver would be refused for ever, and its figures would be seen by nobody.

Asked of what is about to serve: a report, or an application that counts for itself, receives nothing.
"""

from collections.abc import Iterator, Mapping

from otel_sla.config.settings import Config
from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.exporter.settings import DebugSettings, ExporterSettings

_ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_REACHED_BY = {  # A receiver's host: by which hosts it is reached from here, beside its own name.
    "localhost": _LOOPBACK,
    "127.0.0.1": frozenset({"localhost"}),
    "[::1]": frozenset({"localhost"}),
    "0.0.0.0": frozenset({"localhost", "127.0.0.1"}),  # noqa: S104 - looked for, not listened at.
    "[::]": _LOOPBACK,
}


def check_own_receiver(config: Config, environ: Mapping[str, str]) -> None:
    """See that no exporter's backend is where this very configuration receives.

    Raises:
        ConfigError: One is.
    """
    protocols = {"grpc": config.receiver.grpc, "http": config.receiver.http}
    own: dict[tuple[str, str], str] = {}
    for name, protocol in protocols.items():
        host, port = _address(protocol.endpoint) if protocol else ("", "")
        if port.strip("0"):  # Port 0 is a free one.
            reached_by = {host} | _REACHED_BY.get(host, frozenset())
            own |= {(each, port): f"receivers.otlp.protocols.{name}.endpoint" for each in reached_by}
    problems = []
    for place, said, url in (each for exporter in config.exporters for each in _urls(exporter, environ)):
        if receiver := own.get(_address(url)):
            message = f"{said} is where otel-sla itself receives ({receiver}); one of them needs another port"
            problems.append(ConfigProblem(place, message))
    if problems:
        raise ConfigError(config.source, problems)


def _urls(exporter: ExporterSettings, environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Give the URLs that somebody wrote: each one's place, how to call it, and itself."""
    if isinstance(exporter, DebugSettings):
        return
    place = f"exporters.{exporter.name}"
    keys = ("endpoint", "metrics_endpoint", "logs_endpoint")
    given = [(f"{place}.{key}", url, url) for key in keys if (url := getattr(exporter, key)) is not None]
    of_environment = environ.get(_ENDPOINT_VARIABLE)
    if not given and of_environment:
        given = [(place, f"{_ENDPOINT_VARIABLE}={of_environment}", of_environment)]
    yield from given


def _address(url: str) -> tuple[str, str]:
    """Split off host and port of `host:port` or a URL.

    >>> _address("http://LocalHost:4318/v1/logs"), _address("[::1]:4317"), _address("https://otlp.example.com")
    (('localhost', '4318'), ('[::1]', '4317'), ('otlp.example.com', ''))
    """
    place = (url.partition("://")[2] or url).partition("/")[0].lower()
    host, colon, port = place.rpartition(":")
    return (host, port) if colon and port.isdigit() else (place, "")
