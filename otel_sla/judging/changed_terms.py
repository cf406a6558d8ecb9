"""Keeps the terms that a start finds configured in the ledger, and logs what their changes mean for the operator."""

import logging
from collections.abc import Sequence

from otel_sla.judging.retired_series import find_returned
from otel_sla.judging.terms_versions import Recorded, record_versions
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.exclusions import windows_of_no_series
from otel_sla.sla.figures_text import counted, minute_text, moment_text

_log = logging.getLogger(__name__)


def record_terms(ledger: Ledger, agreements: Sequence[Agreement], since_minute: int, now_minute: int) -> Recorded:
    """Keep the agreements' terms, so that what they counted and judged can be explained later, and log changes.

    New terms hold from `since_minute` on; the start is in `now_minute`. Both are epoch minutes.
    """
    recorded = record_versions(ledger, agreements, since_minute)
    for name in recorded.changed:
        _log.warning(
            "agreement %s: changed terms (version %d): months that are not closed are judged by them, as a whole",
            name,
            recorded.versions[name],
            extra={"action": "agreement_changed"},
        )
    for name in recorded.outcome_rules_changed:
        _log.warning(
            "agreement %s: spans that come from %s on are counted by the outcome rules of this otel-sla (version %d"
            " of the terms); what was counted before keeps the outcomes of the rules of its time",
            name,
            minute_text(now_minute),
            recorded.versions[name],
            extra={"action": "outcome_rules_changed"},
        )
    for name, retired_minute in find_returned(ledger, agreements).items():
        if retired_minute < since_minute:
            _log.warning(
                "agreement %s is counted for again as it was until %s: the silence of the %s since then is judged"
                " now, and months that were closed are closed again with it; exclude the time that it was away"
                " (otel-sla exclusion add) if that is not agreed",
                name,
                minute_text(retired_minute),
                counted(since_minute - retired_minute, "minute"),
                extra={"action": "agreement_returned"},
            )
    _log_without_effect(ledger, agreements, recorded)
    return recorded


def _log_without_effect(ledger: Ledger, agreements: Sequence[Agreement], recorded: Recorded) -> None:
    all_series = ledger.series()
    have_counts = {each.agreement for each in all_series}  # A start that failed recorded terms and counted nothing.
    for agreement in recorded.removed:
        if agreement.name in have_counts:
            _log.info(
                "agreement %s is no longer configured: its counts stay in the reports, judged by its last terms"
                " (version %d)",
                agreement.name,
                recorded.versions[agreement.name],
                extra={"action": "agreement_removed"},
            )
    for agreement, window in windows_of_no_series(agreements, all_series):
        _log.warning(
            "agreement %s: the exclusion from %s on is of a group (%s) that neither group_by makes nor the ledger has"
            " of a former one: it excludes nothing",
            agreement.name,
            moment_text(window.start),
            ", ".join(f"{key}={value}" for key, value in window.group or ()) or "empty",
            extra={"action": "exclusion_of_no_series"},
        )
