"""`otel-sla import openslo`: agreements out of OpenSLO v1 documents.

An SLO with the budgeting method `Timeslices`, slices of a minute and a calendar month says what an agreement says: a
minute is bad when too few of its requests are good, and so much of the month's minutes must not be bad. What else an
SLO may say has no place in an agreement. Nothing is guessed and nothing dropped in silence: each field is either taken,
or listed with the reason why not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import write_new_file
from otel_sla.config import parse_config
from otel_sla.config.first_draft import AgreementDraft, draft_yaml
from otel_sla.config.parse import check_zone, format_ratio, parse_ratio
from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.sla.figures_text import counted

commands = Commands("import", is_group=True)

API_VERSION = "openslo/v1"
_MINUTE = frozenset({"1", "1m", "60s"})
_QUERIES = "counts come from spans: set covered_service, valid_requests and error_rate to what these queries select"
_KNOWN = {  # Fields that are read; all others are listed as unknown, but those of `_IGNORED`.
    "": {"apiVersion", "kind", "metadata", "spec"},
    "metadata": {"name", "displayName"},
    "spec": {"budgetingMethod", "timeWindow", "service", "objectives"},
    "spec.timeWindow[0]": {"duration", "isRolling", "calendar"},
    "spec.timeWindow[0].calendar": {"startTime", "timeZone"},
}
_COMPARED = "compares a metric's value; a request of an agreement fails by its status"
_OF_OBJECTIVE = {"displayName", "target", "targetPercent", "timeSliceTarget", "timeSliceWindow"}
_IGNORED_OF_OBJECTIVE = {
    "op": _COMPARED,
    "value": _COMPARED,
    "indicator": _QUERIES,
    "indicatorRef": _QUERIES,
    "compositeWeight": "each objective is an agreement by itself, and none is weighed",
}
_IGNORED = {
    "metadata.labels": "an agreement has no labels",
    "metadata.annotations": "an agreement has no annotations",
    "spec.description": "for people only",
    "spec.indicator": _QUERIES,
    "spec.indicatorRef": _QUERIES,
    "spec.alertPolicies": "alerts are made from the events and gauges, in the backend",
}


@dataclass(slots=True)
class Translation:
    """What became of one document's fields; paths as in `spec.objectives[0].target`."""

    source: str  # The document: its number in the file, kind and name.
    taken: list[tuple[str, str]] = field(default_factory=list)  # (path, what it became).
    not_taken: list[tuple[str, str]] = field(default_factory=list)  # (path, why).
    problems: list[ConfigProblem] = field(default_factory=list)  # Why no agreement can be made of it.
    agreements: list[AgreementDraft] = field(default_factory=list)  # One for each objective.

    def take(self, path: str, became: str) -> None:
        """Note a field that was taken."""
        self.taken.append((path, became))

    def leave(self, path: str, why: str) -> None:
        """Note a field that was not taken."""
        self.not_taken.append((path, why))

    def fail(self, path: str, why: str) -> None:
        """Note why no agreement can be made of it."""
        self.problems.append(ConfigProblem(path, why))


@commands.command()
def openslo(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="OpenSLO v1, YAML; `-` for standard input.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write there, if there is no such file; else to stdout."),
    ] = None,
) -> None:
    """Turn SLOs of calendar months and slices of a minute into agreements.

    Says on stderr, for each field, what it became or why it was not taken.
    """
    source = "standard input" if str(file) == "-" else str(file)
    readings = read_openslo(_read_text(file, source), source)
    agreements = [agreement for reading in readings for agreement in reading.agreements]
    text = draft_yaml(agreements, head=f"Made from {source} by `otel-sla import openslo`.")
    parse_config(text, source, {})
    for reading in readings:
        _print(reading)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_new_file(output, text)
        typer.echo(f"wrote {output}: {counted(len(agreements), 'agreement')}", err=True)


def _read_text(file: Path, source: str) -> str:
    try:
        return typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(source, [ConfigProblem("", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(source, [ConfigProblem("", f"is not UTF-8 at byte {error.start}")]) from error


def _print(reading: Translation) -> None:
    typer.echo(f"{reading.source}:", err=True)
    for verb, fields in (("taken", reading.taken), ("not taken", reading.not_taken)):
        for path, text in fields:
            typer.echo(f"  {verb:<10} {path}: {text}", err=True)


def read_openslo(text: str, source: str) -> list[Translation]:
    """Read all documents of a file.

    Args:
        text: YAML, one document or several.
        source: The file's name, for errors.

    Raises:
        ConfigError: It is not valid YAML, holds no SLO, or an SLO of which no agreement can be made.
    """
    try:
        # All scalars as text: 0.999 is to become an exact fraction.
        documents = [document for document in yaml.load_all(text, Loader=yaml.BaseLoader) if document]
    except yaml.YAMLError as error:
        raise ConfigError(source, [ConfigProblem("", f"is not valid YAML: {' '.join(str(error).split())}")]) from error
    readings = [_read_document(document, number) for number, document in enumerate(documents, start=1)]
    problems = [
        ConfigProblem(f"{reading.source}: {problem.path}", problem.message)
        for reading in readings
        for problem in reading.problems
    ]
    if not problems and not any(reading.agreements for reading in readings):
        problems = [ConfigProblem("", f"holds no document of kind SLO and apiVersion {API_VERSION}")]
    names = [agreement.name for reading in readings for agreement in reading.agreements]
    repeated = sorted({name for name in names if names.count(name) > 1})
    problems += [ConfigProblem("", f"two objectives would both be the agreement {name!r}") for name in repeated]
    if problems:
        raise ConfigError(source, problems)
    return readings


def _read_document(document: object, number: int) -> Translation:
    if not isinstance(document, dict):
        return Translation(f"document {number}", problems=[ConfigProblem("", "must be a mapping")])
    kind, version = _text(document.get("kind")), _text(document.get("apiVersion"))
    name = _text(_mapping(document.get("metadata")).get("name"))
    reading = Translation(f"document {number} ({kind or 'no kind'} {name})".replace(" )", ")"))
    if version != API_VERSION:
        reading.fail("apiVersion", f"must be {API_VERSION}, not {version!r}")
    elif kind != "SLO":
        reading.leave("kind", f"a {kind or 'document without a kind'} says nothing that an agreement has")
    else:
        _read_slo(document, name, reading)
    return reading


def _read_slo(document: Mapping[str, Any], name: str, reading: Translation) -> None:
    spec = _mapping(document.get("spec"))
    if name:
        reading.take("metadata.name", "the agreement's name")
    else:
        reading.fail("metadata.name", "is missing; it becomes the agreement's name")
    method = _text(spec.get("budgetingMethod"))
    if method != "Timeslices":
        problem = f"is {method}: an agreement counts minutes, so the method must be Timeslices"
        reading.fail("spec.budgetingMethod", problem if method else "is missing; an agreement needs Timeslices")
    else:
        reading.take("spec.budgetingMethod", "minutes are judged, not requests")
    time_zone = _read_window(spec.get("timeWindow"), reading)
    service = _text(spec.get("service"))
    if service:
        reading.take("spec.service", f"covered_service: service.name is {service}")
    else:
        reading.leave("spec.service", "is missing: the agreement covers all services")
    title = _text(_mapping(document.get("metadata")).get("displayName"))
    if title:
        reading.take("metadata.displayName", "a comment")
    _list_ignored(document, reading)
    objectives = spec.get("objectives")
    if not isinstance(objectives, list) or not objectives:
        reading.fail("spec.objectives", "must be a list of at least one objective")
        return
    for index, objective in enumerate(objectives):
        draft = _read_objective(_mapping(objective), f"spec.objectives[{index}]", reading)
        if draft is not None:
            limit, target, label = draft
            own_name = name if len(objectives) == 1 else f"{name}-{label or index + 1}"
            remarks = tuple(text for text in (title, label) if text)
            services = (service,) if service else ()
            reading.agreements.append(AgreementDraft(own_name, services, limit, target, time_zone, remarks))


def _read_window(windows: object, reading: Translation) -> str:
    """Give the time zone of the month; what is no calendar month is a problem."""
    path = "spec.timeWindow"
    if not isinstance(windows, list) or len(windows) != 1:
        reading.fail(path, "must be a list of exactly one window")
        return "UTC"
    window = _mapping(windows[0])
    calendar = _mapping(window.get("calendar"))
    is_rolling = _text(window.get("isRolling")).lower()
    if is_rolling == "true" or not calendar:
        problem = "a rolling window has no month; an agreement is settled by calendar months: give `calendar`"
        reading.fail(f"{path}[0]", problem)
    elif is_rolling:
        reading.take(f"{path}[0].isRolling", "calendar months")
    for place, of_place in ((f"{path}[0]", window), (f"{path}[0].calendar", calendar)):
        _list_unknown(of_place, place, _KNOWN[place], reading)
    if _text(window.get("duration")) != "1M":
        duration = _text(window.get("duration")) or "missing"
        reading.fail(f"{path}[0].duration", f"is {duration}: an agreement is settled by months, 1M")
    else:
        reading.take(f"{path}[0].duration", "calendar months")
    start = _text(calendar.get("startTime"))
    if start:
        is_first = start[7:].replace("T", " ") in ("-01", "-01 00:00", "-01 00:00:00")
        text = "months begin at local midnight of their first day, in every year"
        (reading.take if is_first else reading.leave)(f"{path}[0].calendar.startTime", text)
    zone = _text(calendar.get("timeZone")) or "UTC"
    try:
        zone = check_zone(zone)
    except ValueError as error:
        reading.fail(f"{path}[0].calendar.timeZone", str(error))
        return "UTC"
    reading.take(f"{path}[0].calendar.timeZone", f"monthly_uptime.time_zone: {zone}")
    return zone


def _read_objective(
    objective: Mapping[str, Any], path: str, reading: Translation
) -> tuple[Fraction, Fraction, str] | None:
    """Give error rate limit, target and label; None where something is missing or wrong."""
    n_problems = len(reading.problems)
    good = _ratio(objective, "timeSliceTarget", path, reading)
    slices = _text(objective.get("timeSliceWindow"))
    if slices not in _MINUTE:
        reading.fail(f"{path}.timeSliceWindow", f"is {slices or 'missing'}: an agreement judges minutes, 1m")
    else:
        reading.take(f"{path}.timeSliceWindow", "minutes are judged")
    target_key = "targetPercent" if "targetPercent" in objective else "target"
    target = _ratio(objective, target_key, path, reading, is_percent=target_key == "targetPercent")
    if target == 0:
        reading.fail(f"{path}.{target_key}", "must be above 0: a promise of nothing cannot be broken")
    if target_key == "targetPercent" and "target" in objective:
        if _ratio(objective, "target", path, reading) == target:
            reading.leave(f"{path}.target", "targetPercent says the same")
        else:
            reading.fail(f"{path}.target", "and targetPercent contradict each other")
    for key, why in _IGNORED_OF_OBJECTIVE.items():
        if key in objective:
            reading.leave(f"{path}.{key}", why)
    _list_unknown(objective, path, _OF_OBJECTIVE | set(_IGNORED_OF_OBJECTIVE), reading)
    if good is None or not target or len(reading.problems) > n_problems:
        return None
    limit = 1 - good
    reading.take(f"{path}.timeSliceTarget", f"downtime.error_rate_above: {format_ratio(limit)}")
    reading.take(f"{path}.{target_key}", f"monthly_uptime.target: {format_ratio(target)}")
    label = _text(objective.get("displayName"))
    if label:
        reading.take(f"{path}.displayName", "a comment")
    return limit, target, label


def _ratio(
    objective: Mapping[str, Any], key: str, path: str, reading: Translation, *, is_percent: bool = False
) -> Fraction | None:
    text = _text(objective.get(key))
    try:
        return parse_ratio(f"{text}%" if is_percent else text)
    except ValueError as error:
        reading.fail(f"{path}.{key}", str(error) if text else "is missing")
        return None


def _list_ignored(document: Mapping[str, Any], reading: Translation) -> None:
    for path, why in _IGNORED.items():
        above, key = path.split(".")
        if _mapping(document.get(above)).get(key):
            reading.leave(path, why)
    for place, of_place in (("", document), *((key, _mapping(document.get(key))) for key in ("metadata", "spec"))):
        ignored = {path.rpartition(".")[2] for path in _IGNORED if path.rpartition(".")[0] == place}
        _list_unknown(of_place, place, _KNOWN[place] | ignored, reading)


def _list_unknown(mapping: Mapping[str, Any], place: str, known: set[str], reading: Translation) -> None:
    for key in mapping:
        if key not in known:
            reading.leave(f"{place}.{key}".lstrip("."), "is not known here")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
