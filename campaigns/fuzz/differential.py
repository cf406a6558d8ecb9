"""One step of the fuzz run: the compiled decoder and upb have to agree on the same bytes."""

import random
from collections import Counter
from collections.abc import Iterator

from fuzz.wire_forms import WATCH, Writer, mutate
from upb_oracle import decode_with_upb, is_nested_too_deeply, read_columns

from otel_sla.errors import DecodeError
from otel_sla.spans.request import decode_request

MUTATIONS_PER_REQUEST = 9


class Disagreement(AssertionError):
    """The decoder and upb differ on some bytes."""


def check(body: bytes, place: memoryview | None = None) -> bool:
    """Decode by both and compare; gives whether they accept the bytes. `place` is where the decoder reads them."""
    expected = decode_with_upb(body, WATCH)
    try:
        columns = decode_request(body if place is None else place, WATCH)
    except DecodeError as error:
        if expected is not None:
            raise Disagreement(f"only upb accepts {body.hex()}: {error}") from error
        if not 0 <= error.offset <= len(body):
            raise Disagreement(f"an error at {error.offset} of {len(body)} bytes: {body.hex()}") from error
        return False
    if expected is None and is_nested_too_deeply(body):  # The one thing of which upb takes less.
        expected = decode_with_upb(body, WATCH, is_shallow=True)
    if expected is None:
        raise Disagreement(f"upb rejects {body.hex()}")
    found = read_columns(columns)
    if found != expected:
        raise Disagreement(f"columns differ on {body.hex()}:\n{found}\n{expected}")
    return True


def generate(seed: int, count: int) -> Iterator[bytes]:
    """Give `count` requests: one in ten as written, the others broken ones of it."""
    writer = Writer(f"requests {seed}")
    randomness = random.Random(f"mutations {seed}")
    before = b""
    for index in range(count):
        if index % (1 + MUTATIONS_PER_REQUEST) == 0:
            body = writer.request()
            yield body
            if not body:
                body = before
        else:
            yield mutate(body, before, randomness)
        before = body if index % 3 == 0 else before


def run(seed: int, count: int) -> Counter[bool]:
    """Check `count` requests; gives how many were accepted (True) and rejected."""
    return Counter(check(body) for body in generate(seed, count))
