"""What a disk may hold when power fails.

What was given to the disk (fsync) is there. Of the rest anything may be there, in any order: each sector of 512 bytes
by itself, each change of a size, each name; and a file may be longer than what reached it, with zeros or old bytes in
the gap. A sector is written whole or not at all, and its neighbours stay as they were: SQLite relies on that too.
"""

import random
from collections.abc import Sequence

from disk.record import FLEETING, Name, Operation, Record, Resize, Sync, SyncNames, Write

SECTOR_BYTES = 512
_SHM_BYTES = 32_768

_Piece = tuple[int, int, int]  # (index of the operation, start, stop): bytes of a write; 0, 0 for a change of size.


def files_after_power_cut(record: Record, stop: int, rng: random.Random) -> dict[str, bytes]:
    """What may be found, by name, when power fails after the first `stop` operations."""
    operations = record.operations[:stop]
    lasting, doubtful = _sorted_by_fate(operations)
    files = _Files(record, operations)
    survivors: set[_Piece] = set()
    for indexes in doubtful.values():
        survivors |= _survivors([piece for index in indexes for piece in _pieces(index, operations[index])], rng)
    for index, operation in enumerate(operations):
        if isinstance(operation, Write | Resize):
            for piece in _pieces(index, operation):
                if index in lasting or piece in survivors:
                    files.apply(piece)
    for indexes in doubtful.values():
        files.stretch(indexes, rng)
    found = {name: files.content(file) for name, file in _names(record, operations, rng).items()}
    if rng.random() < 0.3:
        (main,) = [name for name in (*found, "ledger.db") if name.endswith(".db")][:1]
        found[f"{main}{FLEETING[0]}"] = rng.randbytes(_SHM_BYTES)
    return found


def files_without_power_cut(record: Record) -> dict[str, bytes]:
    """What the files hold when all was done: has to be what is in the folder, or the record is not complete."""
    files = _Files(record, record.operations)
    names = {name: number for number, name in enumerate(record.before)}
    for index, operation in enumerate(record.operations):
        if isinstance(operation, Write | Resize):
            for piece in _pieces(index, operation):
                files.apply(piece)
        elif isinstance(operation, Name):
            _rename(names, operation)
    return {name: files.content(file) for name, file in names.items()}


class _Files:
    """Contents while operations are applied to them."""

    def __init__(self, record: Record, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._contents = {number: bytearray(content) for number, content in enumerate(record.before.values())}

    def content(self, file: int) -> bytes:
        return bytes(self._contents.get(file, b""))

    def apply(self, piece: _Piece) -> None:
        index, start, stop = piece
        operation = self._operations[index]
        assert isinstance(operation, Write | Resize)
        content = self._contents.setdefault(operation.file, bytearray())
        if isinstance(operation, Resize):
            del content[operation.size :]
            content.extend(bytes(operation.size - len(content)))
            return
        first = operation.offset + start
        content.extend(bytes(max(0, first - len(content))))
        content[first : operation.offset + stop] = operation.data[start:stop]

    def stretch(self, indexes: Sequence[int], rng: random.Random) -> None:
        """Sometimes the new size of a file has reached the disk and its bytes have not."""
        ends = [
            (operation.file, operation.offset + len(operation.data))
            for operation in (self._operations[index] for index in indexes)
            if isinstance(operation, Write)
        ]
        fill = rng.choice((None, None, bytes, rng.randbytes))
        if ends and fill is not None:
            file, end = rng.choice(ends)
            content = self._contents.setdefault(file, bytearray())
            content.extend(fill(max(0, end - len(content))))


def _sorted_by_fate(operations: Sequence[Operation]) -> tuple[set[int], dict[int, list[int]]]:
    """Indexes of the operations that are on the disk for certain; of the others, by file."""
    lasting: set[int] = set()
    doubtful: dict[int, list[int]] = {}
    waiting: dict[int, list[int]] = {}
    for index, operation in enumerate(operations):
        if isinstance(operation, Write | Resize):
            waiting.setdefault(operation.file, []).append(index)
        elif isinstance(operation, Sync):
            indexes = waiting.pop(operation.file, [])
            if operation.has_failed:
                doubtful.setdefault(operation.file, []).extend(indexes)
            else:
                lasting.update(indexes)
    for file, indexes in waiting.items():
        doubtful.setdefault(file, []).extend(indexes)
    return lasting, doubtful


def _pieces(index: int, operation: Operation) -> list[_Piece]:
    """An operation in the parts that reach the disk together."""
    if not isinstance(operation, Write):
        return [(index, 0, 0)]
    edges = range(SECTOR_BYTES - operation.offset % SECTOR_BYTES, len(operation.data), SECTOR_BYTES)
    starts = (0, *edges)
    return [(index, start, stop) for start, stop in zip(starts, (*edges, len(operation.data)), strict=True)]


def _survivors(pieces: Sequence[_Piece], rng: random.Random) -> set[_Piece]:
    """Some of what was under way to the disk."""
    bound = rng.randrange(len(pieces) + 1)
    share = rng.choice((0.05, 0.5, 0.95))
    ways = (
        lambda: pieces[:0],
        lambda: pieces,
        lambda: pieces[:bound],  # In order, torn somewhere.
        lambda: pieces[bound:],  # The last first.
        lambda: [piece for piece in pieces if rng.random() < share],
    )
    return set(rng.choice(ways)())


def _names(record: Record, operations: Sequence[Operation], rng: random.Random) -> dict[str, int]:
    names = {name: number for number, name in enumerate(record.before)}
    waiting: list[Name] = []
    for operation in operations:
        if isinstance(operation, Name):
            waiting.append(operation)
        elif isinstance(operation, SyncNames):
            for change in waiting:
                _rename(names, change)
            waiting = []
    share = rng.choice((0.0, 0.5, 1.0))
    for change in waiting:
        if rng.random() < share:
            _rename(names, change)
    return names


def _rename(names: dict[str, int], change: Name) -> None:
    if change.file is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.file
