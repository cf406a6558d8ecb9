"""How kernels are compiled, each case in a process of its own: numba reads its environment when imported."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest
from builders import make_request_of, make_span

from otel_sla.jit import CACHE_DIRECTORY
from otel_sla.spans import scan
from otel_sla.spans.columns import WatchList
from otel_sla.spans.request import decode_request

PACKAGE = Path(scan.__file__).resolve().parents[1]

PROBE = """
import numpy as np
from otel_sla.jit import kernel

@kernel
def probe_kernel(array, index):
    return array[index]

try:
    probe_kernel(np.zeros(2, dtype=np.uint8), 7)
except IndexError:
    print("checked")
else:
    print("unchecked")
"""

BYTE_PROBE = """
import numpy as np
from otel_sla.jit import buffer_of, byte_at, inner_kernel, kernel

@inner_kernel
def inner(buffer, position):
    return byte_at(buffer, position)

@kernel
def probe_kernel(buffer, position):
    return inner(buffer, position)

array = np.arange(3, dtype=np.uint8)
print(probe_kernel(buffer_of(array[:2]), 1))
try:
    probe_kernel(buffer_of(array[:2]), 2)
except IndexError:
    print("checked")
"""

# Importing declares every kernel; a small one is compiled, as to compile them all takes a quarter of a minute.
START = """
import numpy as np
import otel_sla.counting.counter
from otel_sla import jit

@jit.kernel
def probe_kernel(array):
    return array[0]

state = "warm" if jit.is_cache_warm() else "cold"
probe_kernel(np.zeros(2, dtype=np.uint8))
print(state, len(probe_kernel.stats.cache_hits), jit.CACHE_DIRECTORY is not None)
"""


def run_python(code: str, folder: Path, **environment: str) -> list[str]:
    """Run code in an own process with nothing of numba's or the user's in its environment; gives its lines."""
    script = folder / "script.py"
    if not script.exists() or script.read_text() != code:  # A newer file's kernels would be compiled anew.
        script.write_text(code)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NUMBA_", "XDG_")) and name not in {"HOME", "PYTHONPATH"}
    }
    kept["PYTHONPATH"] = str(PACKAGE.parent)
    result = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env=kept | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_bounds_checks_check(tmp_path: Path) -> None:
    """With NUMBA_BOUNDSCHECK=1 a read outside raises, though the same cache holds the binary without checks."""
    cache = str(tmp_path / "cache")
    assert run_python(PROBE, tmp_path, NUMBA_CACHE_DIR=cache) == ["unchecked"]
    assert run_python(PROBE, tmp_path, NUMBA_CACHE_DIR=cache, NUMBA_BOUNDSCHECK="1") == ["checked"]
    assert run_python(PROBE, tmp_path, NUMBA_CACHE_DIR=cache) == ["unchecked"]


def test_second_start_is_warm(tmp_path: Path) -> None:
    """The first start compiles and says so, the second finds what the first has compiled."""
    cache = str(tmp_path / "cache")
    assert run_python(START, tmp_path, NUMBA_CACHE_DIR=cache) == ["cold 0 True"]
    assert run_python(START, tmp_path, NUMBA_CACHE_DIR=cache) == ["warm 1 True"]


@pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="nothing is compiled")
def test_the_decoder_is_kept() -> None:
    """The folder of this version gets the kernel that costs most to compile."""
    decode_request(make_request_of(make_span()), WatchList((b"a",), ()))
    served: Any = scan.scan_kernel
    folder = Path(served.stats.cache_path)
    assert CACHE_DIRECTORY in folder.parents
    assert list(folder.glob("*.scan_kernel-*.nbc"))


@pytest.mark.parametrize("mode", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"])
def test_bytes_are_read_within_bounds(mode: str, tmp_path: Path) -> None:
    """Where bounds are checked, the byte behind a buffer cannot be read, not even from an inner kernel."""
    cache = str(tmp_path / "cache")
    assert run_python(BYTE_PROBE, tmp_path, NUMBA_CACHE_DIR=cache, **{mode: "1"}) == ["1", "checked"]


@pytest.mark.slow
@pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="this is that run")
def test_decoder_is_the_same_without_the_compiler() -> None:
    """Uncompiled, as coverage sees them, the kernels pass the decoder's tests, and no number overflows on the way."""
    spans = Path(__file__).parent / "spans"
    tests = [str(spans / name) for name in ("test_request.py", "test_wire_rules.py")]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *tests],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d+ passed", result.stdout)


def test_other_code_of_the_process_keeps_its_own_cache() -> None:
    """After all kernels were declared, numba caches what an application compiles where it would without us."""
    assert os.environ.get("NUMBA_CACHE_DIR", "") == numba.config.CACHE_DIR


def test_each_version_of_the_kernels_has_its_own_cache(tmp_path: Path) -> None:
    """A change in a file that kernels of other files call from is not answered by a binary compiled before it."""
    copy = tmp_path / "installed"
    shutil.copytree(PACKAGE, copy / "otel_sla", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {"PYTHONPATH": str(copy), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    ask = "from otel_sla import jit\nprint(jit.CACHE_DIRECTORY)"
    before = run_python(ask, tmp_path, **environment)
    assert run_python(ask, tmp_path, **environment) == before
    with (copy / "otel_sla" / "spans" / "skipping.py").open("a") as file:
        file.write("\n_MORE = 1\n")
    assert run_python(ask, tmp_path, **environment) != before


def test_nothing_to_write_to_is_no_error(tmp_path: Path) -> None:
    """Without HOME and with a package that cannot be written to, kernels are compiled at each start."""
    copy = tmp_path / "installed"
    shutil.copytree(PACKAGE, copy / "otel_sla", ignore=shutil.ignore_patterns("__pycache__"))
    # A file where the folder of compiled kernels would be stops root too, whom no mode stops.
    for folder in [path for path in (copy / "otel_sla").rglob("*") if path.is_dir()]:
        (folder / "__pycache__").write_text("")
        folder.chmod(0o555)
    environment = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    assert run_python(START, tmp_path, **environment) == ["cold 0 False"]
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    assert run_python(START, tmp_path, HOME=str(blocked), **environment) == ["cold 0 False"]


@pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="nothing is compiled")
@pytest.mark.skipif("NUMBA_BOUNDSCHECK" in os.environ, reason="with bounds checks bytes are read from arrays")
def test_scan_counts_no_references_per_span() -> None:
    """No array is handed to an inner function: its references would be counted for each span, at ten times the cost."""
    decode_request(make_request_of(make_span()), WatchList((b"a",), ()))
    served: Any = scan.scan_kernel
    # `inspect_llvm` has no text of a binary from the cache; what other kernels would be linked with is kept beside it.
    (compiled,) = served.overloads.values()
    code = str(compiled.library._get_module_for_linking())
    assert "@NRT_incref" in code, "references are counted by another name now"
    functions = re.split(r"\n(?=define )", code)
    inner = [text for text in functions if re.match(r"define .*@_ZN.*\d_?(?:read|skip|find)_", text)]
    assert inner, "the inner functions are not where this test looks"
    counting = [text.splitlines()[0] for text in inner if "@NRT_incref" in text]
    assert not counting, counting
