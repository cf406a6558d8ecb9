"""The standard variables that exporters read where the file is silent, checked before anything is sent.

The SDK's own exporters warn of some mistakes, ignore others, and fail late.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

_SIGNALS = ("", "METRICS_", "LOGS_")


def find_mistakes(environ: Mapping[str, str]) -> Iterator[str]:
    """Say of each `OTEL_EXPORTER_OTLP_*` variable that is set what is wrong with it."""
    for signal in _SIGNALS:
        for option, check in _CHECKS.items():
            name = f"OTEL_EXPORTER_OTLP_{signal}{option}"
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
