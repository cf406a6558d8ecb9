"""Where an exporter that is new to a ledger begins."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from ledger_parts import make_event
from sla_parts import MINUTE, make_agreement

from otel_sla.exporter.backlog import LedgerBacklog
from otel_sla.ledger.records import Closing
from otel_sla.ledger.threads import LedgerThread, Writer
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.months import month_of, month_range

AGREEMENT = make_agreement()
MONTH = month_range(month_of(MINUTE, AGREEMENT.time_zone), AGREEMENT.time_zone)


def first_uids(url: str, name: str) -> list[str]:
    """The uids that an exporter has to deliver when it opens its backlog."""

    async def scenario() -> list[str]:
        writer: Writer = LedgerThread("ledger", lambda: Ledger.open(url))
        await writer.open()
        backlog = LedgerBacklog(name, url, (AGREEMENT,), writer, first_minutes_max=60)
        await backlog.open()
        uids = [stored.event.uid for stored in await backlog.events(10)]
        await backlog.close()
        await writer.close()
        return uids

    return asyncio.run(scenario())


@pytest.mark.parametrize("is_known", [False, True])
def test_a_new_exporter_begins_with_the_running_month(is_known: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """An old ledger: a new exporter gets the closing of the last month and what follows, a known one all it lacks."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    start = MONTH.start_minute
    minutes = {"long-ago": start - 50_000, "last": start - 1, "closed": start, "now": start + 5, "revised": start - 9}
    events = tuple(make_event(uid, minute) for uid, minute in minutes.items())
    with closing(Ledger.open(url)) as ledger:
        ledger.close_minutes(Closing(start + 10, None, events=events, published_before=start + 10))
        ledger.advance_cursor("old", event_id=5)
        if is_known:
            ledger.advance_cursor("otlp", event_id=1)
    assert first_uids(url, "otlp") == (["last"] if is_known else []) + ["closed", "now", "revised"]
    assert first_uids(url, "old") == []


def test_the_first_exporter_of_a_new_ledger_gets_all(tmp_path: Path) -> None:
    """Nothing was published yet: all events from then on are delivered, also to a backend that is away for months."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url)):
        pass
    assert first_uids(url, "otlp") == []
    with closing(Ledger.open(url)) as ledger:
        ledger.close_minutes(Closing(MINUTE, None, events=(make_event("old", 5),), published_before=MINUTE))
    assert first_uids(url, "otlp") == ["old"]


def test_the_last_event_that_a_backend_took(tmp_path: Path) -> None:
    """Asked for where one that follows must not overtake: the one at the cursor, or before those that are set aside."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    events = tuple(make_event(f"e{n}", MINUTE) for n in range(1, 5))
    last: list[str] = []

    async def scenario() -> None:
        writer: Writer = LedgerThread("ledger", lambda: Ledger.open(url))
        await writer.open()
        await writer.call(lambda ledger: ledger.close_minutes(Closing(MINUTE, None, events=events)))
        backlog = LedgerBacklog("otlp", url, (AGREEMENT,), writer, first_minutes_max=60)
        await backlog.open()
        stored = await backlog.events(4)
        assert await backlog.last_event() is None
        for one in stored:
            await (backlog.delivered_events(1) if one.event_id == 1 else backlog.set_aside(one, "no"))
            event = await backlog.last_event()
            last.append(event.event.uid if event is not None else "")
        await backlog.close()
        await writer.close()

    asyncio.run(scenario())
    assert last == ["e1"] * 4
