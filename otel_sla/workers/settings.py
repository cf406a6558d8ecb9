"""What a worker is told."""

from collections.abc import Sequence
from dataclasses import dataclass

from otel_sla.config.settings import LogSettings
from otel_sla.receiver.endpoint import Address
from otel_sla.receiver.settings import ReceiverSettings


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker is told first."""

    receiver: ReceiverSettings  # `memory_limit_mib` is this worker's share.
    grpc_addresses: Sequence[Address]
    http_addresses: Sequence[Address]
    logs: LogSettings
    shared_memory: tuple[int, int] | None  # Its descriptor and its size in bytes, if there is any.
