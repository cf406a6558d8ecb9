"""Writes a first configuration for people to go on with: what was decided, and why each line is there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from otel_sla.config.parse import format_ratio


@dataclass(frozen=True, slots=True)
class AgreementDraft:
    """What a new agreement says; all else is the default."""

    name: str
    services: tuple[str, ...]  # Exact or globs of service.name; none: all.
    error_rate_above: Fraction
    target: Fraction
    time_zone: str
    remarks: tuple[str, ...] = ()  # Written above it.


def draft_yaml(agreements: Sequence[AgreementDraft], *, head: str, backend: str | None = None) -> str:
    """Write a configuration of some agreements with comments, of which `head` is the first.

    `backend` is the `host:port` of an OTLP backend over gRPC without TLS; None: verdicts go to the log.
    """
    templates = Environment(  # noqa: S701 - it is YAML, which `_scalar` escapes.
        loader=PackageLoader("otel_sla.config", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"scalar": _scalar, "ratio": format_ratio, "lines": str.splitlines}
    return templates.get_template("first_draft.yaml.j2").render(agreements=agreements, head=head, backend=backend)


def _scalar(text: str) -> str:
    """Write a text so that YAML, and the configuration's `${env:...}`, read the same text back."""
    text = text.replace("$", "$$")
    try:
        is_plain = yaml.safe_load(f"[{text}]") == [text] and not text.startswith(("*", "&", "!"))
    except yaml.YAMLError:
        is_plain = False
    return text if is_plain else json.dumps(text)
