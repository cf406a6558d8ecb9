"""`otel-sla run`."""

import os
import signal
import sys

from otel_sla.cli.options import ConfigOption, load


def run(config: ConfigOption = None) -> None:
    """Take spans, count and judge them, and export what follows, until stopped."""
    # Until `serving` handles it: what it asks for is read in a moment anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    settings = load(config, begins_ledger=True)
    from otel_sla.config import check_own_receiver
    from otel_sla.logs import set_up_logs
    from otel_sla.process import prepare_process

    check_own_receiver(settings, os.environ)
    set_up_logs(settings.logs, sys.stderr)
    prepare_process()  # Before gRPC is imported, which reads what it asks for only then.
    # A wrong configuration is told before the seconds that this import takes.
    from otel_sla.serving.run import run_until_stopped

    run_until_stopped(settings)
