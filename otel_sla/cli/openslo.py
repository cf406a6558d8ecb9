"""`otel-sla import openslo`: agreements out of OpenSLO v1 documents.

An SLO with the budgeting method `Timeslices`, slices of a minute and a calendar month says what an agreement says: a
minute is bad when too few of its requests are good, and so much of the month's minutes must not be bad. What else an
SLO may say has no place in an agreement. Nothing is guessed and nothing dropped in silence: each field is either taken,
or listed with the reason why not.
"""

from collections import Counter
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
_QUERIES = "counts come from spans: set covered_service, valid_requests and error_rate to what these queries select"
_COMPARED = "compares a metric's value; a request of an agreement fails by its status"

# Fields that are known, by the place of their mapping: those that are read, and why the others are not taken.
_FIELDS: Mapping[str, Mapping[str, str | None]] = {
    "": dict.fromkeys(("apiVersion", "kind", "metadata", "spec")),
    "metadata": {
        **dict.fromkeys(("name", "displayName")),
        "labels": "an agreement has no labels",
        "annotations": "an agreement has no annotations",
    },
    "spec": {
        **dict.fromkeys(("budgetingMethod", "timeWindow", "service", "objectives")),
        "description": "for people only",
        "indicator": _QUERIES,
        "indicatorRef": _QUERIES,
        "alertPolicies": "alerts are made from the events and gauges, in the backend",
    },
    "spec.timeWindow[0]": dict.fromkeys(("duration", "isRolling", "calendar")),
    "spec.timeWindow[0].calendar": dict.fromkeys(("startTime", "timeZone")),
    "spec.objectives": {
        **dict.fromkeys(("displayName", "target", "targetPercent", "timeSliceTarget", "timeSliceWindow")),
        "op": _COMPARED,
        "value": _COMPARED,
        "indicator": _QUERIES,
        "indicatorRef": _QUERIES,
        "compositeWeight": "each objective is an agreement by itself, and none is weighed",
    },
}


@dataclass(slots=True)
class Translation:
    """What became of one document's fields, by their paths such as `spec.objectives[0].target`."""

    source: str  # The document: its number in the file, kind and name.
    taken: dict[str, str] = field(default_factory=dict)  # What it became.
    not_taken: dict[str, str] = field(default_factory=dict)  # Why.
    problems: dict[str, str] = field(default_factory=dict)  # Why no agreement can be made of it.
    agreements: list[AgreementDraft] = field(default_factory=list)  # One for each objective.


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
        typer.echo(f"{reading.source}:", err=True)
        for verb, fields in (("taken", reading.taken), ("not taken", reading.not_taken)):
            for path, reason in fields.items():
                typer.echo(f"  {verb:<10} {path}: {reason}", err=True)
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


def read_openslo(text: str, source: str) -> list[Translation]:
    """Read all documents of a YAML file; `source` is its name, for errors.

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
        ConfigProblem(f"{reading.source}: {path}", message)
        for reading in readings
        for path, message in reading.problems.items()
    ]
    names = Counter(agreement.name for reading in readings for agreement in reading.agreements)
    if not problems and not names:
        problems = [ConfigProblem("", f"holds no document of kind SLO and apiVersion {API_VERSION}")]
    repeated = sorted(name for name, count in names.items() if count > 1)
    problems += [ConfigProblem("", f"two objectives would both be the agreement {name!r}") for name in repeated]
    if problems:
        raise ConfigError(source, problems)
    return readings


def _read_document(document: object, number: int) -> Translation:
    if not isinstance(document, dict):
        return Translation(f"document {number}", problems={"": "must be a mapping"})
    kind, version = _text(document, "kind"), _text(document, "apiVersion")
    name = _text(_mapping(document, "metadata"), "name")
    reading = Translation(f"document {number} ({kind or 'no kind'} {name})".replace(" )", ")"))
    if version != API_VERSION:
        reading.problems["apiVersion"] = f"must be {API_VERSION}, not {version!r}"
    elif kind != "SLO":
        reading.not_taken["kind"] = f"a {kind or 'document without a kind'} says nothing that an agreement has"
    else:
        _read_slo(document, name, reading)
    return reading


def _read_slo(document: Mapping[str, Any], name: str, reading: Translation) -> None:
    metadata, spec = _mapping(document, "metadata"), _mapping(document, "spec")
    if name:
        reading.taken["metadata.name"] = "the agreement's name"
    else:
        reading.problems["metadata.name"] = "is missing; it becomes the agreement's name"
    method = _text(spec, "budgetingMethod")
    if method == "Timeslices":
        reading.taken["spec.budgetingMethod"] = "minutes are judged, not requests"
    else:
        reading.problems["spec.budgetingMethod"] = (
            f"is {method or 'missing'}: an agreement counts minutes, so the method must be Timeslices"
        )
    time_zone = _read_window(spec.get("timeWindow"), reading)
    service = _text(spec, "service")
    if service:
        reading.taken["spec.service"] = f"covered_service: service.name is {service}"
    else:
        reading.not_taken["spec.service"] = "is missing: the agreement covers all services"
    title = _text(metadata, "displayName")
    if title:
        reading.taken["metadata.displayName"] = "a comment"
    for place, mapping in (("", document), ("metadata", metadata), ("spec", spec)):
        _list_not_taken(mapping, place, place, reading)
    objectives = spec.get("objectives")
    if not isinstance(objectives, list) or not objectives:
        reading.problems["spec.objectives"] = "must be a list of at least one objective"
        return
    for index, objective in enumerate(objectives):
        found = _read_objective(objective if isinstance(objective, dict) else {}, f"spec.objectives[{index}]", reading)
        if found is not None:
            limit, target, label = found
            own_name = name if len(objectives) == 1 else f"{name}-{label or index + 1}"
            remarks = tuple(text for text in (title, label) if text)
            services = (service,) if service else ()
            reading.agreements.append(AgreementDraft(own_name, services, limit, target, time_zone, remarks))


def _read_window(windows: object, reading: Translation) -> str:
    """Give the time zone of the month; what is no calendar month is a problem."""
    if not isinstance(windows, list) or len(windows) != 1:
        reading.problems["spec.timeWindow"] = "must be a list of exactly one window"
        return "UTC"
    path = "spec.timeWindow[0]"
    window = windows[0] if isinstance(windows[0], dict) else {}
    calendar = _mapping(window, "calendar")
    is_rolling = _text(window, "isRolling").lower()
    if is_rolling == "true" or not calendar:
        problem = "a rolling window has no month; an agreement is settled by calendar months: give `calendar`"
        reading.problems[path] = problem
    elif is_rolling:
        reading.taken[f"{path}.isRolling"] = "calendar months"
    _list_not_taken(window, path, path, reading)
    _list_not_taken(calendar, f"{path}.calendar", f"{path}.calendar", reading)
    duration = _text(window, "duration")
    if duration == "1M":
        reading.taken[f"{path}.duration"] = "calendar months"
    else:
        reading.problems[f"{path}.duration"] = f"is {duration or 'missing'}: an agreement is settled by months, 1M"
    if start := _text(calendar, "startTime"):
        is_first = start[7:].replace("T", " ") in ("-01", "-01 00:00", "-01 00:00:00")
        fate = reading.taken if is_first else reading.not_taken
        fate[f"{path}.calendar.startTime"] = "months begin at local midnight of their first day, in every year"
    try:
        zone = check_zone(_text(calendar, "timeZone") or "UTC")
    except ValueError as error:
        reading.problems[f"{path}.calendar.timeZone"] = str(error)
        return "UTC"
    reading.taken[f"{path}.calendar.timeZone"] = f"monthly_uptime.time_zone: {zone}"
    return zone


def _read_objective(
    objective: Mapping[str, Any], path: str, reading: Translation
) -> tuple[Fraction, Fraction, str] | None:
    """Give error rate limit, target and label; None where something is missing or wrong."""
    n_problems = len(reading.problems)
    good = _ratio(objective, "timeSliceTarget", path, reading)
    slices = _text(objective, "timeSliceWindow")
    if slices in ("1", "1m", "60s"):
        reading.taken[f"{path}.timeSliceWindow"] = "minutes are judged"
    else:
        reading.problems[f"{path}.timeSliceWindow"] = f"is {slices or 'missing'}: an agreement judges minutes, 1m"
    target_key = "targetPercent" if "targetPercent" in objective else "target"
    target = _ratio(objective, target_key, path, reading)
    if target == 0:
        reading.problems[f"{path}.{target_key}"] = "must be above 0: a promise of nothing cannot be broken"
    if target_key == "targetPercent" and "target" in objective:
        if _ratio(objective, "target", path, reading) == target:
            reading.not_taken[f"{path}.target"] = "targetPercent says the same"
        else:
            reading.problems[f"{path}.target"] = "and targetPercent contradict each other"
    _list_not_taken(objective, path, "spec.objectives", reading)
    if good is None or not target or len(reading.problems) > n_problems:
        return None
    reading.taken[f"{path}.timeSliceTarget"] = f"downtime.error_rate_above: {format_ratio(1 - good)}"
    reading.taken[f"{path}.{target_key}"] = f"monthly_uptime.target: {format_ratio(target)}"
    label = _text(objective, "displayName")
    if label:
        reading.taken[f"{path}.displayName"] = "a comment"
    return 1 - good, target, label


def _ratio(objective: Mapping[str, Any], key: str, path: str, reading: Translation) -> Fraction | None:
    text = _text(objective, key)
    try:
        return parse_ratio(f"{text}%" if key == "targetPercent" else text)
    except ValueError as error:
        reading.problems[f"{path}.{key}"] = str(error) if text else "is missing"
        return None


def _list_not_taken(mapping: Mapping[str, Any], path: str, place: str, reading: Translation) -> None:
    for key in mapping:
        why = _FIELDS[place].get(key, "is not known here")
        if why is not None:
            reading.not_taken[f"{path}.{key}".lstrip(".")] = why


def _mapping(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}


def _text(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return value.strip() if isinstance(value, str) else ""
