"""CORS: which web pages' browsers may send spans here (Fetch standard, "CORS protocol")."""

from collections.abc import Mapping

from otel_sla.receiver.settings import CorsSettings

Headers = list[tuple[bytes, bytes]]

_ORIGIN_SIZE_MAX = 280  # Characters: scheme, a name as long as DNS has them, port.
_HEADERS_ALWAYS = ("accept", "accept-language", "content-language", "content-type", "content-encoding")


class Cors:
    """Decides on origins and writes the headers that tell browsers so."""

    def __init__(self, settings: CorsSettings) -> None:
        self._origins = [_Glob(origin.lower()) for origin in settings.allowed_origins]
        self._headers = frozenset(_HEADERS_ALWAYS) | {header.lower() for header in settings.allowed_headers}
        self._max_age_s = settings.max_age_s

    def answer_preflight(self, headers: Mapping[str, str], allow: str) -> Headers:
        """Write the headers of the answer to OPTIONS; none that allow if any of what is wanted is not allowed."""
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
        if len(origin) > _ORIGIN_SIZE_MAX or not any(allowed.matches(origin.lower()) for allowed in self._origins):
            return [_VARY]
        # The origin itself rather than `*`, because browsers send their beacons with credentials.
        return [
            _VARY,
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
        ]


_VARY = (b"vary", b"origin")


class _Glob:
    """A pattern in which `*` stands for any text, and all else for itself.

    No regular expression: two `*` made one look at all pairs of places, for seconds, before any credentials.
    """

    def __init__(self, pattern: str) -> None:
        self._start, *rest = pattern.split("*")
        *self._middle, self._end = rest or [""]
        self._is_exact = not rest

    def matches(self, text: str) -> bool:
        """Tell whether all of `text` is as the pattern says: each part is looked for behind the one before it, once."""
        if self._is_exact:
            return text == self._start
        at, stop = len(self._start), len(text) - len(self._end)
        if at > stop or not text.startswith(self._start) or not text.endswith(self._end):
            return False
        for part in self._middle:
            found = text.find(part, at, stop)
            if found < 0:
                return False
            at = found + len(part)
        return True
