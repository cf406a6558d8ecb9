"""Stands between the ledger and the disk, in this process: SQLite's own system calls and the ledger's few from Python.

SQLite lets its Unix file system layer be given other system calls (`xSetSystemCall`, made for tests like these); only
`fsync` is not among them, so it is taken at the file's `xSync`, which does nothing else. The SQLite is the very copy
that Python's sqlite3 runs on, reached through its module's library; nothing of it is replaced but these calls, and each
of ours makes the real one unless it is told to fail.
"""

import ctypes
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_size_t, c_ssize_t, c_void_p
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

_SQLITE_CANTOPEN = 14
_SQLITE_IOERR_FSYNC = 1034
_MMAP_FAILED = ctypes.c_void_p(-1).value

_OPEN = CFUNCTYPE(c_int, c_char_p, c_int, c_int, use_errno=True)
_TRANSFER_AT = CFUNCTYPE(c_ssize_t, c_int, c_void_p, c_size_t, c_int64, use_errno=True)
_TRANSFER = CFUNCTYPE(c_ssize_t, c_int, c_void_p, c_size_t, use_errno=True)
_TRUNCATE = CFUNCTYPE(c_int, c_int, c_int64, use_errno=True)
_UNLINK = CFUNCTYPE(c_int, c_char_p, use_errno=True)
_OPEN_DIRECTORY = CFUNCTYPE(c_int, c_char_p, POINTER(c_int), use_errno=True)
_MMAP = CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_int, c_int, c_int, c_int64, use_errno=True)
_X_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_X_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    """`struct sqlite3_vfs`, version 3."""

    _fields_ = (
        ("version", c_int),
        ("os_file_size", c_int),
        ("path_size_max", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("app_data", c_void_p),
        ("x_open", _X_OPEN),
        *((f"other_{number}", c_void_p) for number in range(12)),
        ("x_set_system_call", CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)),
        ("x_get_system_call", CFUNCTYPE(c_void_p, c_void_p, c_char_p)),
        ("x_next_system_call", c_void_p),
    )


class _Methods(ctypes.Structure):
    """`struct sqlite3_io_methods`, version 3."""

    _fields_ = (
        ("version", c_int),
        *((f"other_{number}", c_void_p) for number in range(4)),
        ("x_sync", _X_SYNC),
        *((f"further_{number}", c_void_p) for number in range(13)),
    )


class _File(ctypes.Structure):
    """`struct sqlite3_file`: what SQLite itself knows of an open file."""

    _fields_ = (("methods", POINTER(_Methods)),)


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call fails."""

    errno: int
    is_short: bool = False  # A write: half of it is done, and that is what the caller is told.


class Watcher(Protocol):
    """Is asked before each call on a file of the folder, and told after those that changed something.

    A handle stands for an open file: a descriptor's number, or where SQLite keeps the file. Calls come from any thread.
    """

    def refusal(self, call: str, name: str) -> Refusal | None:
        """Say whether this call fails."""

    def opened(self, handle: object, name: str, *, is_new: bool) -> None:
        """A file was opened; new: it was not there before."""

    def written(self, handle: object, offset: int, data: bytes) -> None:
        """Bytes were written."""

    def resized(self, handle: object, size: int) -> None:
        """A file was cut or stretched."""

    def synced(self, handle: object, *, has_failed: bool) -> None:
        """A file was given to the disk; or this has failed."""

    def unlinked(self, name: str) -> None:
        """A name was removed."""

    def names_synced(self) -> None:
        """The folder itself was given to the disk."""


def why_unreachable() -> str:
    """Say why nothing can be put under this Python's SQLite, empty if it can."""
    try:
        library = _library()
    except (ImportError, OSError, AttributeError) as error:
        return f"the SQLite of this Python cannot be reached: {error}"
    version = library.sqlite3_libversion().decode()
    if version != sqlite3.sqlite_version:
        return f"sqlite3 runs on SQLite {sqlite3.sqlite_version}, but {version} was found"
    vfs = _default_vfs()
    if vfs.version < 3 or not vfs.name.startswith(b"unix"):
        return f"SQLite's file system layer is {vfs.name.decode()}, version {vfs.version}"
    return ""


@contextmanager
def watching(folder: Path, watcher: Watcher) -> Iterator[None]:
    """Put the watcher under all that this process does to files of `folder` through SQLite or `os`.

    SQLite's connections must be opened and closed inside.
    """
    layer = _Layer(os.path.realpath(folder), watcher)
    layer.install()
    try:
        yield
    finally:
        layer.remove()


@cache
def _library() -> ctypes.CDLL:
    import _sqlite3

    # Looks in the module and in all that it was linked with.
    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_libversion.restype = c_char_p
    library.sqlite3_vfs_find.restype = c_void_p
    return library


def _default_vfs() -> _Vfs:
    return _Vfs.from_address(_library().sqlite3_vfs_find(None))


# SQLite may look at these as long as the process lives.
_kept: list[object] = []


class _Layer:
    def __init__(self, folder: str, watcher: Watcher) -> None:
        self._folder = folder
        self._watcher = watcher
        self._names: dict[object, str] = {}  # Of open handles.
        self._vfs = _default_vfs()
        self._vfs_address = ctypes.addressof(self._vfs)
        self._copy = _Vfs.from_buffer_copy(self._vfs)
        self._methods: dict[int, _Methods] = {}
        self._python: dict[str, Callable[..., Any]] = {}
        _kept.append(self)

    def install(self) -> None:
        self._replace("open", _OPEN, self._open)
        for name in ("pread", "pread64"):
            self._replace(name, _TRANSFER_AT, self._read)
        self._replace("read", _TRANSFER, self._read)
        for name in ("pwrite", "pwrite64"):
            self._replace(name, _TRANSFER_AT, self._write_at)
        self._replace("write", _TRANSFER, self._write)
        self._replace("ftruncate", _TRUNCATE, self._truncate)
        self._replace("unlink", _UNLINK, self._unlink)
        self._replace("openDirectory", _OPEN_DIRECTORY, self._open_directory)
        self._replace("mmap", _MMAP, self._mmap)
        real_open = self._vfs.x_open
        self._copy.name = b"watched"
        self._copy.x_open = _X_OPEN(partial(self._x_open, real_open))
        _library().sqlite3_vfs_register(ctypes.byref(self._copy), 1)
        for name in ("open", "fsync", "truncate", "pread", "pwrite"):
            self._python[name] = getattr(os, name)
        os.open, os.fsync = self._python_open, self._python_fsync  # type: ignore[assignment]
        os.truncate, os.pread, os.pwrite = self._python_truncate, self._python_pread, self._python_pwrite  # type: ignore[assignment]

    def remove(self) -> None:
        for name, function in self._python.items():
            setattr(os, name, function)
        _library().sqlite3_vfs_unregister(ctypes.byref(self._copy))
        _library().sqlite3_vfs_register(self._vfs_address_pointer(), 1)
        self._vfs.x_set_system_call(self._vfs_address, None, None)  # All of them are its own again.
        self._names.clear()  # A file that is closed only now is nobody's business any more.
        del self._watcher  # What SQLite may still look at need not keep all that was recorded.

    def _vfs_address_pointer(self) -> c_void_p:
        return c_void_p(self._vfs_address)

    def _replace(self, name: str, kind: Any, ours: Callable[..., int]) -> None:  # noqa: ANN401 - a ctypes prototype.
        address = self._vfs.x_get_system_call(self._vfs_address, name.encode())
        if address is None:  # This build does not use it.
            return
        callback = kind(partial(ours, kind(address)))
        _kept.append(callback)
        self._vfs.x_set_system_call(self._vfs_address, name.encode(), ctypes.cast(callback, c_void_p))

    def _name_of(self, path: bytes | str | os.PathLike[str] | None) -> str | None:
        """The name of a file in the folder; None for any other."""
        if path is None:
            return None
        head, name = os.path.split(os.fsdecode(path))
        return name if head == self._folder else None

    def _refused(self, call: str, name: str | None) -> Refusal | None:
        refusal = None if name is None else self._watcher.refusal(call, name)
        if refusal is not None:
            ctypes.set_errno(refusal.errno)
        return refusal

    def _take(self, handle: object, name: str | None, *, is_new: bool) -> None:
        self._names.pop(handle, None)
        if name is not None:
            self._names[handle] = name
            self._watcher.opened(handle, name, is_new=is_new)

    def _open(self, real: Any, path: bytes, flags: int, mode: int) -> int:  # noqa: ANN401 - as all of these.
        name = self._name_of(path)
        if self._refused("open", name):
            return -1
        is_new = not os.path.lexists(path)
        descriptor: int = real(path, flags, mode)
        if descriptor >= 0:
            self._take(descriptor, name, is_new=is_new)
        return descriptor

    def _read(self, real: Any, descriptor: int, *arguments: int) -> int:  # noqa: ANN401
        if self._refused("read", self._names.get(descriptor)):
            return -1
        return int(real(descriptor, *arguments))

    def _write(self, real: Any, descriptor: int, data: int, size: int) -> int:  # noqa: ANN401
        offset = os.lseek(descriptor, 0, os.SEEK_CUR)
        return self._write_at(lambda d, p, n, _: real(d, p, n), descriptor, data, size, offset)

    def _write_at(self, real: Any, descriptor: int, data: int, size: int, offset: int) -> int:  # noqa: ANN401
        refusal = self._refused("write", self._names.get(descriptor))
        if refusal is not None:
            if not refusal.is_short or size < 2:
                return -1
            size //= 2
        written = int(real(descriptor, data, size, offset))
        if written > 0 and descriptor in self._names:
            self._watcher.written(descriptor, offset, ctypes.string_at(data, written))
        return written

    def _truncate(self, real: Any, descriptor: int, size: int) -> int:  # noqa: ANN401
        if self._refused("truncate", self._names.get(descriptor)):
            return -1
        result = int(real(descriptor, size))
        if result == 0 and descriptor in self._names:
            self._watcher.resized(descriptor, size)
        return result

    def _unlink(self, real: Any, path: bytes) -> int:  # noqa: ANN401
        name = self._name_of(path)
        if self._refused("unlink", name):
            return -1
        result = int(real(path))
        if result == 0 and name is not None:
            self._watcher.unlinked(name)
        return result

    def _open_directory(self, real: Any, path: bytes, descriptor: Any) -> int:  # noqa: ANN401
        name = self._name_of(path)
        if self._refused("fsync of the folder", name):
            return _SQLITE_CANTOPEN
        result = int(real(path, descriptor))
        if result == 0 and name is not None:
            self._watcher.names_synced()  # SQLite opens a folder for nothing else.
        return result

    def _mmap(self, real: Any, *arguments: int) -> int:  # noqa: ANN401
        descriptor = arguments[4]
        if self._refused("mmap", self._names.get(descriptor)):
            return _MMAP_FAILED or 0
        return real(*arguments) or 0

    def _x_open(self, real: Any, vfs: int, path: int | None, file: int, flags: int, out_flags: int) -> int:  # noqa: ANN401
        result = int(real(vfs, path, file, flags, out_flags))
        if result == 0:
            opened = _File.from_address(file)
            address = ctypes.addressof(opened.methods.contents)
            if address not in self._methods:
                methods = _Methods.from_buffer_copy(opened.methods.contents)
                methods.x_sync = _X_SYNC(partial(self._x_sync, opened.methods.contents.x_sync))
                self._methods[address] = methods
            opened.methods = ctypes.pointer(self._methods[address])
            self._take(("file", file), self._name_of(ctypes.string_at(path) if path else None), is_new=False)
        return result

    def _x_sync(self, real: Any, file: int, flags: int) -> int:  # noqa: ANN401
        handle = ("file", file)
        name = self._names.get(handle)
        has_failed = bool(self._refused("fsync", name))
        result = _SQLITE_IOERR_FSYNC if has_failed else int(real(file, flags))
        if name is not None:
            self._watcher.synced(handle, has_failed=result != 0)
        return result

    def _python_open(self, path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:  # noqa: ANN401
        is_folder = os.fsdecode(path) == self._folder if isinstance(path, str | bytes | os.PathLike) else False
        name = "" if is_folder else self._name_of(path)
        self._python_refused("open", name)
        is_new = not is_folder and not os.path.lexists(path)
        descriptor: int = self._python["open"](path, flags, mode, **more)
        self._names.pop(descriptor, None)
        if is_folder:
            self._names[descriptor] = ""
        else:
            self._take(descriptor, name, is_new=is_new)
        return descriptor

    def _python_fsync(self, descriptor: int) -> None:
        name = self._names.get(descriptor)
        self._python_refused("fsync of the folder" if name == "" else "fsync", name)
        self._python["fsync"](descriptor)
        if name == "":
            self._watcher.names_synced()
        elif name is not None:
            self._watcher.synced(descriptor, has_failed=False)

    def _python_truncate(self, descriptor: Any, size: int) -> None:  # noqa: ANN401
        self._python_refused("truncate", self._names.get(descriptor))
        self._python["truncate"](descriptor, size)
        if descriptor in self._names:
            self._watcher.resized(descriptor, size)

    def _python_pread(self, descriptor: int, size: int, offset: int) -> bytes:
        self._python_refused("read", self._names.get(descriptor))
        data: bytes = self._python["pread"](descriptor, size, offset)
        return data

    def _python_pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        self._python_refused("write", self._names.get(descriptor))
        written: int = self._python["pwrite"](descriptor, data, offset)
        if descriptor in self._names:
            self._watcher.written(descriptor, offset, data[:written])
        return written

    def _python_refused(self, call: str, name: str | None) -> None:
        refusal = self._refused(call, name)
        if refusal is not None:
            raise OSError(refusal.errno, os.strerror(refusal.errno))
