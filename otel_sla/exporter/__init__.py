"""Verdicts out.

Takes closed minutes and the events of the ledger's outbox; gives OTLP metrics and logs to a backend, log lines,
or messages to people.
Never judges, never loses an event that a backend did not take.
"""
