"""A month on paper.

Takes the judged months of agreements; gives a table, JSON, CSV or HTML of them.
Never reads a ledger or a clock: the same month gives the same bytes.
"""
