"""Which origins are allowed: a twin decides the same, and none takes long."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_sla.receiver.http.cors import Cors
from otel_sla.receiver.settings import CorsSettings


def is_allowed(origin: str, *allowed_origins: str) -> bool:
    """Whether a browser is told so."""
    answer = dict(Cors(CorsSettings(allowed_origins=allowed_origins)).answer({"origin": origin}))
    assert answer.get(b"access-control-allow-origin", origin.encode()) == origin.encode()
    return b"access-control-allow-origin" in answer


@given(st.text("a.*", max_size=8), st.text("a.", max_size=10))
def test_origins_are_matched_as_globs(pattern: str, origin: str) -> None:
    """Any pattern of stars and text allows what the standard library's glob does."""
    assert is_allowed(origin, pattern) == fnmatchcase(origin, pattern)


@pytest.mark.parametrize(
    ("origin", "is_so"),
    [
        ("https://a.b.example.com", True),
        ("HTTPS://A.B.EXAMPLE.COM", True),
        ("https://a.example.com", False),
        ("https://a.b.example.com.evil.org", False),
        ("http://a.b.example.com", False),
        ("", False),
    ],
)
def test_two_stars(origin: str, *, is_so: bool) -> None:
    """Each star stands for any text, also an empty one; what stands beside them has to be there."""
    assert is_allowed(origin, "https://*.*.example.com") is is_so


def test_no_origin_takes_long() -> None:
    """What almost matches many stars in many ways is decided in one pass; more than any origin is not looked at."""
    assert not is_allowed("https://" + "." * 250 + "x", "https://" + "*." * 12 + "example.com")
    assert not is_allowed("https://" + "." * 30_000 + "example.com", "https://*.*.example.com")
    assert is_allowed("https://" + "a" * 253 + ":65535", "https://*")
