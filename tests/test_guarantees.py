"""The page of guarantees, held against the tests that it names."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guarantees.md"


@cache
def names_of_tests() -> frozenset[str]:
    """Every test function of the project."""
    return frozenset(
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def rows() -> list[list[str]]:
    """Promise, fault and tests of each row of the page's tables."""
    promises, _, _ = PAGE.read_text(encoding="utf-8").partition("## What is not promised")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in promises.splitlines() if line[:1] == "|"]
    return [row for row in cells if row[0] not in ("Promise", "---")]


def test_every_promise_names_a_fault_and_a_test() -> None:
    """No row of the page lacks the fault that it holds under, or what shows it."""
    assert len(rows()) > 10
    for promise, fault, tests in rows():
        assert promise
        assert fault
        assert re.search(r"`test_\w+`", tests), promise


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))))
def test_named_tests_exist(test: str) -> None:
    """What the page names as a test is one."""
    assert test in names_of_tests()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)`", PAGE.read_text(encoding="utf-8")))))
def test_named_targets_exist(target: str) -> None:
    """What the page names as a make target is one."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
