"""Counts recorded OTLP: files that a Collector's file exporter wrote, as if their spans came in now.

Takes files or standard input; gives counts, fingerprints and places in the files to the ledger, and totals.
Never prints, and never counts by rules of its own: decoding and classification are the pipeline's.
"""
