"""`python -m otel_sla` is `otel-sla`."""

from otel_sla.cli import main

main()
