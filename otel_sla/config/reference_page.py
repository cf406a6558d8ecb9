"""Writes docs/configuration.md from the sections.

`python -m otel_sla.config.reference_page > docs/configuration.md`
"""

import inspect
import sys
import types
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from otel_sla.config.document import ConfigDocument
from otel_sla.config.exporters import ClientTls, DebugExporter, OtlpGrpcExporter, OtlpHttpExporter
from otel_sla.config.section import ONE_OR_MORE, Section, section_in, sections_below

_INTRODUCTION = """\
# Configuration

This page is generated from the code: `python -m otel_sla.config.reference_page > docs/configuration.md`.

Every command reads one YAML file that reads like a Collector's: `--config FILE`, else what `OTEL_SLA_CONFIG` names,
else `otel-sla.yaml` in the folder; on a terminal it says which one it took. Everything in it may be left out;
without a file the defaults below serve. `otel-sla validate` lists every problem at once, each with its
path and line, and prints what is in effect. A complete example is [otel-sla.yaml](otel-sla.yaml).

## How values are written

| Kind | Written | Meaning |
| --- | --- | --- |
| duration | `90s`, `1h30m`, `1.5h`, `400d` | as in Go, and `d` for 24 hours |
| ratio | `5%`, `99.9%`, `0.05` | exact, never rounded; a number above 1 needs its `%` |
| HTTP status | `5xx`, `500`, `500-504` | one, all of a class, or a range |
| gRPC code | `INTERNAL`, `DeadlineExceeded`, `14` | by its name, with underscores or without, or by its number |
| time | `2026-11-06T20:00:00Z`, `2026-11-06T20:00` | ISO 8601; without an offset, local to the agreement's time zone |
| date | `2026-12-25` | local to the agreement's time zone |
| pattern | `chat-1`, `chat-*`, `v?` | the whole value, case-sensitive; `*` is any text, `?` any one character |
| secret | `${env:NAME}` | never shown again |

Values are the text that was written: `no` is a word, and `1.10` is not `1.1`. Attributes are compared by their text, so
`443` and `true` match numbers and booleans. An empty value leaves the default. Where a list is expected, a single text
is a list of one. A key that is given twice is an error, and so is one that is not known.

`${env:NAME}` is replaced by the environment's variable, within longer values too; `${env:NAME:-default}` has a default
for one that is not set. `$$` is a plain `$`.

## Backends of the environment

If the file names no exporter, `OTEL_EXPORTER_OTLP_ENDPOINT` (or its `_METRICS_` or `_LOGS_` form) makes one, with the
protocol of `OTEL_EXPORTER_OTLP_PROTOCOL` (`grpc`, the default, or `http/protobuf`). If neither names a backend, the log
is the exporter (`debug`), and nothing is queued. Other `OTEL_EXPORTER_OTLP_*` variables work where an exporter's
section is silent.
"""

_EXPORTERS: Sequence[tuple[str, type[Section]]] = (
    ("exporters.otlp_grpc", OtlpGrpcExporter),
    ("exporters.otlp_http", OtlpHttpExporter),
    ("exporters.debug", DebugExporter),
    ("exporters.<type>.tls", ClientTls),
)


def configuration_page() -> str:
    """Write the page."""
    parts = [_INTRODUCTION, _section_text("", ConfigDocument)]
    for path, section in sections_below(ConfigDocument):
        parts.append(_section_text(path, section))
        if path == "processor":
            parts += [_section_text(*exporter) for exporter in _EXPORTERS]
    return "\n".join(parts)


def _section_text(path: str, section: type[Section]) -> str:
    title = f"## `{path}`" if path else "## The whole file"
    # Defaults are written as `validate` writes them; sections that need a value have none for it.
    defaults = section.model_construct().model_dump(mode="json", warnings=False)
    rows = [_row(name, field, defaults.get(name)) for name, field in section.model_fields.items()]
    head = "| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |"
    return f"{title}\n\n{inspect.getdoc(section)}\n\n{head}\n" + "\n".join(rows) + "\n"


def _row(name: str, field: FieldInfo, default: object) -> str:
    example = f" Example: `{field.examples[0]}`." if field.examples else ""
    type_text = _type_text(field.annotation, field.metadata)
    meaning = " ".join(str(field.description).split())
    cells = (f"`{name}`", type_text, _default_text(field, default), f"{meaning}{example}")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default_text(field: FieldInfo, default: object) -> str:
    if field.is_required():
        return "**required**"
    if default is None or default in ("", [], {}):
        return "none"
    if section_in(field.annotation) is not None:
        return "its defaults"
    text = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"`{text}`"


def _type_text(annotation: Any, metadata: Sequence[Any] = ()) -> str:  # noqa: ANN401 - any annotation.
    origin, arguments = get_origin(annotation), get_args(annotation)
    text = "value"
    for item in metadata:
        if isinstance(item, WithJsonSchema):
            assert item.json_schema is not None, "our types name themselves"
            return str(item.json_schema["type"])
    if origin is Annotated:
        text = _type_text(arguments[0], arguments[1:])
    elif origin in (Union, types.UnionType):
        text = _type_text(next(choice for choice in arguments if choice is not type(None)))
    elif origin is tuple:
        item_text = _type_text(arguments[0])
        text = f"{item_text}, or a list" if ONE_OR_MORE in metadata else f"list of {item_text}s"
    elif origin is dict:
        text = f"mapping of text to {_type_text(arguments[1])}"
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        text = ", ".join(f"`{choice.value}`" for choice in annotation)
    elif isinstance(annotation, type) and issubclass(annotation, Section):
        text = "section"
    else:
        text = {int: "whole number", bool: "true or false", str: "text", Path: "path"}[annotation]
    return text


if __name__ == "__main__":
    sys.stdout.write(configuration_page())
