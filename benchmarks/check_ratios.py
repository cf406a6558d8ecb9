"""Fails when a stage has become slow, by ratios within one run: `make ratios`, ten seconds.

Two measurements of the same run on the same machine share its speed and its neighbours; a bound has ample slack beside
the ratio that is usual, so that only a real loss fails. What is usual stands behind each bound.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench_stages import configurations, measure
from builders import realistic_request
from stages import measure_commit, measure_stages
from traffic import Shape

_ATTEMPTS = 3  # A neighbour may take the machine away in the middle of a ratio.


@dataclass(frozen=True, slots=True)
class Bound:
    """One ratio that must not be exceeded.

    Attributes:
        name: What is compared.
        most: The bound.
        usual: What it is on the developers' machine.
        measure: Gives the ratio.
    """

    name: str
    most: float
    usual: float
    measure: Callable[[], float]


def stage_ns(name: str) -> Callable[[], float]:
    """The cost of a stage, as a part of what protobuf and a Python loop take."""

    def ratio() -> float:
        found = {stage.name: stage.ns for stage in measure_stages(Shape(spans=512), rounds=5)}
        return found[name] / found["protobuf and a Python loop"]

    return ratio


def commit_ratio() -> float:
    """The durable commit of eight requests, as a part of the loop over their spans."""
    shape = Shape(spans=512)
    loop = next(stage for stage in measure_stages(shape, rounds=3) if stage.name == "protobuf and a Python loop")
    return measure_commit(shape, rounds=3).ns / loop.ns


def agreements_ratio() -> float:
    """Twenty agreements over one."""
    bodies = [realistic_request(512, seed) for seed in range(10)]
    by_name = configurations()
    one, twenty = (
        measure(by_name[name], bodies, 512, 10)["whole way"]
        for name in ("1 agreement", "20 agreements, one of 3 services each")
    )
    return one / twenty


BOUNDS = (
    Bound("decode, classify and ring / a Python loop", 1 / 10, 1 / 23, stage_ns("decode, classify and ring")),
    Bound("decode / a Python loop", 1 / 20, 1 / 45, stage_ns("decode")),
    Bound("fingerprint / a Python loop", 1 / 60, 1 / 170, stage_ns("fingerprint")),
    Bound("durable commit / a Python loop", 1 / 10, 1 / 50, commit_ratio),
    Bound("20 agreements / 1", 3.0, 1.5, agreements_ratio),
)


def main() -> int:
    """Measure all; gives the exit code."""
    exceeded = 0
    for bound in BOUNDS:
        found = min(_until_good(bound))
        is_good = found <= bound.most
        exceeded += not is_good
        print(
            f"{bound.name:45} {found:7.4f}, at most {bound.most:.4f}, usually {bound.usual:.4f}"
            f"{'' if is_good else '   EXCEEDED'}",
            flush=True,
        )
    return 1 if exceeded else 0


def _until_good(bound: Bound) -> list[float]:
    found: list[float] = []
    while len(found) < _ATTEMPTS and (not found or found[-1] > bound.most):
        found.append(bound.measure())
    return found


if __name__ == "__main__":
    sys.exit(main())
