"""Ignores `Upgrade:`, as a server may (RFC 9110, 7.8): the request is answered in HTTP/1.1, with its body.

Java's own HTTP client and `curl --http2` offer an upgrade to h2c with each first request, and send its body along. The
parser ends such a message with its headers and drops the body, and an empty body is a valid request without spans. So
the message is given to a new parser a second time, without what made it an offer.
"""

from collections.abc import Iterable
from typing import Any

import httptools

_OFFERS = frozenset((b"upgrade", b"http2-settings"))
_METHOD_WITHOUT_BODY = b"CONNECT"  # The parser takes it for an upgrade as well.


class Parser(httptools.HttpRequestParser):
    """httptools' parser, which keeps what follows the headers of an offered upgrade."""

    def __init__(self, protocol: Any) -> None:  # noqa: ANN401 - whatever has httptools' callbacks
        super().__init__(protocol)
        self.rest: bytes | None = None  # Of the data fed last; None: no upgrade was met.
        # As uvicorn sets it: a second request in one segment is answered, not refused.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: Any) -> None:  # noqa: ANN401 - any buffer
        """Parse what has arrived."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = bytes(data[upgrade.args[0] :])

    def is_offer(self) -> bool:
        """Tell at the end of the headers whether the parser is about to drop the body."""
        return bool(self.should_upgrade()) and self.get_method() != _METHOD_WITHOUT_BODY


def head_without_offer(method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write the request's head anew, without the headers that offer an upgrade.

    Args:
        method: As sent.
        url: As sent.
        version: Of HTTP: `1.1`.
        headers: Names in lower case.
    """
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode("ascii"))]
    for name, value in headers:
        if name in _OFFERS:
            continue
        kept = value
        if name == b"connection":
            options = (option.strip() for option in value.split(b","))
            kept = b", ".join(option for option in options if option.lower() not in _OFFERS)
        lines.append(b"%b: %b" % (name, kept))
    return b"\r\n".join((*lines, b"", b""))
