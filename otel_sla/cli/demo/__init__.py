"""`otel-sla demo`: spans of an eventful hour in, events and the month's figure out.

Takes nothing; starts a pipeline and a backend of its own, sends with the real SDK, prints what came back.
Never touches what is installed or running besides.
"""
