"""Whatever order the same spans come in, the figures are the same; `make orders` tries many orders.

A machine sends the spans of a random case in pieces: late or at once, cut and mixed in any way, some of them again,
with restarts and kills between, while time goes on and exclusions come and go. A span may come as late as the limits
allow, not later. In between, and at the end, the report is the twin's. At the end report, minutes and the story of the
events are those of a pipeline that got every span in order and on time.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


import agreements
import naive
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from order_parts import DAY, OneSpan, TwinCounts, counts_any, fold, message_of, messages_of, request_of, spans_of
from order_pipeline import Change, Driven
from report_twin import without_withdrawn

from otel_sla.sla.agreement import Agreement

SEEDS = st.integers(0, 9999)
SECOND = 10**9
RESOURCE = attrgetter("resource")


class Phase(NamedTuple):
    """What was sent up to a change of the configuration."""

    spans: tuple[OneSpan, ...]
    stop: int  # ns since the Unix epoch.
    configured: tuple[Agreement, ...] | None  # From then on; None: the case is over.


class OrderMachine(RuleBasedStateMachine):
    """Drives a pipeline, and keeps what it was sent."""

    first_case: ClassVar[int] = 0
    seen: ClassVar[Counter[str]] = Counter()  # What was tried, of all machines.

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.driven: Driven | None = None

    @initialize(number=st.integers(0, 999), days_after=st.sampled_from([2, 0, 1]))
    def begin(self, number: int, days_after: int) -> None:
        """A case, and the moment of its first span."""
        case = agreements.random_case(self.first_case + number)
        self.case = replace(case, now=case.now + days_after * DAY)
        self.spans, self.hopeless = spans_of(case)
        self.pending = list(self.spans)
        self.messages: list[bytes] = []
        self.twin = TwinCounts()
        self.configured = case.agreements
        self.versions = {each.name: [(each, set[int]())] for each in case.agreements}  # With what each one counted.
        self.removed: dict[str, Agreement] = {}
        self.retired: dict[naive.SeriesKey, int] = {}
        self.phases: list[Phase] = []
        self.sent_now: list[OneSpan] = []  # Since the last change of the configuration.
        self.changes: list[Change] = []
        self.recorded: list[tuple[str, Any]] = []
        self.withdrawn: set[int] = set()
        self.start = self.spans[0].end if self.spans else case.now
        self.driven = Driven(self.folder / "any-order", self.case, self.start)
        self.seen["cases"] += 1

    @rule(share=st.sampled_from([0.02, 0.2, 0.5, 1.0]), requests=st.integers(1, 4), seed=SEEDS)
    def deliver(self, share: float, requests: int, seed: int) -> None:
        """Some of the spans that are there by now, cut into messages and requests at random, sent at the same time."""
        rng = random.Random(seed)
        there = [one for one in self.pending if self.is_there(one)]
        self.send(rng.sample(there, round(share * len(there))), requests, rng)

    @rule(share=st.sampled_from([0.1, 1.0]), requests=st.integers(1, 3), seed=SEEDS)
    def repeat(self, share: float, requests: int, seed: int) -> None:
        """Messages that were sent before, in other requests than then and beside new ones; they count nothing."""
        rng = random.Random(seed)
        again = rng.sample(self.messages, round(share * len(self.messages)))
        there = [one for one in self.pending if self.is_there(one)]
        self.seen["messages sent again"] += len(again)
        self.send(rng.sample(there, len(there) // 10), requests, rng, again)

    @rule(step=st.sampled_from([1, 59, 60, 61, 119, 600, 7200, 90_000]))
    def advance(self, step: int) -> None:
        """Time goes on; spans that would be too late then are sent before."""
        self.go_to(self.driven.clock.now + step * SECOND)

    @rule(share=st.sampled_from([0.0, 0.1, 0.5, 0.9]))
    def advance_to_a_span(self, share: float) -> None:
        """Time goes on to a span that was not sent yet."""
        if self.pending:
            self.go_to(max(self.driven.clock.now, self.pending[int(share * len(self.pending))].end))

    @rule()
    def judge(self) -> None:
        """Minutes that have elapsed are judged, and those that grew since are judged again."""
        self.driven.judge()

    @rule()
    def restart(self) -> None:
        """An orderly end and a new start."""
        self.seen["restarts"] += 1
        self.driven.restart()

    @rule(closings=st.none() | st.integers(0, 3))
    def drop(self, closings: int | None) -> None:
        """A kill, in the middle of judging or not, and a new start."""
        self.seen["kills"] += 1
        self.driven.drop(closings)

    @rule(seed=SEEDS)
    def exclude(self, seed: int) -> None:
        """An exclusion is recorded, for minutes that were or that are to be."""
        rng = random.Random(seed)
        agreement = rng.choice(self.case.agreements)
        moment = self.driven.moment
        window = agreements._random_window(rng, agreement.group_by, moment)
        self.recorded.append((agreement.name, replace(window, recorded_at=moment)))
        self.change(self.recorded[-1])

    @rule(seed=SEEDS)
    def withdraw(self, seed: int) -> None:
        """An exclusion is withdrawn."""
        standing = [number for number in range(1, len(self.recorded) + 1) if number not in self.withdrawn]
        if standing:
            number = random.Random(seed).choice(standing)
            self.withdrawn.add(number)
            self.change((number, self.driven.moment))

    @rule(
        kind=st.sampled_from(["count", "judge", "remove", "regroup", "bring back", "rename"]),
        is_killed=st.booleans(),
        seed=SEEDS,
    )
    def reconfigure(self, kind: str, is_killed: bool, seed: int) -> None:  # noqa: FBT001 - drawn.
        """An agreement goes, comes back, is renamed, or counts or judges otherwise; what is there is counted before.

        It is judged otherwise only while none of its months is closed: the twin judges all of them by the same terms.
        """
        rng = random.Random(seed)
        self.send([one for one in self.pending if self.is_there(one)], 1, rng)
        self.driven.judge()
        terms = {agreement.name: agreement for agreement in self.configured}
        chosen = rng.choice(self.configured)
        if kind == "bring back" and self.removed:
            chosen = rng.choice(sorted(self.removed.values(), key=lambda agreement: agreement.name))
            terms[chosen.name] = chosen
        elif kind in ("remove", "rename") and len(terms) + (kind == "rename") > 1:
            del terms[chosen.name]
            if kind == "rename" and (name := f"{chosen.name}-renamed"[:40]) not in terms:
                terms[name] = replace(self.removed.get(name, chosen), name=name)
        elif kind == "regroup":
            keys = rng.choice([(), ("service.name",), ("service.name", "http.route")])
            terms[chosen.name] = replace(chosen, group_by=keys)
        elif kind == "count" or (kind == "judge" and not self.may_be_closed(chosen)):
            terms[chosen.name] = self.changed(chosen, kind, rng)
        if not terms:
            return
        self.seen[f"times {kind}"] += 1
        self.phases.append(Phase(tuple(self.sent_now), self.driven.clock.now, tuple(terms.values())))
        self.sent_now = []
        known = {agreement.name: agreement for agreement in (*self.removed.values(), *self.configured)}
        self.removed = {name: agreement for name, agreement in known.items() if name not in terms}
        self.configured = tuple(terms.values())
        for agreement in self.configured:
            known_versions = self.versions.setdefault(agreement.name, [])
            if not known_versions or known_versions[-1][0] != agreement:
                known_versions.append((agreement, set()))
        self.retire()
        self.driven.reconfigure(self.configured, is_killed=is_killed)

    def changed(self, agreement: Agreement, kind: str, rng: random.Random) -> Agreement:
        """The agreement with other terms to count by, or to judge by."""
        drawn = agreements.random_agreement(rng, agreement.name, self.driven.moment, with_exclusions=False)
        of_kind = {
            "count": ("covered_service", "failed", "failed_http_status", "failed_grpc_status", "no_status_code"),
            "judge": ("downtime", "target", "counting"),
        }
        some = rng.sample(of_kind[kind], rng.choice((1, 1, 2)))
        return replace(agreement, **{name: getattr(drawn, name) for name in some})

    def may_be_closed(self, agreement: Agreement) -> bool:
        """Whether the first month of the case may be sealed by now."""
        first = f"{naive.EPOCH + timedelta(microseconds=self.start // 1000) - timedelta(days=1):%Y-%m}"
        stop = naive.month_minutes(first, agreement.time_zone).stop * naive.NANOS_PER_MINUTE
        return self.driven.clock.now >= stop

    def retire(self) -> None:
        """Nobody judges the silence of what is not counted for, from what has elapsed or was counted on."""
        keys_of = {agreement.name: agreement.group_by for agreement in self.configured}
        elapsed = naive.elapsed_stop(self.driven.clock.now, self.case.grace)
        for (name, group), counts in self.twin.counted.series.items():
            if tuple(key for key, _ in group) == keys_of.get(name):
                self.retired.pop((name, group), None)
            else:
                self.retired.setdefault((name, group), max(elapsed, max(counts) + 1))

    @rule()
    def export(self) -> None:
        """The running month's report is the twin's of what was sent so far."""
        self.assert_twins(self.case_month())

    def is_there(self, one: OneSpan) -> bool:
        """Whether a span can be sent by now."""
        return one.end <= self.driven.clock.now + naive.nanos(self.case.future_spans_max)

    def case_month(self) -> str:
        """The month that it is."""
        return f"{self.driven.moment:%Y-%m}"

    def go_to(self, now: int) -> None:
        """Let time go on, not past the end of the case."""
        now = min(now, self.case.now)
        late = naive.nanos(self.case.late_spans_max)
        due = [one for one in self.pending if now >= (one.minute + 1) * naive.NANOS_PER_MINUTE + late]
        for hour in sorted({one.minute // 60 for one in due}):
            some = [one for one in due if one.minute // 60 == hour]
            self.driven.clock.now = max(self.driven.clock.now, some[-1].end)
            self.send(some, 1, random.Random(hour))
        self.driven.clock.now = max(self.driven.clock.now, now)

    def send(self, spans: list[OneSpan], requests: int, rng: random.Random, again: Sequence[bytes] = ()) -> None:
        """Send spans for the first time, and messages again; nothing new that is in time is rejected."""
        pieces: list[list[OneSpan]] = [[] for _ in range(rng.randint(1, 5))]
        for one in spans:
            rng.choice(pieces).append(one)
        same = [list(group) for piece in pieces for _, group in groupby(sorted(piece, key=RESOURCE), key=RESOURCE)]
        fresh = [message_of(group) for group in same]
        lost = rng.sample(self.hopeless, min(len(self.hopeless), rng.choice((0, 0, 1, 3))))
        everything = [*fresh, *messages_of(lost), *again]
        rng.shuffle(everything)
        bodies: list[list[bytes]] = [[] for _ in range(requests)]
        for message in everything:
            rng.choice(bodies).append(message)
        rejected = self.driven.send([request_of(body) for body in bodies])
        if not again:
            assert sum(rejected) <= len(lost), "only what is never in time is rejected"
        self.seen["spans"] += len(spans)
        self.twin.add(spans, self.configured)
        self.note_versions(spans)
        self.sent_now += spans
        # What counted nothing leaves no fingerprint: its repeat may count by other terms, once.
        self.messages += [message for message, of in zip(fresh, same, strict=True) if counts_any(of, self.configured)]
        sent = set(spans)
        self.pending = [one for one in self.pending if one not in sent]

    def note_versions(self, spans: list[OneSpan]) -> None:
        """What was just counted was counted by the terms that are configured."""
        alone = TwinCounts()
        alone.add(spans, self.configured)
        for (name, _), counts in alone.counted.series.items():
            self.versions[name][-1][1].update(counts)

    def change(self, change: Change) -> None:
        """Record or withdraw."""
        self.seen["exclusions recorded or withdrawn"] += 1
        self.changes.append(change)
        self.driven.change(change)

    def assert_twins(self, month: str) -> None:
        """The report says of what was sent so far what the twin says."""
        recorded: dict[str, tuple[Any, ...]] = {}
        for number, (name, window) in enumerate(self.recorded, start=1):
            if number not in self.withdrawn:
                recorded[name] = (*recorded.get(name, ()), window)
        expected = naive.report(
            month,
            self.configured,
            self.twin.counted.whole,
            now=self.driven.clock.now,
            grace=self.case.grace,
            recorded=recorded,
            removed=sorted(self.removed.values(), key=lambda agreement: agreement.name),
            retired=self.retired,
        )
        report = without_withdrawn(json.loads(self.driven.report(month)))
        zones = {agreement.name: agreement.time_zone for agreement in (*self.configured, *self.removed.values())}
        for told, section in zip(expected["agreements"], report["agreements"], strict=True):
            minutes = naive.month_minutes(month, zones[told["name"]])
            told["counted_by"] = naive.counted_by(self.versions[told["name"]], minutes)
            self.seen["months of several versions"] += len(told["counted_by"]) > 1
            if section["closed_by_version"] is not None:  # Former to the terms that closed it, not to today's.
                for series in told["series"]:
                    del series["former"]
        found = naive.differences(expected, report, f"seed {self.case.seed}, {month}")
        assert not found, "\n".join(found[:20])

    def in_order(self) -> Driven:
        """A pipeline that got the spans hour by hour as they ended, and after them the exclusions.

        What was sent before a change of the configuration is sent before it here, too.
        """
        driven = Driven(self.folder / "in-order", self.case, self.start)
        for phase in (*self.phases, Phase(tuple(self.sent_now), self.case.now, None)):
            for _, hour in groupby(sorted(phase.spans), key=lambda one: one.minute // 60):
                spans = list(hour)
                driven.clock.now = max(driven.clock.now, min(spans[-1].end, phase.stop))
                driven.send([request_of(messages_of(spans))])
            driven.clock.now = phase.stop
            if phase.configured is not None:
                driven.judge()
                driven.reconfigure(phase.configured, is_killed=False)
        driven.clock.now = self.case.now
        for change in self.changes:
            driven.change(change)
        driven.judge()
        return driven

    def finish(self) -> None:
        """What is left is sent; then all is as if it had come in order."""
        while self.pending:
            self.advance_to_a_span(0.0)
            self.deliver(1.0, 2, len(self.pending))
        self.go_to(self.case.now)
        self.driven.judge()
        in_order = self.in_order()
        try:
            for month in self.case.months:
                assert self.driven.report(month) == in_order.report(month), f"seed {self.case.seed}, {month}"
                self.assert_twins(month)
            month = self.case_month()
            assert self.driven.minutes(month) == in_order.minutes(month), f"seed {self.case.seed}, minutes of {month}"
            told = fold(self.driven.events())
            assert told == fold(in_order.events()), f"seed {self.case.seed}, events"
            self.seen.update(f"times {each['name']}" for each in told.values())
        finally:
            in_order.close()

    def teardown(self) -> None:
        """The end, unless something was wrong before."""
        try:
            if self.driven is not None and sys.exc_info()[0] is None:
                self.finish()
        finally:
            if self.driven is not None:
                self.driven.close()
            shutil.rmtree(self.folder)


def main() -> int:
    """Tries many orders; stops at the first that matters."""
    parser = argparse.ArgumentParser(description="Sends the spans of random cases in any order, with kills between.")
    parser.add_argument("--examples", type=int, default=500, help="how many")
    parser.add_argument("--steps", type=int, default=40, help="of each example, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; cases are drawn from 1,000")
    arguments = parser.parse_args()
    OrderMachine.first_case = arguments.seed
    run_state_machine_as_test(
        OrderMachine,
        settings=settings(
            max_examples=arguments.examples,
            stateful_step_count=arguments.steps,
            deadline=None,
            derandomize=True,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    figures = ", ".join(f"{count:,} {name}" for name, count in sorted(OrderMachine.seen.items()))
    sys.stdout.write(f"{figures}\nreport, minutes and story are those of the spans in order\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
