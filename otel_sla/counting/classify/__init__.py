"""Columns to requests: which agreements cover a span, in which series it counts, and as what outcome.

Takes `SpanColumns` and agreements; gives `Requests`.
Never does I/O, never reads a clock.
"""
