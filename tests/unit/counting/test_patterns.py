"""Patterns: what a glob covers, and what it costs."""

import naive
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_sla.counting.classify.conditions import compile_patterns


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        ("chat", "chat", True),
        ("chat", "Chat", False),
        ("chat", "chat-1", False),
        ("chat-*", "chat-", True),
        ("*-1", "chat-1", True),
        ("c*t", "ct", True),
        ("c*c", "c", False),
        ("*ab*ab*", "abab", True),
        ("*ab*ab*", "aba", False),
        ("a*bc", "abcc", False),
        ("?", "ö", True),
        ("?", "", False),
        ("??", "\udcff\udcfe", True),
        ("?", "\n", True),
        ("*", "", True),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("a.c*", "abc", False),
        ("a\\*", "a\\b", True),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_clause_3_glob_covers_the_whole_value(pattern: str, text: str, is_match: bool) -> None:  # noqa: FBT001
    """A pattern against a text: stars, single characters, nothing else is special and case counts."""
    assert compile_patterns([pattern])(text) is is_match


def test_any_pattern_of_a_list_is_enough() -> None:
    """Exact patterns and globs in one list: each of them can match."""
    holds = compile_patterns(["tools", "chat-*", "b?t"])
    assert [holds(text) for text in ("tools", "chat-9", "bot", "boot")] == [True, True, True, False]


def test_no_pattern_matches_nothing() -> None:
    """An empty list of patterns holds for no text."""
    assert not compile_patterns([])("")


@settings(derandomize=True, max_examples=400, deadline=None)
@given(st.text("ab*?", max_size=8), st.text("abc", max_size=10))
def test_globs_match_as_the_twin_does(pattern: str, text: str) -> None:
    """Any glob over a small alphabet matches exactly what the slow twin says."""
    assert compile_patterns([pattern])(text) is naive.matches(pattern, text.encode())


def test_hostile_value_costs_no_more_than_its_length() -> None:
    """A value that nearly matches many stars is refused at once; with backtracking this would never end."""
    holds = compile_patterns(["*a" * 30 + "*b"])
    assert not holds("a" * 100_000)
