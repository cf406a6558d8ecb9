"""Counts to verdicts and events.

Takes what is due by the clock, the ledger's counts, the versions of the terms and the exclusions; gives judged months,
and the events and figures to publish, each change in one transaction.
Never counts a span, never sends anything.
"""
