"""The configuration: the only reader of YAML and of the environment.

Takes a file and the environment's variables; gives a `Config` of plain values, or every problem at once.
Never opens a port, a ledger or a connection.
"""

from otel_sla.config.load import choose_config, load_config, parse_config
from otel_sla.config.loop_check import check_own_receiver
from otel_sla.config.notifications import check_notifications
from otel_sla.config.settings import Config, LedgerSettings
from otel_sla.judging.settings import ProcessorSettings
from otel_sla.logs import LogFormat, LogLevel, LogSettings

__all__ = [
    "Config",
    "LedgerSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "ProcessorSettings",
    "check_notifications",
    "check_own_receiver",
    "choose_config",
    "load_config",
    "parse_config",
]
