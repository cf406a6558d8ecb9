"""From one exporter's settings to what sends for it."""

from otel_sla.exporter.debug import DebugSender
from otel_sla.exporter.otlp import OtlpSender
from otel_sla.exporter.settings import DebugSettings, ExporterSettings


def make_sender(settings: ExporterSettings, instance_id: str) -> DebugSender | OtlpSender:
    """Give what sends for one configured exporter.

    Args:
        settings: What the configuration says.
        instance_id: The ledger's.

    Raises:
        ConfigError: The settings, or the environment where they are silent, cannot be used.
    """
    if isinstance(settings, DebugSettings):
        return DebugSender(settings.name)
    return OtlpSender(settings, instance_id)
