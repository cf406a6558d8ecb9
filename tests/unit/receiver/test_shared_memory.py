"""Memory that workers share with the process that counts: what is put stays as it is until it is given back."""

import mmap
import os
import random

import pytest

from otel_sla.receiver.workers.shared_memory import SharedBodies, make_shared_memory

SIZE = 64 * 1024


@pytest.fixture
def descriptor() -> int:
    """Memory of its own."""
    made = make_shared_memory(SIZE)
    if made is None:
        pytest.skip("this system has no memory that a child can have")
    return made


def test_bodies_come_and_go_without_touching_one_another(descriptor: int) -> None:
    """A thousand steps at random: each body is whole for the other side as long as it lives; in the end all is free."""
    randomness = random.Random(0)
    bodies, other_side = SharedBodies(descriptor, SIZE), mmap.mmap(descriptor, SIZE)
    os.close(descriptor)
    living: dict[int, tuple[int, bytes]] = {}
    refused = 0
    for number in range(1_000):
        if living and randomness.random() < 0.5:
            gone = randomness.choice(list(living))
            bodies.release(gone)
            del living[gone]
        body = randomness.randbytes(randomness.randrange(1, 9_000))
        start = bodies.put(number, body)
        if start is None:
            refused += 1
            bodies.release(number)  # Changes nothing.
        else:
            living[number] = start, body
        for at, content in living.values():
            assert other_side[at : at + len(content)] == content
    assert refused
    for number in living:
        bodies.release(number)
    assert bodies.put(0, bytes(SIZE)) == 0
    assert bodies.put(1, b"x") is None


def test_the_lowest_place_is_taken(descriptor: int) -> None:
    """Little of it is ever touched: what is not takes no memory."""
    bodies = SharedBodies(descriptor, SIZE)
    os.close(descriptor)
    starts = [bodies.put(number, bytes(100)) for number in range(3)]
    assert starts == [0, 128, 256]
    bodies.release(1)
    assert bodies.put(3, bytes(64)) == 128
    assert bodies.put(4, bytes(100)) == 384
