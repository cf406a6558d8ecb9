import os
import signal

# Ctrl-C and a service manager reach this process too; the pipeline ends it, by closing their connection.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)

from otel_sla.page.server import main  # noqa: E402

os.nice(19)  # Counting goes first, but for the second that the imports take.
main()
