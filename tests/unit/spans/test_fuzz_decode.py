"""The decoder against upb on generated and broken requests; `make fuzz` goes on where this stops."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.differential import check, generate, run

ROOT = Path(__file__).resolve().parents[3]
COUNT = 10_000


@pytest.mark.parametrize("seed", range(10))
def test_decoder_agrees_with_upb(seed: int) -> None:
    """On 100,000 requests, one in ten as written and the others broken, both accept the same and read the same."""
    outcomes = run(seed, COUNT)
    assert min(outcomes[True], outcomes[False]) > COUNT / 10, f"seed {seed} tries too little: {outcomes}"


def test_generator_repeats_itself() -> None:
    """A seed that failed shows the same requests again."""
    assert list(generate(7, 50)) == list(generate(7, 50))


def test_every_cut_of_a_request_is_judged_as_by_upb() -> None:
    """Whatever byte a request ends at, the decoder and upb agree."""
    for body in list(generate(11, 400))[::10]:
        for stop in range(len(body)):
            check(body[:stop])


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--guard",), ()], ids=["guard pages", "bounds checks"])
def test_no_read_outside_of_the_buffer(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """With memory that cannot be read on both sides, or with numba's bounds checks, nothing goes wrong."""
    script = ROOT / "campaigns" / "fuzz" / "fuzz_decode.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    command = [sys.executable, str(script), "--count", "4000", "--processes", "1", *arguments]
    result = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "4,000 requests" in result.stdout
