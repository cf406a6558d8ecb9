"""`otel-sla run`."""

import sys

from otel_sla.cli.options import ConfigOption, load


def run(config: ConfigOption = None) -> None:
    """Take spans, count and judge them, and export what follows, until stopped."""
    settings = load(config)
    # A wrong configuration is told before the seconds that this import takes.
    from otel_sla.logs import set_up_logs
    from otel_sla.serving import run_until_stopped

    set_up_logs(settings.logs, sys.stderr)
    run_until_stopped(settings)
