"""Bodies in chunks, beside another reader of them."""

import asyncio

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_sla.receiver.http.body import ChunkedBody, SenderGone
from otel_sla.receiver.responses import MalformedRequest

# The letters of chunks, so that many texts are almost right, and some right.
PIECES = (
    b"0",
    b"1",
    b"2",
    b"a",
    b"F",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b";",
    b"x",
    b" ",
    b":",
    b"\t",
    b"\0",
    b"\xff",
)
GOOD = (b"1\r\nx\r\n", b"3;a=b\r\n\r\nx\r\n", b"0\r\n\r\n", b"0\r\na: b\r\n\r\n", b"0c\r\nabcdefghijkl\r\n")
TEXTS = st.lists(st.sampled_from(PIECES + GOOD * 2), max_size=12).map(b"".join)


class Arriving:
    """A connection on which a text arrives in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.data = bytearray()
        self.pieces = pieces

    async def more(self, wanted_bytes: int) -> None:  # noqa: ARG002 - of the protocol.
        """Let the next piece arrive."""
        if not self.pieces:
            raise SenderGone
        self.data += self.pieces.pop(0)

    def send_continue(self) -> None:
        """Nobody keeps a body back here."""


def read(*pieces: bytes) -> tuple[bytes, bytes] | None:
    """The content and what follows the body; None if it is malformed or has no end."""

    async def main() -> tuple[bytes, bytes] | None:
        connection = Arriving(list(pieces))
        body, content = ChunkedBody(connection), b""
        try:
            while body.has_more:
                content += await body.receive()
        except (MalformedRequest, SenderGone):
            return None
        return content, bytes(connection.data) + b"".join(connection.pieces)

    return asyncio.run(main())


def read_by_httptools(text: bytes) -> tuple[bytes, int] | None:
    """The content, and where the body ends."""
    content, ends = [], []

    class Parts:
        def on_body(self, part: bytes) -> None:
            content.append(part)

        def on_message_complete(self) -> None:
            ends.append(position)

    parser = httptools.HttpRequestParser(Parts())
    parser.feed_data(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
    for position in range(1, len(text) + 1):
        try:
            parser.feed_data(text[position - 1 : position])
        except httptools.HttpParserError:
            return None
        if ends:
            return b"".join(content), ends[0]
    return None


@settings(max_examples=500)
@given(TEXTS, st.integers(0, 40))
def test_chunks_are_read_as_another_reader_reads_them(text: bytes, cut: int) -> None:
    """What is taken is taken by llhttp too, with the same content and the same end, wherever the segments end."""
    found = read(text)
    assert read(text[:cut], text[cut:]) == found
    if found is not None:
        content, rest = found
        assert read_by_httptools(text) == (content, len(text) - len(rest))


def test_a_byte_at_a_time_is_the_same() -> None:
    """Sizes, content, ends and trailers may all come in pieces; what follows is left."""
    text = b"".join(GOOD[:2]) + GOOD[4] + GOOD[3]
    assert read(*(text[i : i + 1] for i in range(len(text))), b"POST") == (b"x\r\nxabcdefghijkl", b"POST")
    assert read(text + b"POST") == (b"x\r\nxabcdefghijkl", b"POST")
