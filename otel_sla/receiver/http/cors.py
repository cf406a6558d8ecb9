"""CORS: which web pages' browsers may send spans here (Fetch standard, "CORS protocol")."""

import fnmatch
import re
from collections.abc import Mapping

from otel_sla.receiver.settings import CorsSettings

Headers = list[tuple[bytes, bytes]]

_ORIGIN_SIZE_MAX = 280  # Characters: scheme, a name as long as DNS has them, port.
_HEADERS_ALWAYS = ("accept", "accept-language", "content-language", "content-type", "content-encoding")


class Cors:
    """Decides on origins and writes the headers that say so."""

    def __init__(self, settings: CorsSettings) -> None:
        self._origins = [_compile(origin) for origin in settings.allowed_origins]
        self._headers = frozenset(_HEADERS_ALWAYS) | {header.lower() for header in settings.allowed_headers}
        self._max_age_s = settings.max_age_s

    def answer_preflight(self, headers: Mapping[str, str], allow: str) -> Headers:
        """Write the headers of the answer to OPTIONS; none that allow if anything asked for is not allowed."""
        answer = self.answer(headers)
        method = headers.get("access-control-request-method", "")
        wanted = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
        refused = [name for name in wanted if name and name not in self._headers and "*" not in self._headers]
        if len(answer) == 1 or method != allow or refused:
            return [_VARY]
        answer.append((b"access-control-allow-methods", allow.encode()))
        answer.append((b"access-control-max-age", str(self._max_age_s).encode()))
        if any(wanted):
            answer.append((b"access-control-allow-headers", ", ".join(wanted).encode("latin-1")))
        return answer

    def answer(self, headers: Mapping[str, str]) -> Headers:
        """Write the headers for the answer to the request itself."""
        origin = headers.get("origin", "")
        if len(origin) > _ORIGIN_SIZE_MAX or not any(allowed.match(origin.lower()) for allowed in self._origins):
            return [_VARY]
        # The origin itself rather than `*`, because browsers send their beacons with credentials.
        return [
            _VARY,
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
        ]


_VARY = (b"vary", b"origin")


def _compile(pattern: str) -> re.Pattern[str]:
    """Make a pattern in which `*` stands for any text, and all else for itself.

    `fnmatch` looks for each part behind the one before it, once: other expressions for two `*` looked at all pairs of
    places, for seconds, before any credentials.
    """
    return re.compile(fnmatch.translate(pattern.lower().replace("[", "[[]").replace("?", "[?]")))
