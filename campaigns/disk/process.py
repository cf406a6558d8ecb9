"""A real process, started by its command, on a disk of which one call fails."""

import random
import sys
import time
from pathlib import Path

import grpc
import parts
from pipeline_parts import EXPORT

from disk.aftermath import look
from disk.faults import Fault
from disk.record import Known
from disk.sender import Sender

_WAVES = 12
_CONFIG = """
page: null
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
ledger: {{url: "sqlite:///{folder}/ledger.db"}}
processor: {{grace: 1s}}
"""


def try_process(fault: Fault, at: int, folder: Path) -> tuple[int, str]:
    """Serve and be sent requests until the disk fails, or to a clean end. Gives the exit code, and what is wrong."""
    (port,) = parts.free_ports(1)
    config = folder / "otel-sla.yaml"
    config.write_text(_CONFIG.format(port=port, folder=folder))
    lasts = "lasts" if fault.lasts else "once"
    script = Path(__file__).with_name("faulty_run.py")
    process = parts.LoggedProcess([sys.executable, str(script), str(config), fault.kind, lasts, str(at)])
    rng = random.Random(at)
    sender = Sender(rng)
    process.start()
    try:
        try:
            process.wait_for("action=serving", timeout_s=120)
        except parts.ProcessEnded:
            known = Known()
        else:
            known = _send(sender, port)
        code = process.stop(timeout_s=60)
    finally:
        process.kill()
    if complaint := _of_the_end(code, process.lines):
        return code, complaint
    return code, "; ".join(look(folder, sender, known, time.time_ns(), rng).complaints)


def _send(sender: Sender, port: int) -> Known:
    """Send until it is refused."""
    begun: set[int] = set()
    acknowledged: set[int] = set()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(EXPORT)
        for _ in range(_WAVES):
            for request in sender.batched(sender.make(6, time.time_ns())):
                begun.update(request)
                try:
                    call(sender.body(request), timeout=30)
                except grpc.RpcError:
                    return Known(frozenset(begun), frozenset(acknowledged))
                acknowledged.update(request)
    return Known(frozenset(begun), frozenset(acknowledged))


def _of_the_end(code: int, lines: list[str]) -> str:
    """What is wrong with how it ended: 0 and silence, or 1 and one line with what happened, perhaps one with a hint."""
    errors = [line for line in lines if line.startswith("otel-sla: error: ")]
    if code not in (0, 1) or len(errors) != code:
        return f"exit code {code} with {len(errors)} lines: {errors}"
    if any("Traceback" in line for line in lines):
        return "a traceback: " + " / ".join(lines[-12:])
    return ""
