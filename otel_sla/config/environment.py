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
        for option, (what, is_sound) in _CHECKS.items():
            name = f"{_PREFIX}{signal}{option}"
            given = environ.get(name, "").strip()
            if given and not is_sound(given):
                yield f"{name} must be {what}, not {given!r}"


def _is_timeout(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def _is_endpoint(text: str) -> bool:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # A port that is none.
        return False
    return is_sound and not any(letter.isspace() for letter in text)


_A_FILE = ("the path of a file that is there", lambda text: Path(text).is_file())
# Option -> what it must be, and whether it is.
_CHECKS: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "ENDPOINT": ("a URL such as http://localhost:4317", _is_endpoint),
    "TIMEOUT": ("a number of seconds above 0", _is_timeout),
    "COMPRESSION": ("one of none, gzip, deflate", lambda text: text.lower() in ("none", "gzip", "deflate")),
    "INSECURE": ("one of true, false", lambda text: text.lower() in ("true", "false")),
    "CERTIFICATE": _A_FILE,
    "CLIENT_CERTIFICATE": _A_FILE,
    "CLIENT_KEY": _A_FILE,
}
