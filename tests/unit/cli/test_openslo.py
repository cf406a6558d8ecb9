"""OpenSLO documents that become agreements, and those that cannot."""

from fractions import Fraction

import pytest

from otel_sla.cli.openslo import read_openslo
from otel_sla.errors import ConfigError

SLO = """
apiVersion: openslo/v1
kind: SLO
metadata:
  name: web-availability
  displayName: What the contract says
  labels: {team: web}
spec:
  description: The provider's promise.
  service: web
  indicator:
    metadata: {name: web-good}
    spec: {ratioMetric: {counter: true, good: {metricSource: {type: Prometheus}}, total: {metricSource: {}}}}
  timeWindow:
    - duration: 1M
      isRolling: false
      calendar: {startTime: 2022-01-01 00:00:00, timeZone: America/New_York}
  budgetingMethod: Timeslices
  objectives:
    - displayName: SLA
      target: 0.999
      timeSliceTarget: 0.95
      timeSliceWindow: 1m
  alertPolicies: [{alertPolicyRef: page}]
"""


def problems_of(text: str) -> list[str]:
    """What is wrong, one line each."""
    with pytest.raises(ConfigError) as refused:
        read_openslo(text, "slo.yaml")
    return [str(problem) for problem in refused.value.problems]


def test_an_slo_of_the_contract_becomes_its_agreement() -> None:
    """Slices of a minute in a calendar month: limit, target, zone and service are taken exactly."""
    (reading,) = read_openslo(SLO, "slo.yaml")
    (agreement,) = reading.agreements
    assert agreement.name == "web-availability"
    assert agreement.services == ("web",)
    assert agreement.error_rate_above == Fraction(1, 20)
    assert agreement.target == Fraction(999, 1000)
    assert agreement.time_zone == "America/New_York"
    assert agreement.remarks == ("What the contract says", "SLA")


def test_every_field_is_listed() -> None:
    """Each field is either taken, with what it became, or not taken, with the reason."""
    (reading,) = read_openslo(SLO + "  owner: me\n", "slo.yaml")
    assert reading.source == "document 1 (SLO web-availability)"
    assert reading.taken == {
        "metadata.name": "the agreement's name",
        "metadata.displayName": "a comment",
        "spec.budgetingMethod": "minutes are judged, not requests",
        "spec.service": "covered_service: service.name is web",
        "spec.timeWindow[0].isRolling": "calendar months",
        "spec.timeWindow[0].duration": "calendar months",
        "spec.timeWindow[0].calendar.startTime": "months begin at local midnight of their first day, in every year",
        "spec.timeWindow[0].calendar.timeZone": "monthly_uptime.time_zone: America/New_York",
        "spec.objectives[0].timeSliceWindow": "minutes are judged",
        "spec.objectives[0].timeSliceTarget": "downtime.error_rate_above: 5%",
        "spec.objectives[0].target": "monthly_uptime.target: 99.9%",
        "spec.objectives[0].displayName": "a comment",
    }
    assert list(reading.not_taken) == [
        "metadata.labels",
        "spec.description",
        "spec.indicator",
        "spec.alertPolicies",
        "spec.owner",
    ]


@pytest.mark.parametrize(
    ("beside", "field"),
    [
        ("apiVersion: openslo/v1", "owner"),
        ("  name: web-availability", "metadata.uid"),
        ("    - duration: 1M", "spec.timeWindow[0].start"),
        ("      calendar: {", "spec.timeWindow[0].calendar.week"),
        ("    - displayName: SLA", "spec.objectives[0].indicatorRef"),
        ("    - displayName: SLA", "spec.objectives[0].compositeWeight"),
        ("    - displayName: SLA", "spec.objectives[0].timeSlicetarget"),
    ],
)
def test_no_field_is_dropped_in_silence(beside: str, field: str) -> None:
    """At every depth a field that has no place in an agreement, or is misspelt, is listed as not taken."""
    key = field.rpartition(".")[2]
    depth = len(beside) - len(beside.lstrip(" -"))
    more = f"{beside}{key}: 1, " if beside.endswith("{") else f"{beside}\n{' ' * depth}{key}: 1"
    (reading,) = read_openslo(SLO.replace(beside, more, 1), "slo.yaml")
    assert field in reading.not_taken


def test_two_targets_have_to_agree() -> None:
    """A ratio and a percentage of the same size are one target; of different size they are a problem."""
    both = SLO.replace("target: 0.999", "target: 0.999\n      targetPercent: 99.9")
    (reading,) = read_openslo(both, "slo.yaml")
    assert reading.not_taken["spec.objectives[0].target"] == "targetPercent says the same"
    (problem,) = problems_of(both.replace("99.9", "99.5"))
    assert "spec.objectives[0].target: and targetPercent contradict" in problem


def test_several_objectives_are_several_agreements() -> None:
    """Each objective is an agreement of its own, named after it; a percentage is a target too."""
    text = SLO.replace(
        "  alertPolicies",
        "    - {targetPercent: 99.5, timeSliceTarget: 0.9, timeSliceWindow: 1, op: gt, value: 3}\n  alertPolicies",
    )
    (reading,) = read_openslo(text, "slo.yaml")
    assert [(agreement.name, agreement.target) for agreement in reading.agreements] == [
        ("web-availability-SLA", Fraction(999, 1000)),
        ("web-availability-2", Fraction(995, 1000)),
    ]
    assert {"spec.objectives[1].op", "spec.objectives[1].value"} <= set(reading.not_taken)


def test_other_kinds_are_listed_as_not_taken() -> None:
    """A file of several documents: the SLO is taken, a service and an alert are named as not taken."""
    readings = read_openslo(f"apiVersion: openslo/v1\nkind: Service\nmetadata: {{name: web}}\n---{SLO}", "slo.yaml")
    assert [len(reading.agreements) for reading in readings] == [0, 1]
    assert list(readings[0].not_taken) == ["kind"]


@pytest.mark.parametrize(
    ("written", "instead", "problem"),
    [
        ("budgetingMethod: Timeslices", "budgetingMethod: Occurrences", "spec.budgetingMethod: is Occurrences"),
        ("  budgetingMethod: Timeslices\n", "", "spec.budgetingMethod: is missing"),
        ("isRolling: false", "isRolling: true", "spec.timeWindow[0]: a rolling window has no month"),
        ("duration: 1M", "duration: 1Q", "spec.timeWindow[0].duration: is 1Q"),
        ("America/New_York", "America/NewYork", "spec.timeWindow[0].calendar.timeZone"),
        ("timeSliceWindow: 1m", "timeSliceWindow: 5m", "spec.objectives[0].timeSliceWindow: is 5m"),
        ("timeSliceTarget: 0.95", "timeSliceTarget: most", "spec.objectives[0].timeSliceTarget: must be"),
        ("      timeSliceTarget: 0.95\n", "", "spec.objectives[0].timeSliceTarget: is missing"),
        ("target: 0.999", "target: 0", "spec.objectives[0].target: must be above 0"),
        ("target: 0.999", "goal: 0.999", "spec.objectives[0].target: is missing"),
        ("name: web-availability", "title: x", "metadata.name: is missing"),
        ("apiVersion: openslo/v1", "apiVersion: openslo/v1alpha", "apiVersion: must be openslo/v1"),
    ],
)
def test_what_is_no_agreement_is_refused_with_its_place(written: str, instead: str, problem: str) -> None:
    """Rolling windows, other slices, missing fields: each is named with its path and what would do."""
    assert written in SLO
    assert any(problem in each for each in problems_of(SLO.replace(written, instead, 1)))


def test_a_start_in_the_middle_of_a_month_is_not_taken() -> None:
    """Months of an agreement begin at local midnight of their first day: another start is listed."""
    (reading,) = read_openslo(SLO.replace("2022-01-01 00:00:00", "2022-01-15 12:00:00"), "slo.yaml")
    assert "spec.timeWindow[0].calendar.startTime" in reading.not_taken


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no document of kind SLO"),
        ("apiVersion: openslo/v1\nkind: SLI\n", "holds no document of kind SLO"),
        ("- a list", "must be a mapping"),
        ("a: [", "is not valid YAML"),
        (f"{SLO}---{SLO}", "would both be the agreement 'web-availability'"),
    ],
)
def test_files_without_one_clear_slo_are_refused(text: str, problem: str) -> None:
    """Nothing, something else, no YAML, the same name twice: one line that says so."""
    (found,) = problems_of(text)
    assert problem in found
