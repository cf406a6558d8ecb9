"""The life of a pipeline under load, ended at random, again and again."""

import asyncio
import random
import shutil
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import parts

from otel_sla.errors import LedgerError
from otel_sla.ledger.reader import LedgerReader

from .pieces import Encoding, Piece
from .senders import Account, Sender
from .tally import Found, Tally
from .transports import GrpcTransport, HttpTransport

LOAD_S_MAX = 0.6  # From serving to the kill.
STOP_S_MIN, STOP_S_MAX = 0.001, 1.0  # From SIGTERM to the kill; short ones are as frequent as long ones.
START_TIMEOUT_S = 120.0

CONFIG = """
page: null
receivers:
  otlp:
    protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc_port}"}}, http: {{endpoint: "127.0.0.1:{http_port}"}}}}
ledger: {{url: "sqlite:///{ledger}"}}
processor: {{grace: 1s}}
"""


class Phase(Enum):
    """When in its life a pipeline is killed."""

    START = "while starting"
    LOAD = "under load"
    STOP = "while stopping"


@dataclass(slots=True)
class Result:
    """What happened in a campaign; sums over all its ledgers."""

    kills: Counter[Phase] = field(default_factory=Counter)
    stops: int = 0  # Ends that were quicker than the kill.
    requests: int = 0  # Counted, each once.
    kept_unanswered: int = 0  # Messages that a kill left in the ledger and their senders without an answer.
    start_s: float = 1.0  # How long a start took lately.
    accounts: list[Account] = field(default_factory=list)

    def __str__(self) -> str:
        kills = ", ".join(f"{self.kills[phase]} {phase.value}" for phase in Phase)
        acknowledged: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for account in self.accounts:
            acknowledged += account.acknowledged
            reasons += account.not_answered
        told = (
            f"{self.kills.total()} kills ({kills}; {self.stops} had stopped before)",
            f"{self.requests} requests counted once",
            f"acknowledged {dict(acknowledged)}",
            f"repeated {sum(account.repeated for account in self.accounts)}",
            f"batched anew {sum(account.batched_anew for account in self.accounts)}",
            f"not answered {dict(reasons)}",
            f"counted without an answer {self.kept_unanswered}",
            f"a start took {self.start_s:.1f} s",
        )
        return "; ".join(told)


def run_campaign(n_kills: int, seed: int, folder: Path, tell: Callable[[str], object]) -> Result:
    """Kill a pipeline that has one ledger so many times.

    Raises:
        AssertionError: A span was lost or counted twice; the message says after which kill.
    """
    try:
        return asyncio.run(_Campaign(seed, folder, tell).run(n_kills))
    except* AssertionError as failures:
        failure: BaseException = failures
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise failure from None


class _Campaign:
    def __init__(self, seed: int, folder: Path, tell: Callable[[str], object]) -> None:
        self._rng = random.Random(seed)
        self._seed = seed
        self._folder = folder
        self._tell = tell
        self._ledger = folder / "ledger.db"
        self._held = [_held_port(), _held_port()]
        self._grpc_port, self._http_port = (held.getsockname()[1] for held in self._held)
        config = folder / "otel-sla.yaml"
        config.write_text(
            CONFIG.format(grpc_port=self._grpc_port, http_port=self._http_port, ledger=self._ledger),
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "otel_sla", "run", "--config", str(config)]
        self._process = parts.LoggedProcess(command)
        self._tally = Tally()
        self._result = Result()

    async def run(self, n_kills: int) -> Result:
        """Kill so many times, then let the senders finish and compare everything."""
        senders = self._make_senders()
        self._result.accounts = [sender.account for sender in senders]
        try:
            async with asyncio.TaskGroup() as group:
                sending = [group.create_task(sender.run()) for sender in senders]
                while (number := self._result.kills.total()) < n_kills:
                    await self._live(number)
                await asyncio.to_thread(self._start)
                for sender in senders:
                    sender.last_call()
                await asyncio.wait(sending)
            assert await asyncio.to_thread(self._process.stop) == 0, "a clean end"
        finally:
            await asyncio.to_thread(self._process.kill)
            for held in self._held:
                held.close()
        found = self._look()
        assert found is not None
        assert found.absent == found.unanswered == 0, f"seed {self._seed}: sent and not acknowledged: {found}"
        self._result.requests = self._tally.requests
        return self._result

    def _make_senders(self) -> list[Sender]:
        grpc, http = self._grpc_port, self._http_port
        json, protobuf = Encoding.JSON, Encoding.PROTOBUF
        kinds = {
            "gRPC": (GrpcTransport(grpc, is_compressed=False), protobuf),
            "gRPC gzip": (GrpcTransport(grpc, is_compressed=True), protobuf),
            "HTTP": (HttpTransport(http, protobuf, is_compressed=False), protobuf),
            "HTTP gzip": (HttpTransport(http, protobuf, is_compressed=True), protobuf),
            "HTTP JSON": (HttpTransport(http, json, is_compressed=False), json),
        }
        queues: dict[Encoding, deque[Piece]] = {encoding: deque() for encoding in Encoding}
        return [
            Sender(
                name,
                transport,
                encoding,
                queue=queues[encoding],
                rng=random.Random(self._rng.random()),
                tally=self._tally,
            )
            for name, (transport, encoding) in kinds.items()
        ]

    async def _live(self, number: int) -> None:
        """One life: start, load, stop, as far as the kill lets it come; then a look at what is left."""
        (phase,) = self._rng.choices(list(Phase), (3, 5, 2))
        waits_s = {
            Phase.START: (self._rng.uniform(self._rng.choice((0.0, 0.5)), 1.1) * self._result.start_s,),
            Phase.LOAD: (self._rng.uniform(0, LOAD_S_MAX),),
            Phase.STOP: (
                self._rng.uniform(0, LOAD_S_MAX),
                STOP_S_MIN * (STOP_S_MAX / STOP_S_MIN) ** self._rng.random(),
            ),
        }
        was_killed = await asyncio.to_thread(self._live_until_killed, phase, *waits_s[phase])
        self._result.kills[phase] += was_killed
        self._result.stops += not was_killed
        shown = f"kill {number + 1}, {phase.value}" if was_killed else "stopped"
        try:
            found = self._look()
        except AssertionError as problem:
            raise AssertionError(f"seed {self._seed}, {shown}: {problem}") from None
        if found is None:
            self._tell(f"{shown}: there is no ledger yet")
        else:
            self._result.kept_unanswered += found.unanswered
            self._tell(
                f"{shown}: {found.acknowledged} messages acknowledged and {found.unanswered} unanswered are in the"
                f" ledger, {found.absent} are not; {self._tally.requests} requests counted once"
            )

    def _live_until_killed(self, phase: Phase, wait_s: float, stop_s: float = 0.0) -> bool:
        """False if it had ended before."""
        if phase is Phase.START:
            self._process.start()
        else:
            self._start()
        _wait(wait_s)
        assert self._process.is_running, "it ended by itself:\n" + "\n".join(self._process.lines)
        if phase is Phase.STOP:
            self._process.terminate()
            _wait(stop_s)
        was_running = self._process.is_running
        if not was_running:
            assert self._process.wait() == 0, "it did not end well:\n" + "\n".join(self._process.lines)
        else:
            self._process.kill()
        assert not any("Traceback" in line for line in self._process.lines), "\n".join(self._process.lines)
        return was_running

    def _start(self) -> None:
        started_s = time.monotonic()
        self._process.start()
        self._process.wait_for("action=serving", timeout_s=START_TIMEOUT_S)
        self._result.start_s += 0.3 * (time.monotonic() - started_s - self._result.start_s)

    def _look(self) -> Found | None:
        """Look into a copy, so that the pipeline itself has to mend what a kill left; None: there is no ledger yet."""
        with _copied(self._ledger) as copy:
            try:
                reader = LedgerReader.open(f"sqlite:///{copy}")
            except LedgerError:
                if self._tally.requests:
                    raise
                return None
            with closing(reader):
                assert reader.check() == ()
                return self._tally.check(reader)


@contextmanager
def _copied(ledger: Path) -> Iterator[Path]:
    """The ledger's file and its log as a process left them."""
    folder = ledger.with_name("look")
    folder.mkdir()
    try:
        for name in (ledger.name, f"{ledger.name}-wal"):
            if ledger.with_name(name).exists():
                shutil.copyfile(ledger.with_name(name), folder / name)
        yield folder / ledger.name
    finally:
        shutil.rmtree(folder)


def _held_port() -> socket.socket:
    """A port that the pipeline can listen on, and that the kernel gives to nobody else while it does not."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def _wait(seconds: float) -> None:
    """A kill comes at its instant, whatever happens by then."""
    threading.Event().wait(seconds)
