"""What is compressed is expanded, whole and within the limits, over HTTP."""

import asyncio
import gzip
import random
import zlib
from collections.abc import Callable

import cramjam
import pytest
import zstandard
from http_served import BODY, MIB, request_head, served
from receiver_parts import FakeAccountant, Run

from otel_sla.receiver.limits.memory import InFlight

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "zlib": zlib.compress,
    "deflate": zlib.compress,
    "snappy": lambda body: bytes(cramjam.snappy.compress_raw(body)),
    "x-snappy-framed": lambda body: bytes(cramjam.snappy.compress(body)),
    "lz4": lambda body: bytes(cramjam.lz4.compress(body)),
}


@pytest.mark.parametrize("encoding", COMPRESS)
def test_compressed_bodies_are_expanded_within_the_limit(run: Run, encoding: str) -> None:
    """Up to the limit is counted; a byte more is 413; a bomb is 413 before it is expanded whole."""
    compress = COMPRESS[encoding]

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant, max_request_body_size_mib=2) as it:
            assert (await it.send(compress(bytes(2 * MIB)), content_encoding=encoding)).status == 200
            assert [len(body) for body in accountant.bodies] == [2 * MIB]
            for size_bytes in (2 * MIB + 1, 16 * MIB):
                reply = await it.send(compress(bytes(size_bytes)), content_encoding=encoding)
                assert reply.status == 413
            assert len(accountant.bodies) == 1
            assert it.in_flight.size_bytes == 0

    run(main())


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize("damage", ["cut", "junk after", "not at all", "empty"])
def test_bad_compression_is_400(run: Run, encoding: str, damage: str) -> None:
    """What is not what its encoding says is 400 and reaches no accountant, also where only its end is missing."""
    whole = COMPRESS[encoding](bytes(range(256)) * 100)
    body = {"cut": whole[:-1], "junk after": whole + b"junk", "not at all": BODY, "empty": b""}[damage]

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            is_empty_stream = (encoding, damage) == ("x-snappy-framed", "empty")  # Go's writer ends so, too.
            assert (await it.send(body, content_encoding=encoding)).status == (200 if is_empty_stream else 400)
            assert accountant.bodies == [b""] * is_empty_stream

    run(main())


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize("size_bytes", [0, 1, 30_000, MIB])
def test_compressed_bodies_are_expanded_whole(run: Run, encoding: str, size_bytes: int) -> None:
    """Empty, small and large bodies, of text and of what cannot be compressed, come out as they went in."""
    bodies = [random.Random(1).randbytes(size_bytes), (b"http.route /v1/chat " * size_bytes)[:size_bytes]]

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            for body in bodies:
                assert (await it.send(COMPRESS[encoding](body), content_encoding=encoding.upper())).status == 200
            assert accountant.bodies == bodies
            assert it.in_flight.size_bytes == 0

    run(main())


def test_a_snappy_stream_may_be_called_snappy(run: Run) -> None:
    """Collectors before 0.123 said `snappy` of what is `x-snappy-framed` now; a block is never called a stream."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            body = COMPRESS["x-snappy-framed"](BODY)
            assert (await it.send(body, content_encoding="snappy")).status == 200
            assert accountant.bodies == [BODY]
            assert (await it.send(COMPRESS["snappy"](BODY), content_encoding="x-snappy-framed")).status == 400

    run(main())


@pytest.mark.parametrize("encoding", COMPRESS)
def test_what_expands_beyond_the_room_in_flight_is_refused_before(run: Run, encoding: str) -> None:
    """A body that fits by its own limit but not by the memory's is answered 503, and holds nothing afterwards."""
    body = COMPRESS[encoding](bytes(8 * MIB))

    async def main() -> None:
        async with served(FakeAccountant(), in_flight=InFlight(9 * MIB)) as it:
            with it.in_flight.hold(6 * MIB):
                assert (await it.send(body, content_encoding=encoding)).status == 503
            assert (await it.send(body, content_encoding=encoding)).status == 200
            assert it.in_flight.size_bytes == 0

    run(main())


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_compressed_body_holds_what_it_expands_to(run: Run, encoding: str) -> None:
    """450 KB are counted where 64 MiB may be in flight, and ten of them at once where 512 may, whatever the format."""
    expanded = random.Random(2).randbytes(440_000) + bytes(MIB)
    body = COMPRESS[encoding](expanded)
    assert 440_000 < len(body) < 520_000

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant, in_flight=InFlight(64 * MIB)) as it:
            assert (await it.send(body, content_encoding=encoding)).status == 200
        async with served(accountant) as it:
            text = request_head(content_encoding=encoding, content_length=str(len(body)), connection="close") + body
            # Not by `send`, whose threads are those that bodies are expanded on.
            answers = await asyncio.gather(*(it.talk(text) for _ in range(10)))
            assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 10
            assert it.in_flight.size_bytes == 0
        assert accountant.bodies == [expanded] * 11

    run(main())


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_compressed_body_may_take_all_of_the_memory(run: Run, encoding: str) -> None:
    """What fits with its compressed form is counted, though the next larger room does not; a MiB more is 413."""
    bodies = [COMPRESS[encoding](bytes(size_mib * MIB)) for size_mib in (15, 16)]

    async def main() -> None:
        async with served(FakeAccountant(), in_flight=InFlight(16 * MIB)) as it:
            statuses = [(await it.send(body, content_encoding=encoding)).status for body in bodies]
            assert statuses == [200, 413]
            assert it.in_flight.size_bytes == 0

    run(main())


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_several_members_in_a_row_are_one_body(run: Run, encoding: str) -> None:
    """Gzip members and zstd frames that follow each other are expanded to one body, but not millions of them."""
    compress = COMPRESS[encoding]

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            await it.send(compress(b"ab") + compress(b"") + compress(b"c"), content_encoding=encoding)
            assert accountant.bodies == [b"abc"]
            assert (await it.send(compress(b"") * 5000, content_encoding=encoding)).status == 400

    run(main())
