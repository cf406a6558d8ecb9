import signal

# Ctrl-C and a service manager reach all processes at once; this one has to answer what the pipeline still counts.
# A hangup comes through the pipeline. Here, as the imports below take a second or two.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)

from otel_sla.process import prepare_process  # noqa: E402

prepare_process()  # Before gRPC is imported, which reads what it asks for only then.

from otel_sla.receiver.workers.worker import main  # noqa: E402

main()
