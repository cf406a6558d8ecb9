"""What a ledger is after an accident: opened by the ordinary code, compared, and sent all that was not acknowledged."""

import asyncio
import random
from pathlib import Path

from pipeline_parts import Clock

from disk.life import Plan, ledger_config, live
from disk.record import Known, Record
from disk.sender import Found, Sender

_AGAIN_MAX = 5  # Acknowledged messages that come again all the same.


def lay_down(files: dict[str, bytes], folder: Path) -> None:
    """Make a folder with these files."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def look(folder: Path, sender: Sender, known: Known, now_unix_nano: int, rng: random.Random) -> Found:
    """Give the first thing that is wrong: as it was found, or after the sender has repeated what it must."""
    config = ledger_config(folder)
    found = sender.compare(config.ledger.url, known)
    if found.complaints:
        return found
    acknowledged = sorted(known.acknowledged)
    again = rng.sample(acknowledged, min(_AGAIN_MAX, len(acknowledged)))
    repeats = tuple(sender.batched([*sorted(known.begun - known.acknowledged), *again]))
    failure = asyncio.run(live(config, Clock(now_unix_nano), sender, Plan((repeats,), {}), Record({})))
    if failure is not None:
        return Found(broken=f"the next start ended: {failure}")
    return sender.compare(config.ledger.url, known.answered())
