"""Walks through the records of files and has what is new counted; goes on where an earlier run stopped.

A file is known by its first record, whatever its name is and however it is compressed. The ledger has how far it was
counted, with a digest of all records up to there: what was appended to since goes on from there; what begins alike but
is not the same is found out before anything is counted twice.

Small records are counted together, for a request costs the same for one span as for a hundred: 75,000 records of one
span each in a second instead of 11,500 (benchmarks/bench_replay.py --batch 1).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BufferedIOBase

from otel_sla.errors import DecodeError, ReplayError, RequestTooLarge
from otel_sla.ledger.records import Position
from otel_sla.replay.counting import ReplayCounter, Totals
from otel_sla.replay.payloads import OtherSignal, is_other_signal, read_line, read_message
from otel_sla.replay.records import NO_FORMAT, RECORD_SIZE_BYTES_MAX, JsonLines, Record, is_json, open_records
from otel_sla.replay.settings import Format, OnError
from otel_sla.replay.streams import ByteStream
from otel_sla.sla.figures_text import counted
from otel_sla.spans.request import is_joinable

COMMIT_SIZE_BYTES = 64 * 1024 * 1024  # Of records; so much is done again after a stop in the middle.
_RECORD_START = b'{"resourceSpans"'  # Within a line's text the quotes would be escaped.
_HEADLESS = "the first line is not a whole record: the rest of one that begins in another file, or cut off"
_SMALL_SIZE_BYTES_MAX = 64 * 1024
JOINED_SIZE_BYTES_MAX = 256 * 1024
_PIECES_MAX = 1000  # Records on their way, of other signals too, which have no size.
_HINT = "nothing more was counted of it; replay the file that was counted, or use another ledger.url"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the file is that is being counted."""

    name: str
    size_bytes_read: int  # Of the file as it is stored.
    spans: int  # Counted from all files, not all of them durable yet.


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """How files are read."""

    format: Format = Format.AUTO
    on_error: OnError = OnError.STOP
    record_size_bytes_max: int = RECORD_SIZE_BYTES_MAX
    commit_size_bytes: int = COMMIT_SIZE_BYTES
    joined_size_bytes_max: int = JOINED_SIZE_BYTES_MAX  # Of records that are counted together.


class Replay:
    """Counts files, one after the other.

    Args:
        counting: Gets what is new.
        options: How files are read.
        on_left_out: Gets a line for each record or file that is left out.
        on_progress: Called many times a second.
    """

    def __init__(
        self,
        counting: ReplayCounter,
        options: ReplayOptions,
        *,
        on_left_out: Callable[[str], None] = lambda _: None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self.counting = counting
        self.options = options
        self.on_left_out = on_left_out
        self.on_progress = on_progress

    def count(self, name: str, file: BufferedIOBase) -> None:
        """Count what is new in a file; what was counted is durable when this returns or raises a ReplayError.

        Args:
            name: What messages call it.
            file: Open for reading, at its start; buffered.

        Raises:
            ReplayError: A record is broken, or the file cannot be read on, and `on_error` is `stop`.
            LedgerError: Not durable; a later run goes on where the ledger is.
        """
        try:
            stream = ByteStream(name, file)
            _FileReplay(self, name, stream).run()
        except ReplayError as error:
            if self.options.on_error is OnError.STOP:
                raise
            self.counting.totals.skipped_files += 1
            self.on_left_out(str(error))


class _FileReplay:
    """The replay of one file."""

    def __init__(self, replay: Replay, name: str, stream: ByteStream) -> None:
        options = replay.options
        self._replay = replay
        self._counting = replay.counting
        self._name = name
        self._stream = stream
        self._records = open_records(name, stream, options.format, size_bytes_max=options.record_size_bytes_max)
        self._source = ""  # Key in the ledger; the first record gives it.
        # In the ledger: end of the last record that was counted, and its check; None: nothing yet.
        self._offset: int | None = None
        self._check: int | None = None
        self._is_passing = False  # What an earlier run counted.
        self._pieces: list[tuple[Record, bytes | None]] = []  # Records on their way; None: nothing to count in it.
        self._pieces_size_bytes = 0
        self._n_whole = self._n_broken = 0
        self._last: Record | None = None  # That is dealt with.

    def run(self) -> None:
        stop = 0
        try:
            for record in self._records:
                is_passing = self._was_counted(record)
                if is_passing != self._is_passing:
                    self._count_waiting()
                    self._is_passing = is_passing
                self._take(record)
                stop = record.stop
        except ReplayError:
            self._count_waiting()
            self._commit()
            raise
        self._count_waiting()
        self._commit()
        if self._offset is not None and stop < self._offset:
            message = f"{self._name} ends at byte {stop}, but was counted up to byte {self._offset}: it is cut off"
            raise ReplayError(message, _HINT)
        if self._n_broken and not self._n_whole:
            self._replay.on_left_out(f"{self._name}: no record in it is whole: {NO_FORMAT}")
        missing = self._records.incomplete_size_bytes
        if missing:
            self._counting.totals.incomplete_size_bytes += missing
            self._replay.on_left_out(
                f"{self._name} ends in the middle of a record: {_uncounted(missing, f' behind byte {stop}')};"
                " once there is more of it, another replay goes on from there"
            )

    def _was_counted(self, record: Record) -> bool:
        """Whether an earlier run counted the record.

        Raises:
            ReplayError: This is not the file that the earlier run counted.
        """
        if not self._source:
            self._source = f"replay:{record.check:016x}"
            self._offset = self._counting.ledger.position(self._source)
            self._check = self._counting.ledger.position(f"{self._source}:check")
        if self._offset is None or record.start >= self._offset:
            return False
        if record.stop > self._offset or (record.stop == self._offset and record.check != self._check):
            message = f"{self._name} begins like a file that was counted up to byte {self._offset}, but is not the same"
            raise ReplayError(message, _HINT)
        return True

    def _take(self, record: Record) -> None:
        """Count a large record now; keep a small one for the next few."""
        body = self._read(record)
        size_bytes = len(body or b"")
        is_small = not body or (size_bytes <= _SMALL_SIZE_BYTES_MAX and is_joinable(body, _SMALL_SIZE_BYTES_MAX))
        is_full = len(self._pieces) == _PIECES_MAX
        if not is_small or is_full or self._pieces_size_bytes + size_bytes > self._replay.options.joined_size_bytes_max:
            self._count_waiting()
        self._pieces.append((replace(record, content=b""), body))
        self._pieces_size_bytes += size_bytes
        if not is_small:
            self._count_waiting()

    @property
    def _pending(self) -> Totals:
        """What becomes durable with the next commit; of what an earlier run counted, nothing does."""
        return Totals() if self._is_passing else self._counting.pending

    def _read(self, record: Record) -> bytes | None:
        if record.padding_size_bytes:
            self._pass_over(record, record.padding_size_bytes, "zeros or a byte order mark, before the record")
            self._pending.padding_size_bytes += record.padding_size_bytes
            if not record.content:
                return None
        try:
            body: bytes | None = self._body_of(record)
        except OtherSignal:
            self._pending.other_signal_records += 1
            body = None
        except (DecodeError, RequestTooLarge) as error:
            self._count_waiting()  # What stands before it is counted, whatever becomes of it.
            return self._read_broken(record, error)
        self._n_whole += 1
        return body

    def _read_broken(self, record: Record, error: DecodeError | RequestTooLarge) -> bytes | None:
        """Give the record that stands behind half of another on its line, if one does."""
        line = record.content if isinstance(self._records, JsonLines) else b""
        start = line.rfind(_RECORD_START, 1)
        try:
            body = read_line(line[start:]) if start > 0 else None
        except DecodeError:
            body, start = None, -1
        if record.start == 0 and line and not is_json(line):
            size_bytes = len(line) if body is None else start
            self._pass_over(record, size_bytes, _HEADLESS)
            self._pending.headless_size_bytes += size_bytes
        else:
            self._refuse(record, error)
        return body

    def _pass_over(self, record: Record, size_bytes: int, reason: str) -> None:
        if not self._is_passing:
            self._replay.on_left_out(f"{self._name}, {record.where}: {_uncounted(size_bytes)}: {reason}")

    def _body_of(self, record: Record) -> bytes:
        if record.problem:
            raise RequestTooLarge(record.problem)
        if isinstance(self._records, JsonLines):
            return read_line(record.content)
        return read_message(record.content, self._replay.options.record_size_bytes_max)

    def _count_waiting(self) -> None:
        """Count the records that wait, and commit if that is due."""
        pieces, self._pieces, self._pieces_size_bytes = self._pieces, [], 0
        if not pieces:
            return
        self._count(pieces)
        counting = self._counting
        self._replay.on_progress(
            Progress(self._name, self._stream.size_bytes_read, counting.totals.spans + counting.pending.spans)
        )
        uncommitted = pieces[-1][0].stop - (self._offset or 0)
        if not self._is_passing and (uncommitted >= self._replay.options.commit_size_bytes or counting.is_full):
            self._commit()

    def _count(self, pieces: list[tuple[Record, bytes | None]]) -> None:
        bodies = [body for _, body in pieces if body is not None]
        try:
            if bodies:
                self._add(b"".join(bodies), is_alone=len(pieces) == 1)
        except (DecodeError, RequestTooLarge, OtherSignal) as error:
            if len(pieces) > 1:
                for piece in pieces:
                    self._count([piece])
                return
            if isinstance(error, OtherSignal) or is_other_signal(bodies[0]):
                self._pending.other_signal_records += 1
            else:
                self._refuse(pieces[0][0], error)
        else:
            self._pending.records += len(bodies)
        if self._is_passing:
            self._counting.totals.earlier_records += len(pieces)
        self._last = pieces[-1][0]

    def _add(self, body: bytes, *, is_alone: bool) -> None:
        if self._is_passing:
            self._counting.pass_by(body)
            return
        try:
            self._counting.add(body)
        except OtherSignal:
            if not is_alone or is_other_signal(body):
                raise
            self._counting.add(body, is_traces=True)

    def _refuse(self, record: Record, error: Exception) -> None:
        if self._is_passing:
            return
        self._n_broken += 1
        message = f"{self._name}, {record.where}: {error}"
        if self._replay.options.on_error is OnError.STOP:
            raise ReplayError(message, "with --on-error skip the rest is counted without it; all before it is counted")
        self._counting.pending.broken_records += 1
        self._replay.on_left_out(message)

    def _commit(self) -> None:
        """Make durable what is new, if anything is."""
        last = self._last
        if last is None or last.stop <= (self._offset or 0):
            return
        self._counting.commit(
            (
                Position(self._source, self._offset, last.stop),
                Position(f"{self._source}:check", self._check, last.check),
            )
        )
        self._offset, self._check = last.stop, last.check


def _uncounted(size_bytes: int, where: str = "") -> str:
    return f"{counted(size_bytes, 'byte')}{where} {'is' if size_bytes == 1 else 'are'} not counted"
