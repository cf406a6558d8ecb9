"""OTLP over HTTP/1.1, with the probes and the page of our own metrics beside it."""
