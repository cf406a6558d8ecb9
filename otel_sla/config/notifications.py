"""`notifications`: whom messages are sent to, of what."""

from typing import Annotated

from pydantic import Field, WithJsonSchema

from otel_sla.config.section import NOT_EMPTY, ONE_OR_MORE, OneOrMore, PositiveDuration, Secret, Section, Text
from otel_sla.config.settings import Config
from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.exporter.apprise_services import open_services
from otel_sla.exporter.settings import NotificationSettings, Topic

_DEFAULTS = NotificationSettings(target="", urls=())


class NotificationSection(Section):
    """One target of messages to people, sent with [Apprise](https://appriseit.com); needs
    `pip install 'otel-sla[notifications]'`. [Notifications](notifications.md) says what is sent.
    """

    urls: Annotated[
        tuple[Secret, ...], NOT_EMPTY, ONE_OR_MORE, WithJsonSchema({"type": "secret, or a list of secrets"})
    ] = Field(examples=["['${env:SLACK_URL}', 'mailtos://...']"])
    """Apprise's URLs of the services that get each message; the next one waits until all have taken it."""
    agreements: OneOrMore[Text] = Field(default=(), examples=["[checkout]"])
    """Agreements whose messages are sent; without it, all."""
    on: Annotated[tuple[Topic, ...], NOT_EMPTY, ONE_OR_MORE] = tuple(Topic)
    """What is sent: downtime that started, ended, was withdrawn or revised; 50, 80 and 100 % of the downtime budget
    used; a target that is breached, or no more; a month that is closed.
    """
    interval: PositiveDuration = _DEFAULTS.interval_s
    """Between two messages, at least; what happens meanwhile is in the next one."""


def check_notifications(config: Config) -> None:
    """See that Apprise is there and takes each target's URLs; asked of what is about to serve.

    Raises:
        ConfigError: It does not; holds every problem.
    """
    problems: list[ConfigProblem] = []
    for settings in config.notifications:
        try:
            open_services(settings)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(config.source, problems)
