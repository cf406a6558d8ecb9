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
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload
from numba.np import arrayobj as _arrayobj
from numba.np import numpy_support
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
_Function = TypeVar("_Function", bound=Callable[..., Any])

_NUMBA: Any = numba.config  # Names that numba makes from its environment; its types do not know them.
_ARRAYS: Any = _arrayobj  # Without types.
IS_CHECKED = bool(_NUMBA.BOUNDSCHECK or _NUMBA.DISABLE_JIT)


def _choose_cache_directory() -> Path | None:
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") and f"{os.environ['HOME']}/.cache")
    base = _NUMBA.CACHE_DIR or (home and f"{home}/otel-sla/kernels")
    if not base:
        return None
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        source = path.read_bytes()
        if path == Path(__file__) or b"from otel_sla.jit import" in source:
            digest.update(source)
    directory = Path(base, digest.hexdigest() + ("-bounds-checked" if _NUMBA.BOUNDSCHECK else ""))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return None
    return directory


CACHE_DIRECTORY = _choose_cache_directory()  # None where nothing can be written.


def kernel(function: _Function) -> _Function:
    """Compile a module-level function over arrays and scalars; releases the GIL while it runs.

    With `NUMBA_DISABLE_JIT=1` it stays plain Python, so that coverage sees inside.
    """
    # Not by the environment, which child processes inherit: each would put its folder into its parent's. And only for
    # now: what else the process compiles is not ours to place.
    before, _NUMBA.CACHE_DIR = _NUMBA.CACHE_DIR, str(CACHE_DIRECTORY or "")
    try:
        return cast(_Function, numba.njit(nogil=True, cache=CACHE_DIRECTORY is not None)(function))
    finally:
        _NUMBA.CACHE_DIR = before


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


Buffer = UInt8Array | int
Integer = int | np.int64


def address_of(array: NDArray[Any]) -> int:
    """Give the address of an array's first byte; the caller keeps the array alive."""
    address: int = array.__array_interface__["data"][0]
    return address


def buffer_of(array: UInt8Array) -> Buffer:
    """Give what kernels read bytes from: the array's address, or the array itself where bounds are checked.

    The caller keeps the array alive, and the kernel within its bounds: `make fuzz` runs the same code on the array,
    with numba's bounds checks on.
    """
    return array if IS_CHECKED else address_of(array)


def buffer_in(array: UInt8Array) -> Buffer:
    """Do what `buffer_of` does, from inside a kernel."""
    return array


@overload(buffer_in, inline="always")
def _compile_buffer_in(array):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001 - numba compares names.
    return buffer_in if IS_CHECKED else lambda array: np.int64(array.ctypes.data)


def _compiled_to(signature: Any, generate: Any, on_arrays: Any = None) -> Callable[[_Function], _Function]:  # noqa: ANN401
    """Give kernels LLVM code instead of a function of two arguments; if the first is an array, `on_arrays`."""

    @intrinsic
    def emit(_context: Any, _left: Any, _right: Any) -> Any:  # noqa: ANN401 - numba's own types.
        return signature, lambda _context, builder, _signature, arguments: generate(builder, *arguments)

    def decorate(function: _Function) -> _Function:
        @overload(function, inline="always", strict=False)
        def choose(left: Any, _right: Any) -> Any:  # noqa: ANN401
            if isinstance(left, types.Integer):
                return lambda left, right: emit(left, right)  # type: ignore[call-arg]  # noqa: PLW0108 - numba wants a function.
            return on_arrays

        return function

    return decorate


def _load(builder: Any, address: Any, position: Any, bits: int) -> Any:  # noqa: ANN401
    pointer = builder.inttoptr(builder.add(address, position), ir.PointerType(ir.IntType(bits)))
    return builder.load(pointer, align=1)


@inner_kernel
def _word_of_array(array, position):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    word = np.uint64(0)
    for index in range(8):
        word |= np.uint64(array[position + index]) << np.uint64(8 * index)
    return word


@_compiled_to(
    types.uint8(types.int64, types.int64), partial(_load, bits=8), on_arrays=lambda array, position: array[position]
)
def byte_at(buffer: Buffer, position: Integer) -> int:
    """Read one byte of a buffer, from inside a kernel."""
    return int(cast(UInt8Array, buffer)[position])


@_compiled_to(
    types.uint64(types.int64, types.int64),
    partial(_load, bits=64),
    on_arrays=lambda array, position: _word_of_array(array, position),  # type: ignore[no-untyped-call]  # noqa: PLW0108 - numba wants a function.
)
def word_at(buffer: Buffer, position: Integer) -> np.uint64:
    """Read eight bytes of a buffer, the first of them lowest, from inside a kernel."""
    eight = cast(UInt8Array, buffer)[position : position + 8]
    if len(eight) < 8:
        raise IndexError(f"8 bytes at {position} of {len(cast(UInt8Array, buffer))}")
    return np.uint64(int.from_bytes(eight.tobytes(), "little"))


def _multiply_folded(builder: Any, left: Any, right: Any) -> Any:  # noqa: ANN401
    wide, word = ir.IntType(128), ir.IntType(64)
    product = builder.mul(builder.zext(left, wide), builder.zext(right, wide))
    return builder.xor(builder.trunc(product, word), builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word))


@_compiled_to(types.uint64(types.uint64, types.uint64), _multiply_folded)
def multiply_folded(left: np.uint64, right: np.uint64) -> np.uint64:
    """Multiply, and fold the 128 bits of the product to 64: one instruction that mixes well, for hashes."""
    product = int(left) * int(right)
    return np.uint64((product ^ product >> 64) & 0xFFFF_FFFF_FFFF_FFFF)


Arrays = tuple[NDArray[Any], ...] | int
_TABLE_COLUMNS = 3  # Address, rows, and columns of an array of two dimensions.


class ArrayTable:
    """Arrays that a kernel takes in one argument, by their addresses; C-contiguous, of one or two dimensions.

    numba makes an object of each array that is handed to a kernel: a call with 21 of them took 1.8 us before it did
    anything, with tables 0.5 us. To make a table takes 1.8 us an array, so it is kept. Where bounds are checked it is a
    tuple of the arrays instead.
    """

    def __init__(self, arrays: Iterable[NDArray[Any]]) -> None:
        self._arrays = tuple(arrays)  # Kept alive.
        assert all(array.flags.c_contiguous for array in self._arrays), "addresses say nothing of strides"
        self._rows = np.array(
            [(address_of(array), *(*array.shape, 0)[: _TABLE_COLUMNS - 1]) for array in self._arrays], dtype=np.int64
        )
        self.argument: Arrays = self._arrays if IS_CHECKED else address_of(self._rows)


def array_reader(*kinds: str) -> Callable[[Arrays], tuple[NDArray[Any], ...]]:
    """Make the function by which a kernel takes arrays out of its argument, by their dtypes and dimensions.

    >>> read = array_reader("int32[]", "uint8[,]")
    """
    dtypes = [numpy_support.from_dtype(np.dtype(kind[: kind.index("[")])) for kind in kinds]
    layout = [types.Array(dtype, 1 + kind.count(","), "C") for dtype, kind in zip(dtypes, kinds, strict=True)]
    made: Any = types.BaseTuple.from_types(layout)  # type: ignore[no-untyped-call]

    def read_arrays(arrays):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return arrays

    @intrinsic
    def load_arrays(_context: Any, _address: Any) -> Any:  # noqa: ANN401 - numba's own types.
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:  # noqa: ANN401
            words = builder.inttoptr(arguments[0], ir.PointerType(ir.IntType(64)))
            arrays = [_load_array(context, builder, words, index, kind) for index, kind in enumerate(layout)]
            return context.make_tuple(builder, made, arrays)

        return made(types.int64), generate

    @overload(read_arrays, inline="always")
    def compile_read_arrays(arrays):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if isinstance(arrays, types.Integer):
            return lambda arrays: load_arrays(arrays)  # type: ignore[call-arg]  # noqa: PLW0108 - numba wants a function.
        return lambda arrays: arrays

    return read_arrays


def _load_array(context: Any, builder: Any, words: Any, index: int, kind: Any) -> Any:  # noqa: ANN401
    """Make an array of a row of an `ArrayTable`; it owns nothing, so its references are not counted."""
    address, *shape = (
        builder.load(builder.gep(words, [ir.Constant(ir.IntType(64), _TABLE_COLUMNS * index + column)]))
        for column in range(1 + kind.ndim)
    )
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    array = _ARRAYS.make_array(kind)(context, builder)
    _ARRAYS.populate_array(
        array,
        data=builder.inttoptr(address, array.data.type),
        shape=shape,
        strides=[size] if kind.ndim == 1 else [builder.mul(shape[1], size), size],
        itemsize=size,
        meminfo=None,
    )
    return array._getvalue()  # noqa: SLF001 - numba's way to say that it is complete.


def is_cache_warm() -> bool:
    """Whether an earlier start left compiled kernels behind; if not, the first request waits for the compiler."""
    return CACHE_DIRECTORY is not None and any(CACHE_DIRECTORY.rglob("*.nbi"))
