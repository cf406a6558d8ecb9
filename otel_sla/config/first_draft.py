"""Writes a first configuration for people to go on with: what was decided, and why each line is there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import yaml

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
    """Write a configuration with comments.

    Args:
        agreements: At least one.
        head: The file's first comment.
        backend: `host:port` of an OTLP backend over gRPC without TLS; None: verdicts go to the log.
    """
    lines = [
        *_comment(head),
        "#",
        "# Check it with `otel-sla validate --config FILE`; docs/configuration.md has every key.",
        "",
    ]
    if backend is not None:
        lines += _beside_lines(backend)
        lines += [
            "exporters:",
            f"  otlp_grpc: {{endpoint: {_scalar(backend)}, tls: {{insecure: true}}}}  # Gauges and events.",
            "",
        ]
    lines.append("agreements:")
    for agreement in agreements:
        lines += _agreement_lines(agreement)
    return "\n".join(lines) + "\n"


def _beside_lines(backend: str) -> list[str]:
    """Give our own receiver another port, where a Collector on this machine has OTLP's."""
    if backend not in ("localhost:4317", "127.0.0.1:4317", "[::1]:4317"):
        return []
    return [
        "# 4317 is the backend's: let it, or who has the spans, send them to 14417.",
        "receivers: {otlp: {protocols: {grpc: {endpoint: localhost:14417}}}}",
        "",
    ]


def _agreement_lines(agreement: AgreementDraft) -> list[str]:
    services = ", ".join(map(_scalar, agreement.services))
    covered = [
        "    # Whose server spans are requests of this agreement. Narrow it to what the contract covers.",
        "    covered_service:",
        f"      resource: {{service.name: [{services}]}}",
    ]
    return [
        *(f"  {line}" for remark in agreement.remarks for line in _comment(remark)),
        f"  - name: {_scalar(agreement.name)}",
        *(
            covered
            if agreement.services
            else ["    # Without covered_service: all server spans are requests of this agreement."]
        ),
        "    group_by: [service.name]   # Each value is judged by itself.",
        "    # What fails: HTTP 5xx and gRPC's server faults. `error_rate` narrows it to statuses and codes, and",
        "    # widens it to answers 200 that bear an error. `counting: adjusted` is for sampled traces.",
        "    downtime:",
        f"      error_rate_above: {format_ratio(agreement.error_rate_above)}   # A minute is down strictly above this.",
        "      no_data: up              # Silence counts as uptime; coverage shows it. Or: down, carry.",
        "    monthly_uptime:",
        f"      target: {format_ratio(agreement.target)}",
        f"      time_zone: {_scalar(agreement.time_zone)}   # In which months begin and end.",
    ]


def _scalar(text: str) -> str:
    """Write a text so that YAML, and the configuration's `${env:...}`, read the same text back."""
    text = text.replace("$", "$$")
    try:
        is_plain = yaml.safe_load(f"[{text}]") == [text] and not text.startswith(("*", "&", "!"))
    except yaml.YAMLError:
        is_plain = False
    return text if is_plain else json.dumps(text)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in text.splitlines()]
