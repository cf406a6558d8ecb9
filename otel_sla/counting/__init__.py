"""Requests to durable counts.

Takes the bytes of requests; gives a `Receipt` after the commit that holds what they counted.
Never counts the same bytes twice, never acknowledges before the ledger has them.
"""
