"""Requests between pages that cannot be read."""

import ctypes
import mmap
from collections import Counter

from fuzz.differential import check, generate

_PROT_NONE = 0
_PAGES = 16


class GuardedMemory:
    """Memory whose first and last page cannot be read; kept until the process ends."""

    def __init__(self) -> None:
        size = (_PAGES + 2) * mmap.PAGESIZE
        self._map = mmap.mmap(-1, size)
        libc = ctypes.CDLL(None, use_errno=True)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        for page in (address, address + size - mmap.PAGESIZE):
            if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), _PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._inside = memoryview(self._map)[mmap.PAGESIZE : -mmap.PAGESIZE]

    def place(self, body: bytes, *, is_at_end: bool) -> memoryview:
        """Copy a request to where it touches the page before or behind it."""
        start = len(self._inside) - len(body) if is_at_end else 0
        self._inside[start : start + len(body)] = body
        return self._inside[start : start + len(body)]


def run_guarded(seed: int, count: int) -> Counter[bool]:
    """Do what `differential.run` does, each request twice: at either end of the memory."""
    memory = GuardedMemory()
    outcomes: Counter[bool] = Counter()
    for body in generate(seed, count):
        if len(body) > _PAGES * mmap.PAGESIZE:
            continue
        for is_at_end in (True, False):
            is_accepted = check(body, memory.place(body, is_at_end=is_at_end))
        outcomes[is_accepted] += 1
    return outcomes
