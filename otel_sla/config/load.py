"""From a file and the environment to the plain configuration."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import ValidationError

from otel_sla.config.document import ConfigDocument, sqlite_path_in, sqlite_url_in
from otel_sla.config.environment import exporters_of, find_mistakes
from otel_sla.config.exporters import build_exporter, check_exporters
from otel_sla.config.problems import find_problems, locate
from otel_sla.config.section import build
from otel_sla.config.settings import Config, LedgerSettings, MetricsSettings
from otel_sla.config.yaml_file import Problem, Tree, read_yaml
from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.exporter.settings import NotificationSettings
from otel_sla.judging.settings import ProcessorSettings
from otel_sla.logs import LogSettings
from otel_sla.page.settings import PageSettings
from otel_sla.receiver.settings import HttpServerSettings, ReceiverSettings

CONFIG_VARIABLE = "OTEL_SLA_CONFIG"
FOLDER_FILE = Path("otel-sla.yaml")
FILE_SIZE_BYTES_MAX = 16 * 1024 * 1024
_DEVICE_FOLDERS = ("/dev", "/proc")  # /dev/stdin may be a regular file, which does not lie there.


class ConfigChoice(NamedTuple):
    """Which configuration a command takes, and why that one."""

    path: Path | None  # None: the defaults.
    reason: str

    def __str__(self) -> str:
        return f"{self.path or 'the defaults'} ({self.reason})"


def choose_config(given: Path | None, environ: Mapping[str, str]) -> ConfigChoice:
    """Choose what is given, else what the environment names, else the folder's file, else the defaults."""
    if given is not None:
        return ConfigChoice(given, "--config")
    named = environ.get(CONFIG_VARIABLE)
    if named:
        return ConfigChoice(Path(named), CONFIG_VARIABLE)
    if FOLDER_FILE.exists():
        return ConfigChoice(FOLDER_FILE, "in this folder")
    return ConfigChoice(None, f"no {FOLDER_FILE} in this folder")


def load_config(path: Path | None, environ: Mapping[str, str], *, begins_ledger: bool = False) -> Config:
    """Read and check a configuration file; without one, the defaults. Arguments and errors as for `parse_config`."""
    if path is None:
        return parse_config("", "defaults", environ)
    text = _read_text(path)
    # A relative `ledger.url` starts at the file's folder, or at the working directory for a pipe or a device.
    is_device = any(path.absolute().is_relative_to(folder) for folder in _DEVICE_FOLDERS)
    folder = path.parent if path.is_file() and not is_device else Path()
    return parse_config(text, str(path), environ, folder, begins_ledger=begins_ledger)


def parse_config(
    text: str, source: str, environ: Mapping[str, str], folder: Path = Path(), *, begins_ledger: bool = False
) -> Config:
    """Check a configuration's text.

    A relative `ledger.url` starts at `folder`. With `begins_ledger` a ledger is made where there is none: one that was
    left where earlier versions looked for it is then a problem.

    Raises:
        ConfigError: It cannot be used; holds every problem that was found, under the name `source`.
    """
    file = read_yaml(text, environ)
    problems = list(file.problems)
    document: ConfigDocument | None = None
    # After a syntax error there is no tree that could be said anything about.
    if file.tree is not None or not problems:
        document, found = _check(file.tree, environ)
        reported = {place for place, _ in problems}
        problems += [problem for problem in found if problem[0] not in reported]
    if document is not None and begins_ledger:
        problems += _misplaced_ledger(document.ledger.url, folder)
    if problems or document is None:
        raise ConfigError(source, locate(problems, file.lines))
    return _build(document, source, folder)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            body = file.read(FILE_SIZE_BYTES_MAX + 1)
        if len(body) <= FILE_SIZE_BYTES_MAX:
            return body.decode("utf-8-sig")
        problem = f"is larger than {FILE_SIZE_BYTES_MAX} bytes"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 at byte {error.start}"
    raise ConfigError(str(path), [ConfigProblem("", problem)])


def _misplaced_ledger(url: str, folder: Path) -> list[Problem]:
    """Find a ledger where earlier versions looked, in the working directory: an empty one would begin in its place."""
    there, here = sqlite_path_in(folder, url), sqlite_path_in(Path(), url)
    if os.path.exists(there) or not os.path.exists(here):  # noqa: PTH110 - Path.exists raises where it may not look.
        return []
    message = (
        f"{there} does not exist, and {here.absolute()} does: a relative path starts at the configuration's folder;"
        " move the ledger there, with its -wal if it has one, or write the absolute path of the one that is meant"
    )
    return [(("ledger", "url"), message)]


def _check(tree: Tree, environ: Mapping[str, str]) -> tuple[ConfigDocument | None, list[Problem]]:
    found = _repeated_names(tree)
    given: object = {} if tree is None else tree
    if isinstance(given, dict):
        exporters = given.get("exporters")
        if exporters in (None, {}):
            exporters, mistakes = exporters_of(environ)
            found += [((), message) for message in mistakes]
        if isinstance(exporters, dict):
            if any(name.partition("/")[0] != "debug" for name in exporters):
                found += [((), message) for message in find_mistakes(environ)]
            sections, problems = check_exporters(exporters)
            given, found = {**given, "exporters": sections}, found + problems
    try:
        return ConfigDocument.model_validate(given), found
    except ValidationError as error:
        return None, [*found, *find_problems(error, ConfigDocument)]


def _repeated_names(tree: Tree) -> list[Problem]:
    """Agreement names are unique. The tree is searched, so that this is said beside what is wrong with an agreement."""
    agreements = tree.get("agreements") if isinstance(tree, dict) else None
    first_index: dict[str, int] = {}
    found: list[Problem] = []
    for index, agreement in enumerate(agreements if isinstance(agreements, list) else []):
        name = agreement.get("name") if isinstance(agreement, dict) else None
        first = first_index.setdefault(name, index) if isinstance(name, str) else index
        if first != index:
            found.append((("agreements", index, "name"), f"{name!r} is the name of agreements[{first}] already"))
    return found


def _build(document: ConfigDocument, source: str, folder: Path) -> Config:
    ledger, metrics = document.ledger, document.telemetry.metrics
    exporters = tuple(build_exporter(component_id, exporter) for component_id, exporter in document.exporters.items())
    of_metrics = next((each for each in exporters if each.name == metrics.exporter), None)
    grpc, http = document.receivers.otlp.protocols.grpc, document.receivers.otlp.protocols.http
    effective = yaml.safe_dump(
        document.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True, width=120
    )
    return Config(
        source=source,
        receiver=build(
            ReceiverSettings,
            document.processor,
            grpc=grpc.build() if grpc else None,
            http=build(HttpServerSettings, http) if http else None,
        ),
        ledger=build(LedgerSettings, ledger, url=sqlite_url_in(folder, ledger.url), may_create=ledger.create),
        processor=build(ProcessorSettings, document.processor),
        exporters=exporters,
        notifications=tuple(
            build(NotificationSettings, section, target=name) for name, section in document.notifications.items()
        ),
        agreements=tuple(agreement.build() for agreement in document.agreements),
        logs=build(LogSettings, document.telemetry.logs),
        metrics=build(MetricsSettings, metrics, exporter=of_metrics) if of_metrics else None,
        page=build(PageSettings, document.page) if document.page else None,
        effective=effective.replace("$", "$$"),  # So that it reads as the same configuration.
    )
