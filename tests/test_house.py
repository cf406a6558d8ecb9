"""The house rules that no linter knows."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE_FOLDERS = ("otel_sla", "tests", "campaigns", "benchmarks")
TEXT_FOLDERS = (*CODE_FOLDERS, "docs", "collector-config", ".ci")
TEXT_FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")

FUNCTION_LINES_MAX = 69
MODULE_LINES_MAX = 500
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "manager", "managers", "misc", "base"}

# Each with its reason. The brackets keep the patterns from matching themselves.
BANNED_TEXT = {
    r"\b[T]ODO\b|\b[F]IXME\b|\b[X]XX\b": "what is left to do is no part of the code",
    r"(?<![\w.$}])/(?:[w]ork|[r]oot|[h]ome/\w+)/": "a path of one machine",
    r"\b[S]pine\b|\b[i]ssue #?\d": "how the work was divided is no part of the code",
}
BANNED_CODE = {
    r"\btime\.[s]leep\(": "a thread that sleeps cannot be stopped; wait for what is awaited",
    r"\bunittest\.[m]ock\b|\b[f]reezegun\b|\b[M]agicMock\b": "fakes with the real protocol, no mocks",
    r"# type: [i]gnore(?!\[)": "an ignored type error names its kind",
}
BANNED_IN_TESTS = {
    r"\basyncio\.[s]leep\((?!0\))": "waiting for time makes a test slow or flaky",
}


@cache
def python_files() -> tuple[Path, ...]:
    """Every Python file of the project."""
    return tuple(sorted(path for folder in CODE_FOLDERS for path in (ROOT / folder).rglob("*.py")))


@cache
def text_files() -> tuple[Path, ...]:
    """Every file that people read."""
    kinds = {".py", ".pyi", ".md", ".yaml", ".yml", ".toml", ".json", ".txt", ".html", ".proto", ""}
    found = [path for folder in TEXT_FOLDERS for path in (ROOT / folder).rglob("*")]
    found += [ROOT / name for name in TEXT_FILES]
    skipped = {"__pycache__", "results"}
    return tuple(
        sorted(
            path for path in found if path.is_file() and path.suffix in kinds and not skipped.intersection(path.parts)
        )
    )


def shown(path: Path) -> str:
    """The path as people name it."""
    return path.relative_to(ROOT).as_posix()


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def found_in(paths: tuple[Path, ...], banned: dict[str, str]) -> list[str]:
    """Each banned text as `file:line: reason`."""
    found = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            found += [
                f"{shown(path)}:{number}: {reason}" for pattern, reason in banned.items() if re.search(pattern, line)
            ]
    return found


def test_functions_are_short() -> None:
    """A function fits on a screen; kernels are excepted, as a call inside one costs."""
    long = [
        f"{shown(path)}:{function.lineno}: {function.name} has {size} lines"
        for path in python_files()
        for function in functions_of(path)
        if (size := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
        and not function.name.endswith("_kernel")
    ]
    assert not long, "\n".join(long)


def test_modules_are_short() -> None:
    """A module of the package is read in one sitting."""
    long = [
        f"{shown(path)}: {size} lines"
        for path in python_files()
        if path.is_relative_to(ROOT / "otel_sla") and (size := len(path.read_text().splitlines())) > MODULE_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_modules_have_names_of_things() -> None:
    """No module or folder is called by what anything could be in."""
    banned = [
        shown(path)
        for path in python_files()
        if BANNED_NAMES.intersection(part.strip("_") for part in path.relative_to(ROOT).with_suffix("").parts)
    ]
    assert not banned, "\n".join(banned)


def test_package_modules_and_folders_say_what_they_are() -> None:
    """Every module of the package starts with a docstring, and every folder has an __init__.py."""
    package = ROOT / "otel_sla"
    silent = [
        shown(path)
        for path in python_files()
        if path.is_relative_to(package)
        and path.name != "__main__.py"
        and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    silent += [
        f"{shown(folder)}/__init__.py is missing"
        for folder in {path.parent for path in python_files() if path.is_relative_to(package)}
        if not (folder / "__init__.py").exists()
    ]
    assert not silent, "\n".join(silent)


def test_no_class_name_means_two_things() -> None:
    """Each class of the package has a name of its own; private ones too, as tracebacks name them."""
    places = defaultdict(list)
    for path in python_files():
        if path.is_relative_to(ROOT / "otel_sla"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{shown(path)}:{node.lineno}")
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert not twice, twice


def test_the_top_of_the_package_holds_rooms() -> None:
    """A module lies loose at the top only if it is no room's: errors, array types, compiler, logs, process, metrics."""
    loose = {path.stem for path in (ROOT / "otel_sla").glob("*.py")}
    assert loose == {"__init__", "__main__", "arrays", "errors", "jit", "logs", "process", "self_metrics"}


def test_every_test_says_what_it_guarantees() -> None:
    """Every test function has a docstring whose first line is the scenario and the guarantee."""
    silent = [
        f"{shown(path)}:{function.lineno}: {function.name}"
        for path in python_files()
        if path.name.startswith("test_")
        for function in functions_of(path)
        if function.name.startswith("test_") and not (ast.get_docstring(function) or "").strip()
    ]
    assert not silent, "\n".join(silent)


def test_no_banned_text() -> None:
    """No file holds what is not the project's: notes to ourselves, paths of one machine, how work was divided."""
    found = found_in(text_files(), BANNED_TEXT)
    assert not found, "\n".join(found)


def test_no_banned_code() -> None:
    """No code waits for time, patches what it tests or hides a type error without naming it."""
    tests = tuple(path for path in python_files() if shown(path).startswith(("tests/", "campaigns/")))
    found = found_in(python_files(), BANNED_CODE) + found_in(tests, BANNED_IN_TESTS)
    assert not found, "\n".join(found)


def test_exporter_names_are_spelled_once() -> None:
    """The names of metrics and events that users rely on stand in one module of the package."""
    names = re.compile(r"""["']sla\.(error_rate|requests|minute\.status|monthly_uptime|coverage)\b""")
    spelled = [
        shown(path)
        for path in python_files()
        if path.is_relative_to(ROOT / "otel_sla") and names.search(path.read_text(encoding="utf-8"))
    ]
    assert spelled in ([], ["otel_sla/exporter/otlp_data.py"])


def test_each_make_target_is_explained() -> None:
    """`make help` shows every target that is promised."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (promised,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    explained = re.findall(r"^([a-z]+):.*## \S", makefile, flags=re.MULTILINE)
    assert sorted(promised.split()) == sorted(explained)


def test_changelog_has_a_place_for_the_next_change() -> None:
    """The changelog keeps the format that its first lines promise."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    kinds = [re.findall(r"^### (.*)$", version, flags=re.MULTILINE) for version in text.split("\n## ")]
    assert all(len(set(of_version)) == len(of_version) for of_version in kinds), "each kind of change once a version"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])


@pytest.mark.parametrize("name", ["spans", "counting/classify", "sla", "report"])
def test_core_reads_no_clock(name: str) -> None:
    """The stages without I/O import no module that reads a clock, and ask datetime for no present."""
    asked = [
        f"{shown(path)}:{node.lineno}: {node.func.attr}"
        for path in sorted((ROOT / "otel_sla" / name).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"now", "utcnow", "today", "time_ns", "monotonic"}
    ]
    assert not asked, "\n".join(asked)
