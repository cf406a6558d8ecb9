"""Conditions of all agreements as bits of one mask, so that a span is tested against all of them at once.

Every distinct condition has a bit. A value satisfies some of them, which is found out once per distinct value; a span's
mask is all that its resource's and its own values satisfy. Whether an agreement covers the span, whether one of its
`invalid` or `failed` rules holds and what its code attribute says then follow from the mask alone, once per distinct
mask.

A *column* is a watched attribute of the resource or of the span: the resource's come first.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from otel_sla.counting.classify.outcome import ERROR_TYPE_KEY, FAILED_ROW, INVALID_ROW, failing_row, sparing_row
from otel_sla.sla.agreement import STATUS_KEYS, Agreement, CodeRule, Scope, Selector, WhenAbsent
from otel_sla.spans.columns import WatchList

ENTRY_SPAN_BIT = 1  # The only condition that is no attribute's: no parent that is known to be local (clause 1).

# Span columns with a fixed place.
_FIXED_SPAN_KEYS = (*STATUS_KEYS, ERROR_TYPE_KEY)
ERROR_TYPE_SPAN_KEY_INDEX = len(STATUS_KEYS)

TextTest = Callable[[str], bool]
_Code = tuple[int, int, bool]  # Mask of "is there", mask of "is one of the values", whether absent means failed.


class Conditions:
    """What is watched for, and what masks mean. Masks are plain ints here; bit 0 is ENTRY_SPAN_BIT."""

    def __init__(self, agreements: Sequence[Agreement]) -> None:
        resource_keys: dict[str, int] = {}
        span_keys = {key: index for index, key in enumerate(_FIXED_SPAN_KEYS)}
        for agreement in agreements:
            rules = (*agreement.covered_any, *agreement.invalid, *agreement.failed)
            for selector in (agreement.covered_service, *rules):
                for condition in selector:
                    keys = resource_keys if condition.scope is Scope.RESOURCE else span_keys
                    keys.setdefault(condition.key, len(keys))
            for key in agreement.group_by:
                resource_keys.setdefault(key, len(resource_keys))
                span_keys.setdefault(key, len(span_keys))
            if agreement.code is not None:
                span_keys.setdefault(agreement.code.attribute, len(span_keys))
        self.watch = WatchList(
            span_keys=tuple(key.encode() for key in span_keys),
            resource_keys=tuple(key.encode() for key in resource_keys),
        )
        self._column_of = {(Scope.RESOURCE, key): index for key, index in resource_keys.items()}
        self._column_of |= {(Scope.SPAN, key): len(resource_keys) + index for key, index in span_keys.items()}
        self._bit_of: dict[tuple[Scope, str, object], int] = {}
        self._tests: list[list[tuple[int, TextTest]]] = [[] for _ in self._column_of]
        self._rules = [
            (
                index,
                self._covered_masks(agreement),
                [self._needs(selector) for selector in agreement.invalid],
                [self._needs(selector) for selector in agreement.failed],
                None if agreement.code is None else self._code_masks(agreement.code),
            )
            for index, agreement in enumerate(agreements)
        ]

    @property
    def n_columns(self) -> int:
        """Watched attributes of resources and spans together."""
        return len(self._tests)

    @property
    def n_words(self) -> int:
        """Words of 64 bits that a mask takes."""
        return (1 + len(self._bit_of) + 63) // 64

    def column(self, scope: Scope, key: str) -> int:
        """The column of a watched attribute."""
        return self._column_of[scope, key]

    def has_tests(self, column: int) -> bool:
        """Whether any condition reads the column."""
        return bool(self._tests[column])

    def mask_of(self, column: int, text: bytes) -> int:
        """Mask of the conditions that a value of the column satisfies."""
        tests = self._tests[column]
        if not tests:
            return 0
        shown = text.decode("utf-8", errors="surrogateescape")
        return sum(bit for bit, holds in tests if holds(shown))

    def rows_of(self, mask: int) -> list[tuple[int, int]]:
        """The agreements that cover a span with this mask, each with its row of the outcome table."""
        rows = []
        for index, covered, invalid, failed, code in self._rules:
            if not any(mask & needs == needs for needs in covered):
                continue
            if any(mask & needs == needs for needs in invalid):
                rows.append((index, INVALID_ROW))
            elif any(mask & needs == needs for needs in failed):
                rows.append((index, FAILED_ROW))
            elif code is None or _is_failing(mask, code):
                rows.append((index, failing_row(index)))
            else:
                rows.append((index, sparing_row(index)))
        return rows

    def _covered_masks(self, agreement: Agreement) -> list[int]:
        """Masks of which one has to be there whole."""
        needs = self._needs(agreement.covered_service) | (ENTRY_SPAN_BIT if agreement.entry_spans_only else 0)
        return [needs | self._needs(selector) for selector in agreement.covered_any or ((),)]

    def _needs(self, selector: Selector) -> int:
        """Mask with the bits of all conditions of a selector."""
        needs = 0
        for condition in selector:
            patterns = frozenset(condition.patterns)
            needs |= self._bit(condition.scope, condition.key, patterns, compile_patterns(patterns))
        return needs

    def _code_masks(self, code: CodeRule) -> _Code:
        values = frozenset(code.values)
        is_there = self._bit(Scope.SPAN, code.attribute, "is there", lambda _: True)
        # Exact, so not to be taken for the condition of the same patterns: a `*` here is a star.
        is_named = self._bit(Scope.SPAN, code.attribute, ("exact", values), values.__contains__)
        return is_there, is_named, code.when_absent is WhenAbsent.FAILED

    def _bit(self, scope: Scope, key: str, identity: object, holds: TextTest) -> int:
        bit = self._bit_of.get((scope, key, identity))
        if bit is None:
            bit = ENTRY_SPAN_BIT << (1 + len(self._bit_of))
            self._bit_of[scope, key, identity] = bit
            self._tests[self._column_of[scope, key]].append((bit, holds))
        return bit


def _is_failing(mask: int, code: _Code) -> bool:
    """Whether a request with a failing HTTP status did fail, as its code attribute says."""
    is_there, is_named, fails_when_absent = code
    return bool(mask & is_named) if mask & is_there else fails_when_absent


def compile_patterns(patterns: Iterable[str]) -> TextTest:
    """Make a test that holds if any of the patterns matches the whole value (clause 3).

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
    return lambda text: text in exact or any(glob.fullmatch(text) for glob in globs)


def _is_glob(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _compile_glob(pattern: str) -> re.Pattern[str]:
    """What stands between two stars is found as early as it can be, and never tried again (an atomic group).

    The leftmost place is always as good as any later one, so the time is bounded by the product of the two lengths,
    whatever a sender makes up.
    """
    head, *parts = (re.escape(part).replace(r"\?", ".") for part in pattern.split("*"))
    found_once = "".join(f"(?>.*?{part})" for part in parts[:-1])
    return re.compile(head + found_once + "".join(f".*{part}" for part in parts[-1:]), re.DOTALL)
