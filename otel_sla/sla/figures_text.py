"""Figures and times as text, the same in reports and events (clause 11: truncated, never rounded up)."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from otel_sla.sla.months import EPOCH

_RATIO_PLACES = 8
_TERM_PLACES_MAX = 30


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write how many there are.

    >>> counted(1, "agreement"), counted(1_200, "series", "series")
    ('1 agreement', '1,200 series')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def ratio_text(ratio: Fraction) -> str:
    """Write a ratio as a decimal of 8 places, truncated.

    >>> ratio_text(Fraction(99_899_999_999, 10**11))
    '0.99899999'
    """
    return _decimal_text(ratio, _RATIO_PLACES)


def percent_text(ratio: Fraction, places: int = 5) -> str:
    """Write a ratio as a percentage for people, truncated.

    >>> percent_text(Fraction(998_999, 10**6), places=2)
    '99.89 %'
    """
    return f"{_decimal_text(ratio * 100, places)} %"


def term_text(term: Fraction) -> str:
    """Write a term of the agreement as it is: all its places and no more; one that has no end is truncated.

    >>> term_text(Fraction(999, 1000))
    '0.999'
    """
    for places in range(_TERM_PLACES_MAX + 1):
        if (term * 10**places).denominator == 1:
            return _decimal_text(term, places)
    return ratio_text(term)


def term_percent_text(term: Fraction) -> str:
    """Write a term of the agreement as a percentage, as it is.

    >>> term_percent_text(Fraction(1, 20))
    '5 %'
    """
    return f"{term_text(term * 100)} %"


def minute_text(epoch_minute: int) -> str:
    """Write a minute's start.

    >>> minute_text(29_701_440)
    '2026-06-22T00:00:00Z'
    """
    return moment_text(EPOCH + timedelta(minutes=epoch_minute))


def moment_text(moment: datetime) -> str:
    """Write a moment in UTC, with parts of a second only where it has some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _decimal_text(ratio: Fraction, places: int) -> str:
    assert ratio >= 0, "no ratio here is negative"
    digits = str(ratio.numerator * 10**places // ratio.denominator).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits
