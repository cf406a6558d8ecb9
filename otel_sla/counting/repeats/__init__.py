"""Which ResourceSpans were counted before: fingerprints, and a Bloom filter in front of the ledger's table."""
