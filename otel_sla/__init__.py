"""The uptime figure that a contract is settled by, computed from OpenTelemetry traces."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("otel-sla")
