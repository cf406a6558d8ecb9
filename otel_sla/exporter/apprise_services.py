"""Opens the services of a target of `notifications`: the only place that imports Apprise, which is optional."""

import logging
from typing import TYPE_CHECKING

from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.exporter.settings import NotificationSettings

if TYPE_CHECKING:
    import apprise


def open_services(settings: NotificationSettings) -> "tuple[apprise.Apprise, ...]":
    """Give one object of Apprise for each URL: one alone is called on our thread, and says for itself if it failed.

    Raises:
        ConfigError: Apprise is not installed, or cannot use a URL.
    """
    try:
        import apprise  # noqa: PLC0415 - an optional part.
    except ImportError as error:
        problem = "needs Apprise, which is not installed: pip install 'otel-sla[notifications]'"
        raise ConfigError("notifications", [ConfigProblem(f"notifications.{settings.target}", problem)]) from error
    # Both log URLs, whose parts are secrets.
    logging.getLogger(apprise.logger.name).setLevel(logging.CRITICAL + 1)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
    # Its limit of a service's time needs a thread that the end of the process would wait for; services have their own.
    asset = apprise.AppriseAsset(service_timeout=0)
    services = tuple(apprise.Apprise(asset=asset) for _ in settings.urls)
    problems = [
        ConfigProblem(f"notifications.{settings.target}.urls[{index}]", "is no URL that Apprise can use")
        for index, (service, url) in enumerate(zip(services, settings.urls, strict=True))
        if not service.add(url)
    ]
    if problems:
        raise ConfigError("notifications", problems)
    for service in services:
        for plugin in service:  # What a service calls too long would be refused for ever.
            if plugin.overflow_mode == apprise.OverflowMode.UPSTREAM:
                plugin.overflow_mode = apprise.OverflowMode.SPLIT
    return services
