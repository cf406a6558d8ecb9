"""The report as JSON: the schema's keys and formats, and the slow twin's figures."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import naive
import pytest
from agreements import random_agreement
from report_parts import GENERATED_AT, eventful_month, make_report
from sla_parts import make_agreement

from otel_sla.report.document import Report
from otel_sla.report.json import render_json, report_object
from otel_sla.report.terms import each_term
from otel_sla.sla.months import Month, month_range

SCHEMA_FILE = Path(__file__).resolve().parents[3] / "docs" / "report.schema.json"


def validate(report: Any) -> None:  # noqa: ANN401  what json.loads gives
    """Hold a report against the published schema, formats too."""
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(report)


def closed(schema: Any) -> Any:  # noqa: ANN401  any JSON
    """The schema without room for keys that it does not name."""
    if isinstance(schema, list):
        return [closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    tight = {key: closed(value) for key, value in schema.items()}
    # An object that names no key, as a group, or that stands in a condition, is open by intent.
    if tight.get("type") == "object" and "properties" in tight:
        tight["additionalProperties"] = False
    for name in ("minutes", "requests"):
        if name in tight and isinstance(tight[name], dict) and "required" in tight[name]:
            tight[name]["propertyNames"] = {"enum": tight[name]["required"]}
    return tight


def twins_keys(ours: Any, theirs: Any) -> Any:  # noqa: ANN401  any JSON
    """Ours with the keys only that the twin has: the schema allows more."""
    if isinstance(theirs, dict) and isinstance(ours, dict) and set(theirs) <= set(ours):
        return {key: twins_keys(ours[key], theirs[key]) for key in theirs}
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [twins_keys(one, two) for one, two in zip(ours, theirs, strict=True)]
    return ours


def random_counts(rng: random.Random, start: int, stop: int) -> dict[int, list[int]]:
    """Minutes in stretches of good, bad, few and no requests."""
    counts: dict[int, list[int]] = {}
    minute = start
    while minute < stop:
        kind = rng.choice(("up", "down", "edge", "silent", "few"))
        for _ in range(rng.choice((1, 1, 2, 3, 5, 30))):
            if kind != "silent":
                rows = {"up": (20, 0, 1), "down": (3, 17, 0), "edge": (19, 1, 0), "few": (0, rng.randrange(2), 2)}
                counts[minute] = list(rows[kind])
            minute += 1
    return {minute: row for minute, row in counts.items() if minute < stop}


@pytest.mark.parametrize("seed", range(40))
def test_the_report_is_the_slow_twins(seed: int) -> None:
    """For random agreements, traffic, windows and zones, around edges of months, all figures are the twin's."""
    rng = random.Random(seed)
    present = rng.choice(
        (
            datetime(2026, 11, 1, 6, 0, tzinfo=UTC),
            datetime(2026, 10, 31, 20, 0, tzinfo=UTC),
            datetime(2027, 4, 4, 1, 0, tzinfo=UTC),
        )
    )
    agreement = random_agreement(rng, "chat", present)
    now = naive.unix_nano(present) // naive.NANOS_PER_MINUTE
    groups = [tuple((key, rng.choice((b"a", b"b", b"\xff"))) for key in agreement.group_by) for _ in range(2)]
    counted = {
        ("chat", group): random_counts(rng, now - rng.choice((30, 600, 3000)), now + rng.choice((0, 5)))
        for group in groups
    }
    elapsed = now + rng.choice((-1, 0, 300))
    for month in (present.replace(day=1) - timedelta(days=1), present, present.replace(day=1) + timedelta(days=40)):
        text = f"{month:%Y-%m}"
        theirs = naive.report(
            text, [agreement], counted, now=elapsed * naive.NANOS_PER_MINUTE, grace=timedelta(minutes=0)
        )
        moment = naive.EPOCH + timedelta(minutes=elapsed)
        report = make_report([agreement], counted, Month.parse(text), elapsed, moment)
        ours = report_object(report)
        assert twins_keys(ours, theirs) == theirs
        validate(json.loads(render_json(report)))


def test_an_eventful_month() -> None:
    """A month's report has the promised keys in their order, the agreement's terms, and its series by group."""
    report = json.loads(render_json(eventful_month()))
    validate(report)
    assert list(report) == ["schema", "month", "generated_at", "agreements"]
    assert (report["schema"], report["month"]) == ("otel-sla.report/v1", "2026-11")
    assert report["generated_at"] == "2026-12-02T08:00:00Z"
    (agreement,) = report["agreements"]
    series = agreement.pop("series")
    assert agreement.pop("exclusions") == []
    terms = [(term["clauses"], term["heading"], term["text"]) for term in agreement.pop("terms")]
    assert terms == list(each_term(make_agreement()))
    assert agreement == {
        "name": "chat",
        "time_zone": "UTC",
        "target": "0.999",
        "error_rate_above": "0.05",
        "counting": "requests",
        "start": "2026-11-01T00:00:00Z",
        "stop": "2026-12-01T00:00:00Z",
        "version": None,
        "closed_by_version": None,
        "as_closed": False,
        "later_exclusions": False,
        "configured": True,
        "breached": True,
        "counted_by": [],
    }
    assert [entry["group"] for entry in series] == [{"service.name": "chat-1"}, {"service.name": "chat-2"}]


def test_the_figures_of_an_eventful_month() -> None:
    """A month with an outage half excluded has its figures raw and adjusted, and the period whole."""
    broken = report_object(eventful_month())["agreements"][0]["series"][0]
    assert broken["minutes"] == {
        "total": 43200,
        "elapsed": 43200,
        "up": 21570,
        "down": 50,
        "excluded": 10,
        "low_traffic": 0,
        "no_data": 21570,
    }
    assert broken["monthly_uptime"] == "0.99884259"
    assert broken["monthly_uptime_raw"] == "0.99861111"
    assert broken["breached"] is True
    assert broken["downtime_minutes_raw"] == 60
    assert broken["downtime_periods"] == [
        {
            "start": "2026-11-06T19:50:00Z",
            "stop": "2026-11-06T20:50:00Z",
            "minutes": 60,
            "minutes_in_month": 60,
            "excluded_minutes": 10,
            "valid": 600,
            "failed": 540,
        }
    ]


def test_clause_14_the_fate_of_each_window() -> None:
    """Windows accepted, refused, and too short to cover a minute are all there, each with what it saved."""
    broken, other = report_object(eventful_month())["agreements"][0]["series"]
    assert broken["exclusions"] == [
        {
            "reason": "scheduled_maintenance",
            "start": "2026-11-06T20:00:00Z",
            "stop": "2026-11-06T20:10:00Z",
            "accepted": False,
            "minutes_saved": 0,
            "refusal": "notice_too_short",
            "announced_at": "2026-11-05T09:00:00Z",
            "note": "told too late",
        },
        {
            "reason": "scheduled_maintenance",
            "start": "2026-11-06T20:00:00Z",
            "stop": "2026-11-06T20:10:00Z",
            "accepted": True,
            "minutes_saved": 10,
            "announced_at": "2026-11-02T09:00:00Z",
            "note": "database upgrade",
        },
        {
            "reason": "force_majeure",
            "start": "2026-11-20T00:00:00Z",
            "stop": "2026-11-20T00:00:30Z",
            "accepted": True,
            "minutes_saved": 0,
            "note": "",
            "recorded_by": "ops@example.com",
            "recorded_at": "2026-11-21T12:00:00Z",
        },
    ]
    assert len(other["exclusions"]) == 2, "the window of one group is not the other's"


def test_clause_10_a_month_to_come_has_no_figures_yet() -> None:
    """A month of which nothing has elapsed names no series whose silence is not judged."""
    agreement = make_agreement()
    start = month_range(Month(2026, 11), "UTC").start_minute
    counted = {("chat", (("service.name", b"a"),)): {start + 5: (1, 0, 0)}}
    report = json.loads(render_json(make_report([agreement], counted, Month(2026, 11), start)))
    validate(report)
    assert report["agreements"][0]["series"] == []


def test_every_key_that_is_written_is_in_the_schema() -> None:
    """Nothing is written that the published schema does not name, whatever became of windows and minutes."""
    schema = closed(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(json.loads(render_json(eventful_month())))
    stray = json.loads(render_json(eventful_month()))
    stray["agreements"][0]["series"][0]["downtime_periods"][0]["stray"] = 1
    assert not validator.is_valid(stray)


def test_the_same_month_gives_the_same_bytes() -> None:
    """Written twice, a report is the same bytes, whatever order the series were counted in."""
    texts = {render_json(eventful_month()) for _ in range(2)}
    assert len(texts) == 1
    assert texts.pop().endswith("}\n")


def test_agreements_keep_the_order_of_the_configuration() -> None:
    """Agreements are not sorted, and one that has no series is there too."""
    report = eventful_month()
    doubled = Report(report.month, GENERATED_AT, (*report.agreements, *report.agreements))
    assert len(report_object(doubled)["agreements"]) == 2
    empty = Report(report.month, GENERATED_AT, ())
    validate(json.loads(render_json(empty)))


def test_no_name_steers_a_terminal() -> None:
    """Control characters of a name, those from U+0080 to U+009F too, are escaped; what is read is the same."""
    name = "a\x1b[2J\x7f\x9b2J\x85\u00e9"
    agreement = replace(make_agreement(), name=name)
    text = render_json(make_report([agreement], {}, Month(2026, 11), month_range(Month(2026, 11), "UTC").start_minute))
    assert not set(text) & {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160))}
    assert "\\u009b2J" in text
    assert json.loads(text)["agreements"][0]["name"] == name
