"""Ledgers that former versions wrote: two months of an eventful service, with what that version reported of them.

`tests/data/ledgers/schema-N.db.gz` was written by the last version with schema N, `schema-N.json` is its report.
"""

import asyncio
import gzip
import json
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import naive
import pytest
from pipeline_parts import Clock, make_config, running

from otel_sla.config import Config
from otel_sla.errors import LedgerUnavailable
from otel_sla.ledger.ledger import Ledger
from otel_sla.ledger.notebook import LedgerNotebook
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.schema import SCHEMA_VERSION
from otel_sla.report.json import report_object
from otel_sla.reporting import elapsed_stop_minute, load_report
from otel_sla.sla.agreement import NoData
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


def unpack(schema: int, folder: Path) -> dict[str, Any]:
    """Lay the ledger where `config_of` has it; gives what the former version said of it."""
    (folder / "ledger.db").write_bytes(gzip.decompress((DATA / f"schema-{schema}.db.gz").read_bytes()))
    said: dict[str, Any] = json.loads((DATA / f"schema-{schema}.json").read_text())
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
        LedgerNotebook.open(f"sqlite:///{tmp_path}/ledger.db")
    Ledger.open(f"sqlite:///{tmp_path}/ledger.db").close()
    LedgerNotebook.open(f"sqlite:///{tmp_path}/ledger.db").close()
