"""What was done to the files of a folder, in order, and when the sender was told what."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from disk.calls import Refusal

# They mean nothing after a power cut: who opens the ledger next makes them anew.
FLEETING = ("-shm", "-lock")


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes were written; on the disk they are after the next `Sync`."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A file was cut or stretched."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file was given to the disk. Failed: nobody knows what of it is there, and no later one makes that good."""

    file: int
    has_failed: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A file got a name, or a name went (None); on the disk it is after the next `SyncNames`."""

    name: str
    file: int | None


@dataclass(frozen=True, slots=True)
class SyncNames:
    """The folder was given to the disk."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The sender has begun to send these messages."""

    messages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The sender was told that these messages are counted."""

    messages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A look at the minutes has ended: what it found is in the ledger."""

    told_before: int  # Epoch minute.
    n_events: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the sender knows at some moment."""

    begun: frozenset[int] = frozenset()  # Messages.
    acknowledged: frozenset[int] = frozenset()
    told: Told = Told(0, 0)

    def after(self, operations: "Iterable[Operation]") -> "Known":
        """What it knows when these have happened too."""
        begun, acknowledged, told = set(self.begun), set(self.acknowledged), self.told
        for operation in operations:
            if isinstance(operation, Begun):
                begun.update(operation.messages)
            elif isinstance(operation, Acknowledged):
                acknowledged.update(operation.messages)
            elif isinstance(operation, Told):
                told = operation
        return Known(frozenset(begun), frozenset(acknowledged), told)

    def answered(self) -> "Known":
        """What it will know when all that was begun has been repeated until it was acknowledged."""
        return Known(self.begun, self.begun, self.told)


Operation = Write | Resize | Sync | Name | SyncNames | Begun | Acknowledged | Told


def read_files(folder: Path) -> dict[str, bytes]:
    """The lasting files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.endswith(FLEETING)}


@dataclass
class Record:
    """A `calls.Watcher` that keeps all, and refuses nothing."""

    before: dict[str, bytes]  # What was durable when it began, by name.
    operations: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._named = {name: number for number, name in enumerate(self.before)}
        self._n_files = len(self._named)
        self._handles: dict[object, int | None] = {}

    def refusal(self, call: str, name: str) -> Refusal | None:  # noqa: ARG002 - the protocol's.
        """Nothing is refused."""
        return None

    def mark(self, operation: Operation) -> None:
        """Keep what happened beside the files."""
        with self._lock:
            self.operations.append(operation)

    def opened(self, handle: object, name: str, *, is_new: bool) -> None:
        """Know the file by its handle from now on."""
        with self._lock:
            if name.endswith(FLEETING):
                self._handles[handle] = None
                return
            if is_new:
                self._named[name] = self._n_files
                self._n_files += 1
                self.operations.append(Name(name, self._named[name]))
            self._handles[handle] = self._named[name]

    def written(self, handle: object, offset: int, data: bytes) -> None:
        """Keep the bytes."""
        self._keep(handle, lambda file: Write(file, offset, data))

    def resized(self, handle: object, size: int) -> None:
        """Keep the size."""
        self._keep(handle, lambda file: Resize(file, size))

    def synced(self, handle: object, *, has_failed: bool) -> None:
        """Keep that a file is on the disk, or may not be."""
        self._keep(handle, lambda file: Sync(file, has_failed))

    def unlinked(self, name: str) -> None:
        """Keep that a name went."""
        with self._lock:
            if not name.endswith(FLEETING):
                del self._named[name]
                self.operations.append(Name(name, None))

    def names_synced(self) -> None:
        """Keep that names are on the disk."""
        self.mark(SyncNames())

    def _keep(self, handle: object, make: Callable[[int], Operation]) -> None:
        with self._lock:
            file = self._handles[handle]
            if file is not None:
                self.operations.append(make(file))
