"""Which ResourceSpans were counted before: fingerprints, and a Bloom filter in front of the ledger's table.

Takes fingerprints; says which the ledger may have. Never says of a counted one that it is new.
"""
