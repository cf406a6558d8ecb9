"""The one place that decides how kernels are compiled.

Kernels are compiled on first use and kept on disk, so that the next start is warm. Three traps of that cache are met
here:

- A cached binary does not know whether it was compiled with bounds checks, so `NUMBA_BOUNDSCHECK=1` gets a cache
  directory of its own; otherwise a fuzz run would silently check nothing.
- Where neither the package's folder nor a home can be written to, numba refuses to *import* a cached function. There
  the kernels are compiled anew at each start instead.
- A callee in another file can change without the caller's cache noticing, since numba looks at the caller's file only.
  The cache directory therefore bears a digest of every module that kernels are compiled from.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
_Function = TypeVar("_Function", bound=Callable[..., Any])

_PACKAGE = Path(__file__).parent
_NUMBA: Any = numba.config  # Names that numba makes from its environment; its types do not know them.
IS_CHECKED = bool(_NUMBA.BOUNDSCHECK or _NUMBA.DISABLE_JIT)


def _is_writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def _digest_sources() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_bytes()
        if path == Path(__file__) or b"from otel_sla.jit import" in source:
            digest.update(source)
    return digest.hexdigest()


def _choose_cache_directory() -> Path | None:
    """Give the folder for compiled kernels, or None where nothing can be written."""
    if _NUMBA.CACHE_DIR:
        base = Path(_NUMBA.CACHE_DIR)
    else:
        home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") and f"{os.environ['HOME']}/.cache")
        if not home:
            return None
        base = Path(home) / "otel-sla" / "kernels"
    directory = base / (_digest_sources() + ("-bounds-checked" if _NUMBA.BOUNDSCHECK else ""))
    return directory if _is_writable(directory) else None


CACHE_DIRECTORY = _choose_cache_directory()
if CACHE_DIRECTORY is not None:
    # Not by the environment, which child processes inherit: each would put its folder into its parent's.
    _NUMBA.CACHE_DIR = str(CACHE_DIRECTORY)


def kernel(function: _Function) -> _Function:
    """Compile a module-level function over arrays and scalars; releases the GIL while it runs.

    With `NUMBA_DISABLE_JIT=1` it stays plain Python, so that coverage sees inside.
    """
    return cast(_Function, numba.njit(nogil=True, cache=CACHE_DIRECTORY is not None)(function))


def inner_kernel(function: _Function) -> _Function:
    """Compile a function that only kernels call; kept on disk as part of them.

    Give it scalars and `Buffer`s, no arrays: numba counts the references of an array at each call, which costs more
    than the work of reading a varint (2.9 against 5.5 million spans/s in benchmarks/bench_decode.py).
    """
    return cast(_Function, numba.njit(nogil=True)(function))


def hot_kernel(function: _Function) -> _Function:
    """Compile an inner kernel into each that calls it, where the call itself costs as much as its work.

    5.5 instead of 3.6 million spans/s in benchmarks/bench_decode.py.
    """
    return cast(_Function, numba.njit(nogil=True, forceinline=True)(function))


def inlined_kernel(function: _Function) -> _Function:
    """Compile a small function over arrays into each kernel that calls it, so that no reference is counted."""
    return cast(_Function, numba.njit(inline="always")(function))


Buffer = UInt8Array | int


def buffer_of(array: UInt8Array) -> Buffer:
    """Give what kernels read bytes from: the array's address, or the array itself where bounds are checked.

    The caller keeps the array alive, and the kernel within its bounds: `make fuzz` runs the same code on the array,
    with numba's bounds checks on.
    """
    if IS_CHECKED:
        return array
    address: int = array.__array_interface__["data"][0]
    return address


def byte_at(buffer: Buffer, position: int) -> int:
    """Read one byte of a buffer, from inside a kernel."""
    return int(cast(UInt8Array, buffer)[position])


@intrinsic
def _load_byte(_context: Any, _address: Any, _position: Any) -> Any:  # noqa: ANN401 - numba's own types.
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        pointer = builder.inttoptr(builder.add(*arguments), ir.PointerType(ir.IntType(8)))
        return builder.load(pointer)

    return types.uint8(types.int64, types.int64), generate


@overload(byte_at, inline="always")
def _compile_byte_at(buffer, position):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001 - numba compares names.
    if isinstance(buffer, types.Integer):
        return lambda buffer, position: _load_byte(buffer, position)  # type: ignore[call-arg]  # noqa: PLW0108 - numba wants a function.
    return lambda buffer, position: buffer[position]


def is_cache_warm() -> bool:
    """Whether an earlier start left compiled kernels behind; if not, the first request waits for the compiler."""
    return CACHE_DIRECTORY is not None and any(CACHE_DIRECTORY.rglob("*.nbi"))
