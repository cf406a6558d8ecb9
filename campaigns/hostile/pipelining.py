"""One connection that sends request behind request and reads no answer, without credentials."""

import asyncio
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile import http_wire, unread
from hostile.floods import RATIO_MIN, Flood, Found, side_by_side
from hostile.guard import Guard
from hostile.target import Target

PEAK_RATIO_MAX = 1.25  # Of the idle memory, also where the process counts with more than that.
REQUESTS = {
    "questions for health": http_wire.head(method="GET", path="/healthz", content_type=""),
    "bodies of 4 KB": http_wire.head(4096) + bytes(4096),
}


def every_pipelining() -> Iterator[Flood]:
    """Each kind of request, then the first of them over TLS."""
    for name in REQUESTS:
        yield Flood(f"pipelined {name}", pipelined(name), {"guard": Guard()})
    name, folder = next(iter(REQUESTS)), Path(tempfile.mkdtemp())
    yield Flood(f"pipelined {name}, TLS", pipelined(name), {"guard": Guard(folder, asks_for_certificate=False)})


def pipelined(name: str) -> Callable[[Target, float], Found]:
    """Give the attack with requests of this kind."""

    def run(target: Target, seconds: float) -> Found:
        async def attack() -> None:
            certificate = "" if target.guard is None else target.guard.server_certificate()
            arguments = (unread.__file__, str(target.http_port), certificate)
            process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE)
            try:
                await process.communicate(REQUESTS[name])
            finally:
                process.kill()
                await process.wait()

        ratio, p99_ms = asyncio.run(side_by_side(target, seconds, attack))
        peak_bytes = target.peak_bytes()
        told = f"a good sender keeps {ratio:.2f}, p99 {p99_ms:.0f} ms"
        problems = [told] if ratio < RATIO_MIN else []
        if peak_bytes > PEAK_RATIO_MAX * target.idle_bytes:
            problems.append(f"{peak_bytes / target.idle_bytes:.2f} x idle")
        return problems, told

    return run
