from otel_sla.process import prepare_process

prepare_process()  # Before gRPC is imported, which reads what it asks for only then.

from otel_sla.receiver.workers.worker import main  # noqa: E402

main()
