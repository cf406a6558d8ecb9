"""Ledgers that former versions wrote: two months of an eventful service, with what that version reported of them.

`tests/data/ledgers/schema-N.db.gz` was written by the last version with schema N, `schema-N.json` is its report.
"""

import asyncio
import gzip
import json
from collections.abc import Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import naive
import pytest
from history_parts import EDGE, NOVEMBER, OCTOBER, History
from order_parts import fold
from pipeline_parts import Clock, events_of, make_config, running
from sla_parts import make_agreement, make_terms

from otel_sla.config import Config
from otel_sla.errors import LedgerUnavailable
from otel_sla.judging.month_report import elapsed_stop_minute, load_report
from otel_sla.judging.series_judge import is_grouped
from otel_sla.judging.terms_versions import removed_agreements
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.schema import SCHEMA_VERSION
from otel_sla.ledger.writer import Ledger
from otel_sla.report.json import report_object
from otel_sla.sla.agreement import FIRST_RULES, Agreement, Condition, ExclusionReason, ExclusionWindow, NoData, Scope
from otel_sla.sla.events import Event
from otel_sla.sla.months import Month

DATA = Path(__file__).resolve().parents[1] / "data" / "ledgers"
NOW = datetime(2026, 11, 3, 11, 15, tzinfo=UTC)
FORMER = range(1, SCHEMA_VERSION)


def config_of(folder: Path) -> Config:
    """As the former version was configured at the end."""
    config = make_config(folder)
    (base,) = config.agreements
    downtime = replace(base.downtime, no_data=NoData.CARRY, period_minutes_min=2)
    shop = replace(base, name="shop", time_zone="Asia/Kolkata", downtime=downtime)
    return replace(config, agreements=(replace(base, target=Fraction(9995, 10000)), shop))


def unpack(schema: int, folder: Path, which: str = "") -> dict[str, Any]:
    """Lay the ledger where `config_of` has it; gives what the former version said of it."""
    (folder / "ledger.db").write_bytes(gzip.decompress((DATA / f"schema-{schema}{which}.db.gz").read_bytes()))
    said: dict[str, Any] = json.loads((DATA / f"schema-{schema}{which}.json").read_text())
    return said


def differences(config: Config, said: dict[str, Any], *, is_started: bool = False) -> list[str]:
    """Where today's reports are not those of the former version.

    Its terms had the outcome rules of their time. So those configured now are a version of their own, which the
    ledger has once it was started; closed months stay judged by the version that closed them.
    """
    found = []
    stop_minute = elapsed_stop_minute(NOW, timedelta(seconds=60))
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        assert reader.check() == ()
        for expected in deepcopy(said["reports"]):
            for section in expected["agreements"]:
                if section["closed_by_version"] is None:
                    section["version"] = section["version"] + 1 if is_started else None
            month = Month.parse(expected["month"])
            report = report_object(load_report(reader, config.agreements, month, stop_minute, NOW))
            found += naive.differences(expected, report, expected["month"])
    return found


@pytest.mark.parametrize("schema", FORMER)
def test_a_former_ledger_is_read_before_it_is_migrated(schema: int, tmp_path: Path) -> None:
    """Reports are the former version's, and the file stays as it was to the last byte; so does a backup of it."""
    said = unpack(schema, tmp_path)
    path = tmp_path / "ledger.db"
    before = path.read_bytes()
    assert differences(config_of(tmp_path), said) == []
    with closing(LedgerReader.open(f"sqlite:///{path}", as_it_is=True)) as reader:
        reader.backup(tmp_path / "backup.db")
    assert path.read_bytes() == before
    (tmp_path / "backup.db").rename(path)
    assert differences(config_of(tmp_path), said) == []


@pytest.mark.parametrize("schema", FORMER)
def test_a_former_ledger_goes_on(schema: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The pipeline brings it up to date and logs that; its figures stay, and nothing is told anew."""
    said = unpack(schema, tmp_path)
    config = config_of(tmp_path)

    async def scenario() -> list[str]:
        async with running(config, Clock(round(NOW.timestamp()) * 10**9)) as (pipeline, _):
            await pipeline.tick()
        with closing(LedgerReader.open(config.ledger.url)) as reader:
            return [stored.event.uid for stored in reader.events_after(0, 1_000_000)]

    with caplog.at_level("INFO"):
        assert asyncio.run(scenario()) == said["events"]
    migrated = [record.message for record in caplog.records if record.action == "ledger_migrating"]  # type: ignore[attr-defined]
    assert f"from schema {schema} to {SCHEMA_VERSION}" in migrated[0]
    assert differences(config, said, is_started=True) == []
    rules = [record.message for record in caplog.records if record.action == "outcome_rules_changed"]  # type: ignore[attr-defined]
    assert len(rules) == len(config.agreements)
    assert all(
        "spans that come from 2026-11-03T11:15:00Z on are counted by the outcome rules" in each for each in rules
    )


def test_a_former_ledger_is_not_written_beside(tmp_path: Path) -> None:
    """An exclusion waits for the migration: the command says what to do first."""
    unpack(1, tmp_path)
    with pytest.raises(LedgerUnavailable, match=f"has schema 1, this otel-sla writes {SCHEMA_VERSION}"):
        ExclusionWriter.open(f"sqlite:///{tmp_path}/ledger.db")
    Ledger.open(f"sqlite:///{tmp_path}/ledger.db").close()
    ExclusionWriter.open(f"sqlite:///{tmp_path}/ledger.db").close()


# `schema-5-former.db.gz` is of agreements that were removed, grouped otherwise and excluded, under `down` and `carry`:
# `at_change` says what they were when this happened, on 30 October at 08:40; `reports` what was left of it in the end.
AFTER_CHANGE = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def former_config(folder: Path) -> Config:
    """As it was configured at the end: two agreements were removed, two are grouped otherwise."""
    config = make_config(folder)
    (base,) = config.agreements

    def one(name: str, policy: str, env: str) -> Agreement:
        terms = replace(base.downtime, no_data=NoData(policy))
        selector = (Condition(Scope.SPAN, "env", (env,)),)
        return replace(base, name=name, downtime=terms, covered_service=selector, group_by=("host.name",))

    starts = (datetime(2026, 10, 30, 8, 20, tzinfo=UTC), datetime(2026, 11, 2, 7, 58, tzinfo=UTC))
    window = ExclusionWindow(ExclusionReason.FORCE_MAJEURE, *starts, None, None, "flood", "ops", None)
    windows = tuple(replace(window, start=start, stop=start + timedelta(minutes=12)) for start in starts)
    excluded = replace(
        one("excluded-carry", "carry", "e"),
        group_by=("service.name",),
        exclusions=replace(base.exclusions, windows=windows),
    )
    regrouped = (one("regrouped-down", "down", "m"), one("regrouped-carry", "carry", "m"))
    return replace(config, agreements=(*regrouped, excluded))


def former_series(config: Config, month: str, now: datetime) -> dict[tuple[str, str], dict[str, Any]]:
    """The report's series by agreement and service."""
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        removed = removed_agreements(reader, config.agreements)
        stop_minute = elapsed_stop_minute(now, timedelta(seconds=60))
        report = load_report(reader, config.agreements, Month.parse(month), stop_minute, now, removed=removed)
    sections = report_object(report)["agreements"]
    return {(each["name"], str(one["group"])): one for each in sections for one in each["series"]}


def start_once(config: Config, now: datetime, sends: Sequence[bytes] = ()) -> list[Event]:
    """Start it, judge and stop; what was told that was not before."""
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        known = {stored.event.uid for stored in reader.events_after(0, 1_000_000)}

    async def scenario() -> None:
        async with running(config, Clock(round(now.timestamp()) * 10**9)) as (pipeline, send):
            for body in sends:
                await send(body)
            await pipeline.tick()

    asyncio.run(scenario())
    return [event for event in events_of(config) if event.uid not in known]


@pytest.mark.parametrize("days_later", [0, 35])
@pytest.mark.parametrize("is_started", [False, True])
def test_no_downtime_is_invented_of_what_the_former_version_judged_no_more(
    is_started: bool,  # noqa: FBT001 - drawn.
    days_later: int,
    tmp_path: Path,
) -> None:
    """Removed, or grouped otherwise, under `down` and `carry`: what was down by the edit stays down, and nothing since.

    chat-3 failed for two minutes more that were counted and not told of by then.
    """
    said = unpack(5, tmp_path, "-former")
    config, now = former_config(tmp_path), AFTER_CHANGE + timedelta(days=days_later)
    if is_started:
        start_once(config, now)
    held = former_series(config, "2026-10", now)
    (at_change,) = said["at_change"]
    n_compared = 0
    for section in at_change["agreements"][:4]:
        for one in section["series"]:
            found = held[section["name"], str(one["group"])]
            more = found["minutes"]["down"] - one["minutes"]["down"]
            is_silent = one["group"]["service.name"] == "chat-2" and section["name"] == "removed-down"
            assert more == (2 if is_silent or one["group"]["service.name"] == "chat-3" else 0), (section["name"], one)
            assert all(period["stop"] <= "2026-10-30T08:40:00Z" for period in found["downtime_periods"])
            n_compared += 1
    assert n_compared == 12
    later = former_series(config, "2026-11", now)
    assert not [key for key in later if "service.name" in key[1] and key[0] != "excluded-carry"]


@pytest.mark.parametrize("days_later", [0, 35])
def test_what_the_former_version_left_going_on_is_ended(days_later: int, tmp_path: Path) -> None:
    """The events add up to the report: removed agreements' outages end where they were counted last, told once."""
    unpack(5, tmp_path, "-former")
    config, now = former_config(tmp_path), AFTER_CHANGE + timedelta(days=days_later)
    told = start_once(config, now)
    ended = {
        (str(event.attributes["sla.agreement.name"]), str(event.attributes["service.name"]))
        for event in told
        if event.name == "sla.downtime.ended" and event.attributes["sla.agreement.name"] != "excluded-carry"
    }
    regrouped = {("regrouped-down", "chat-3"), ("regrouped-carry", "chat-3")}
    assert ended == {("removed-down", "chat-2"), ("removed-down", "chat-3"), ("removed-carry", "chat-3")} | regrouped
    standing = fold(events_of(config))
    periods = [one for one in standing.values() if one["name"] == "sla.downtime" and "service.name" in one]
    closed = [one for one in standing.values() if one["name"] == "sla.month" and "service.name" in one]
    held = former_series(config, "2026-10", now)
    for (name, group), one in held.items():
        if "service.name" not in group or name == "excluded-carry":
            continue
        service = one["group"]["service.name"]
        mine = [each for each in periods if (each["sla.agreement.name"], each["service.name"]) == (name, service)]
        spans = [(each["sla.downtime.start"], each["sla.downtime.stop"]) for each in mine]
        assert spans == [(each["start"], each["stop"]) for each in one["downtime_periods"]], (name, service)
        (last,) = [each for each in closed if (each["sla.agreement.name"], each["service.name"]) == (name, service)]
        assert last["sla.month.downtime_minutes"] == one["minutes"]["down"], (name, service)
    assert start_once(config, now) == []


def test_a_closed_month_keeps_the_former_clause_6_and_an_open_one_is_told_the_new(tmp_path: Path) -> None:
    """`carry` out of a window: October was closed with it; November is told again without."""
    said = unpack(5, tmp_path, "-former")
    config = former_config(tmp_path)
    key = ("excluded-carry", "{'service.name': 'chat-1'}")
    sections = ({one["name"]: one for one in each["agreements"]} for each in said["reports"])
    october, november = (section[key[0]]["series"][0] for section in sections)
    assert (october["minutes"]["down"], november["minutes"]["down"]) == (28, 47)
    told = [event for event in start_once(config, AFTER_CHANGE) if event.attributes["sla.agreement.name"] == key[0]]
    assert former_series(config, "2026-10", AFTER_CHANGE)[key]["minutes"] == october["minutes"]
    held = former_series(config, "2026-11", AFTER_CHANGE)[key]
    assert (held["minutes"]["down"], held["minutes"]["excluded"], held["breached"]) == (0, 12, False)
    assert [event.name for event in told] == [
        "sla.verdict.revised",
        "sla.downtime.withdrawn",
        "sla.target.breach_withdrawn",
    ]
    assert told[0].attributes["sla.revision.cause"] == "configuration"


@pytest.mark.parametrize("n_silent", [3, 60])
def test_silence_that_the_former_version_told_of_is_down_until_then(
    n_silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `down`, its only service went silent, then the agreement was removed: the events add up to the report."""
    former = replace(make_agreement(downtime=make_terms(no_data=NoData.DOWN)), outcome_rules=FIRST_RULES)
    with monkeypatch.context() as patched:
        # 0.1.0 judged what was configured.
        patched.setattr("otel_sla.judging.judging_pass.find_stopped", lambda *_: {})
        history = History(tmp_path, former)
        history.judge()
        history.now += 1 + n_silent
        history.judge()
    history.restart(None)
    before = history.report(OCTOBER), history.report(NOVEMBER)
    history.judge()
    assert (history.report(OCTOBER), history.report(NOVEMBER)) == before
    history.now = history.sealed_before = EDGE + 100
    history.judge()
    history.assert_adds_up("removed")
    assert all(one["downtime_periods"] for one in before[0].values())
    history.stop()


def test_a_grouping_that_comes_back_with_this_version_is_told_what_its_silence_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.1.0 had left it for another one: under `down` the events add up to the report all the same."""
    today = make_agreement(downtime=make_terms(no_data=NoData.DOWN))
    former = replace(today, outcome_rules=FIRST_RULES)
    with monkeypatch.context() as patched:
        patched.setattr("otel_sla.judging.judging_pass.find_stopped", lambda *_: {})
        # It kept nowhere what it counted no more.
        patched.setattr("otel_sla.judging.judging_pass.JudgingPass._counting_changed", lambda _: None)
        history = History(tmp_path, former)
        history.now += 1
        history.judge()
        for terms in (former, replace(former, group_by=("host.name",))):
            patched.setattr(
                "otel_sla.judging.judging_pass.series_of",
                lambda agreement, some: tuple(one for one in some if is_grouped(one, agreement)),
            )
            history.restart(terms)
            for _ in range(10):
                history.count([(history.now, number, 9, 0, 0) for number in range(3)])
                history.now += 1
                history.judge()
    history.restart(today)
    history.judge()
    history.assert_adds_up("back")
    history.stop()
