"""Patterns of a condition: exact texts and globs of `*` and `?` that cover the whole value (clause 3)."""

import re
from collections.abc import Callable, Iterable

TextTest = Callable[[str], bool]


def compile_patterns(patterns: Iterable[str]) -> TextTest:
    """Make a test that holds if any of the patterns matches.

    `*` is any run of characters, `?` one character, all else itself; letter case counts. Text that is no UTF-8 is
    decoded with `surrogateescape` by the caller: each wrong byte is then one character.

    >>> is_chat = compile_patterns(["chat-*", "bot?"])
    >>> [is_chat(text) for text in ("chat-1", "bot2", "bot", "Chat-1", "my-chat-1")]
    [True, True, False, False, False]
    """
    exact = frozenset(pattern for pattern in patterns if not _is_glob(pattern))
    globs = [_compile_glob(pattern) for pattern in patterns if _is_glob(pattern)]
    if not globs:
        return exact.__contains__
    return lambda text: text in exact or any(glob(text) for glob in globs)


def _is_glob(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _compile_glob(pattern: str) -> TextTest:
    """Split at the stars: the first part stands at the start, the last at the end, each other as early as it can.

    The leftmost place is always as good as any later one, so nothing is tried twice and the time is bounded by the
    product of the two lengths, whatever a sender makes up.
    """
    parts = [_compile_part(part) for part in re.split(r"\*+", pattern)]
    n_fixed = sum(part != "*" for part in pattern)
    head, middle, tail = parts[0], parts[1:-1], parts[-1]
    if len(parts) == 1:
        return lambda text: head.fullmatch(text) is not None
    tail_size = len(re.split(r"\*+", pattern)[-1])

    def matches(text: str) -> bool:
        if len(text) < n_fixed:
            return False
        stop = len(text) - tail_size
        found = head.match(text)
        for part in middle:
            if found is None:
                return False
            found = part.search(text, found.end(), stop)
        return found is not None and found.end() <= stop and tail.fullmatch(text, stop) is not None

    return matches


def _compile_part(part: str) -> re.Pattern[str]:
    """A part without stars, so of fixed size."""
    return re.compile("".join("." if sign == "?" else re.escape(sign) for sign in part), re.DOTALL)
