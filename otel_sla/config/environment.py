"""The standard variables `OTEL_EXPORTER_OTLP_*`: the exporter they make where the file names none, and their mistakes.

Exporters read them where the file is silent. The SDK's own warn of some mistakes, ignore others, and fail late.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from otel_sla.config.yaml_file import Tree

_PREFIX = "OTEL_EXPORTER_OTLP_"
_SIGNALS = ("", "METRICS_", "LOGS_")
_EXPORTERS = {"grpc": "otlp_grpc", "http/protobuf": "otlp_http"}  # By protocol.


def exporters_of(environ: Mapping[str, str]) -> tuple[dict[str, Tree], list[str]]:
    """Give the exporter to the backend that the environment names, and what is wrong; without a backend, `debug`.

    Nothing is queued for a backend that nobody named.
    """
    if not any(environ.get(f"{_PREFIX}{signal}ENDPOINT") for signal in _SIGNALS):
        return {"debug": {}}, []
    protocol = environ.get(f"{_PREFIX}PROTOCOL") or "grpc"
    if protocol in _EXPORTERS:
        return {_EXPORTERS[protocol]: {}}, []
    return {}, [f"{_PREFIX}PROTOCOL must be one of {', '.join(_EXPORTERS)}, not {protocol!r}"]


def find_mistakes(environ: Mapping[str, str]) -> Iterator[str]:
    """Say of each variable that is set what is wrong with it."""
    for signal in _SIGNALS:
        for option, check in _CHECKS.items():
            name = f"{_PREFIX}{signal}{option}"
            given = environ.get(name, "").strip()
            message = check(given) if given else None
            if message is not None:
                yield f"{name} must be {message}, not {given!r}"


def _timeout(text: str) -> str | None:
    try:
        is_sound = 0 < float(text) < math.inf
    except ValueError:
        is_sound = False
    return None if is_sound else "a number of seconds above 0"


def _choice(*choices: str) -> Callable[[str], str | None]:
    return lambda text: None if text.lower() in choices else f"one of {', '.join(choices)}"


def _file(text: str) -> str | None:
    return None if Path(text).is_file() else "the path of a file that is there"


def _endpoint(text: str) -> str | None:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # A port that is none.
        is_sound = False
    is_sound = is_sound and not any(letter.isspace() for letter in text)
    return None if is_sound else "a URL such as http://localhost:4317"


_CHECKS: Mapping[str, Callable[[str], str | None]] = {
    "ENDPOINT": _endpoint,
    "TIMEOUT": _timeout,
    "COMPRESSION": _choice("none", "gzip", "deflate"),
    "INSECURE": _choice("true", "false"),
    "CERTIFICATE": _file,
    "CLIENT_CERTIFICATE": _file,
    "CLIENT_KEY": _file,
}
