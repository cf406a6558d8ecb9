"""One request of HTTP/1.1: its head, parsed by httptools, and what httptools does not check."""

import re

import httptools

from otel_sla.receiver.http.body import Body
from otel_sla.receiver.responses import MalformedRequest, UnknownVersion

_HEAD_SIZE_BYTES_MAX = 64 * 1024
_FIELDS_MAX = 128  # Of a head: each costs much more than its bytes.
_TLS_HANDSHAKE = b"\x16\x03"
_END = b"\r\n\r\n"
_VERSIONS = {b" HTTP/1.1": "1.1", b" HTTP/1.0": "1.0"}
_VERSION_SIZE_BYTES = 9
# RFC 9110, 7.2 and RFC 3986, 3.2.2; two Host headers are joined by a comma and a blank, which no host has.
_HOST = re.compile(r"(?:\[[0-9A-Za-z.:~_-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?")


class Request:
    """One request; the parser fills it in, so that a malformed one has what came before the mistake.

    Attributes:
        method: `POST`.
        path: As sent, without the query: nothing is decoded in it.
        version: Of HTTP, `1.1` or `1.0`.
        headers: By names in lower case; of a repeated one all values, as one list. Of the first 128.
        field_count: How many there were.
        body: What follows the head.
        owner: Who sends, as far as that is known.
        is_welcome: The sender's credentials are valid.
    """

    __slots__ = ("body", "field_count", "headers", "is_welcome", "method", "owner", "path", "version")

    def __init__(self, owner: object, body: Body) -> None:
        self.method = ""
        self.path = ""
        self.version = "1.1"
        self.headers: dict[str, str] = {}
        self.field_count = 0
        self.body = body
        self.owner = owner
        self.is_welcome = False

    @property
    def media_type(self) -> str:
        """The body's, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_last(self) -> bool:
        """The connection ends with the answer: asked for, HTTP/1.0, or CONNECT, behind which no request follows."""
        if self.version == "1.0" or self.method == "CONNECT":
            return True
        options = self.headers.get("connection")
        return options is not None and "close" in (option.strip() for option in options.lower().split(","))

    def on_url(self, url: bytes) -> None:
        """Httptools calls this with parts of it."""
        self.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Httptools calls this for each."""
        self.field_count += 1
        if self.field_count > _FIELDS_MAX:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text


class HeadParser:
    """Fills in a request as its head arrives."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._parser = httptools.HttpRequestParser(request)
        self._parsed_bytes = 0

    def feed(self, data: bytearray) -> bool:
        """Parse what is new in `data`; take the head off it once it has arrived as a whole, and return whether it has.

        Raises:
            MalformedRequest: It is no head, or one of more than 64 KiB or 128 fields.
            UnknownVersion: Another protocol.
        """
        if not self._parsed_bytes and data.startswith(_TLS_HANDSHAKE):
            raise MalformedRequest("the request is TLS, which this port is not configured for")
        if not self._parsed_bytes and data.startswith((b"\r", b"\n")):
            data[:] = data.lstrip(b"\r\n")  # Empty lines before a request (RFC 9112, 2.2).
        end = data.find(_END, max(0, self._parsed_bytes - len(_END) + 1))
        stop = len(data) if end < 0 else end + len(_END)
        self._parse(bytes(data[self._parsed_bytes : stop]))
        self._parsed_bytes = stop
        line_end = data.find(b"\r\n")
        if line_end >= 0:
            self._set_version(bytes(data[max(0, line_end - _VERSION_SIZE_BYTES) : line_end]))
        if stop > _HEAD_SIZE_BYTES_MAX:
            raise MalformedRequest(f"the headers are larger than {_HEAD_SIZE_BYTES_MAX} bytes")
        if self._request.field_count > _FIELDS_MAX:
            raise MalformedRequest(f"the request has more than {_FIELDS_MAX} headers")
        if end < 0:
            return False
        del data[:stop]
        self._finish()
        return True

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # An offer, which a server may ignore (RFC 9110, 7.8); `curl --http2` makes it.
        except httptools.HttpParserError as error:
            raise MalformedRequest(f"the request is no HTTP/1.1: {error}") from None

    def _set_version(self, version: bytes) -> None:
        known = _VERSIONS.get(version)
        if known is None:
            hint = " (HTTP/2 is for gRPC, which has a port of its own)" if version == b" HTTP/2.0" else ""
            found = version.decode("latin-1")
            raise UnknownVersion(f"the request line ends in {found!r}, not in HTTP/1.1 or HTTP/1.0{hint}")
        self._request.version = known

    def _finish(self) -> None:
        request, headers = self._request, self._request.headers
        request.method = self._parser.get_method().decode("ascii")
        request.path = request.path.partition("?")[0]
        if request.path.lower().startswith(("http://", "https://")):  # RFC 9112, 3.2.2.
            request.path = "/" + request.path.partition("://")[2].partition("/")[2]
        if request.version == "1.0":
            headers.pop("expect", None)  # RFC 9110, 10.1.1.
        elif "host" not in headers:
            raise MalformedRequest("the request has no Host")
        if _HOST.fullmatch(headers.get("host", "")) is None:
            raise MalformedRequest(f"Host is {headers['host']!r}, not the name of one host")
        if headers.get("transfer-encoding", "chunked").lower().rpartition(",")[2].strip() != "chunked":
            raise MalformedRequest("the last Transfer-Encoding is not chunked: the end of the body is not known")
