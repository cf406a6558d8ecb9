"""Writes configuration.md anew: what it says before its first section stays, the sections come from the code.

`python docs/make_configuration.py > page.md && mv page.md docs/configuration.md`
"""

import inspect
import sys
import types
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from otel_sla.config.document import ConfigDocument
from otel_sla.config.exporters import ClientTls, DebugExporter, OtlpGrpcExporter, OtlpHttpExporter
from otel_sla.config.section import ONE_OR_MORE, Section, section_in, sections_below

PAGE = Path(__file__).with_name("configuration.md")
_FIRST_TITLE = "## The whole file"

_EXPORTERS: Sequence[tuple[str, type[Section]]] = (
    ("exporters.otlp_grpc", OtlpGrpcExporter),
    ("exporters.otlp_http", OtlpHttpExporter),
    ("exporters.debug", DebugExporter),
    ("exporters.<type>.tls", ClientTls),
)


def configuration_page() -> str:
    """Write the page."""
    introduction = PAGE.read_text(encoding="utf-8").partition(_FIRST_TITLE)[0]
    parts = [introduction.removesuffix("\n"), _section_text("", ConfigDocument)]
    for path, section in sections_below(ConfigDocument):
        parts.append(_section_text(path, section))
        if path == "processor":
            parts += [_section_text(*exporter) for exporter in _EXPORTERS]
    return "\n".join(parts)


def _section_text(path: str, section: type[Section]) -> str:
    title = f"## `{path}`" if path else _FIRST_TITLE
    # Defaults are written as `validate` writes them; sections that need a value have none for it.
    defaults = section.model_construct().model_dump(mode="json", warnings=False)
    rows = [_row(name, field, defaults.get(name)) for name, field in section.model_fields.items()]
    head = "| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |"
    return f"{title}\n\n{inspect.getdoc(section)}\n\n{head}\n" + "\n".join(rows) + "\n"


def _row(name: str, field: FieldInfo, default: object) -> str:
    example = f" Example: `{field.examples[0]}`." if field.examples else ""
    type_text = _type_text(field.annotation, field.metadata)
    inner = section_in(field.annotation)  # A section describes itself.
    meaning = " ".join((field.description or inspect.getdoc(inner) or "").split())
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
            return str((item.json_schema or {})["type"])
    if origin is Annotated:
        text = _type_text(arguments[0], arguments[1:])
    elif origin in (Union, types.UnionType):
        text = _type_text(next(choice for choice in arguments if choice is not type(None)))
    elif origin is tuple:
        item_text = _type_text(arguments[0])
        text = f"{item_text}, or a list" if ONE_OR_MORE in metadata else f"list of {item_text}s"
    elif origin is Literal:
        text = ", ".join(f"`{choice}`" for choice in arguments)
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
