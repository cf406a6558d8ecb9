"""The way from each clause to its code and its tests, held against both."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "clauses.md"
CLAUSES = range(1, 23)


@cache
def names_of_tests() -> frozenset[str]:
    """Every test function of the project."""
    return frozenset(
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def rows() -> Iterator[tuple[str, list[str], list[str]]]:
    """Clause, code and tests of each row of the page's table."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition("| Clause | Says | Code | Tests |\n")
    for line in table.splitlines()[1:]:
        clause, _, code, tests = (cell.strip() for cell in line.strip("|").split("|"))
        yield clause, re.findall(r"`([^`]*)`", code), re.findall(r"`([^`]*)`", tests)


def test_every_clause_has_a_row() -> None:
    """The table has all clauses in their order, and the worked cases; each names code and tests."""
    assert [clause for clause, _, _ in rows()] == [*map(str, CLAUSES), "worked cases"]
    assert all(code and tests for _, code, tests in rows())


@pytest.mark.parametrize("clause", CLAUSES)
def test_the_page_says_every_clause(clause: int) -> None:
    """Each clause that the code names can be read on the page."""
    assert re.search(rf"^{clause}\. ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("clause", CLAUSES)
def test_every_clause_has_tests_by_its_number(clause: int) -> None:
    """`pytest -k clause_14` finds tests of clause 14; those of a row bear its clause's number."""
    assert [name for name in names_of_tests() if name.startswith(f"test_clause_{clause}_")]
    named = {number: tests for number, _, tests in rows()}[str(clause)]
    assert all(name.startswith(f"test_clause_{clause}_") for name in named)


def test_tests_name_clauses_that_there_are() -> None:
    """No test bears the number of a clause that does not exist."""
    numbers = {match[1] for name in names_of_tests() if (match := re.match(r"test_clause_(\d+)_", name))}
    assert numbers <= set(map(str, CLAUSES))


def test_code_names_clauses_that_there_are() -> None:
    """What the package's comments say of clauses can be looked up."""
    naming = re.compile(r"\b[Cc]lauses? \d+(?:(?:, | and | to )\d+)*")
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "otel_sla").rglob("*.py"))
    numbers = {
        int(number) for text in sources for named in naming.findall(text) for number in re.findall(r"\d+", named)
    }
    assert len(numbers) >= 10
    assert numbers <= set(CLAUSES)


@pytest.mark.parametrize("test", sorted({test for _, _, tests in rows() for test in tests}))
def test_named_tests_exist(test: str) -> None:
    """What the table names as a test is one."""
    assert test in names_of_tests()


@pytest.mark.parametrize("code", sorted({place for _, code, _ in rows() for place in code}))
def test_named_code_exists(code: str) -> None:
    """What the table names as code is there, in that module."""
    path, _, name = code.partition(": ")
    assert (ROOT / "otel_sla" / path).is_file()
    found: object = importlib.import_module(f"otel_sla.{path.removesuffix('.py').replace('/', '.')}")
    for part in name.split("."):
        found = getattr(found, part)
