"""Verdicts out.

Takes closed minutes and the events of the ledger's outbox; gives OTLP metrics and logs to a backend, or log lines.
Never judges, never loses an event that a backend did not take.
"""
