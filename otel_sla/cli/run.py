"""`otel-sla run`."""

import os
import sys

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import ConfigOption, load
from otel_sla.config import check_notifications, check_own_receiver
from otel_sla.logs import set_up_logs
from otel_sla.process import prepare_process

commands = Commands("run")


@commands.command()
def run(config: ConfigOption = None) -> None:
    """Take spans, count and judge them, and export what follows, until stopped."""
    settings = load(config, begins_ledger=True)
    check_own_receiver(settings, os.environ)
    check_notifications(settings)
    set_up_logs(settings.logs, sys.stderr)
    prepare_process()
    # gRPC reads its environment when it is imported, and `prepare_process` has just set it.
    from otel_sla.serving.run import run_until_stopped  # noqa: PLC0415

    run_until_stopped(settings)
