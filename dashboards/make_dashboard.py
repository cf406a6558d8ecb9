"""Makes the Grafana dashboard: `python dashboards/make_dashboard.py > dashboards/otel-sla.json`."""

import sys

import queries
from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

_PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${prometheus}")
_LOKI = models.DataSourceRef(type_val="loki", uid="${loki}")
_SERIES = "{{sla_agreement_name}} {{service_name}}"
_MINUTE = "1m"  # Shorter steps have no points of their own.
_GREEN, _YELLOW, _RED, _GREY = "green", "yellow", "red", "#8e8e8e"
_STATE_LOOKS = {
    "up": models.ValueMappingResult(text="up", color=_GREEN, index=0),
    "no_data": models.ValueMappingResult(text="no data", color=_GREY, index=1),
    "low_traffic": models.ValueMappingResult(text="low traffic", color="blue", index=2),
    "excluded": models.ValueMappingResult(text="excluded", color="purple", index=3),
    "down": models.ValueMappingResult(text="DOWN", color=_RED, index=4),
}
_OWN_UNITS = {
    "Since the newest span": "s",
    "Judging and clock": "s",
    "Age of the oldest that waits": "s",
    "Ledger and its disk": "bytes",
}
_COLUMNS = {
    "sla_agreement_name": "Agreement",
    "service_name": "Group",
    "Value #A": "Uptime %",
    "Value #B": "before exclusions %",
    "Value #C": "Target %",
    "Value #D": "Downtime min",
    "Value #E": "Budget left min",
    "Value #F": "Coverage %",
}


def make_dashboard() -> str:
    """Give the dashboard as Grafana imports it, with all that it asks for chosen by variables."""
    builder = (
        dashboard.Dashboard("SLA: uptime by contract")
        .uid("otel-sla")
        .description("What the agreements say of this month, counted by otel-sla from server spans.")
        .tags(["otel-sla", "sla"])
        .timezone("utc")
        .time("now-6h", "now")
        .refresh("1m")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
    )
    for variable in _variables():
        builder.with_variable(variable)
    for annotation in _annotations():
        builder.annotation(annotation)
    builder.with_row(dashboard.Row("The month"))
    for panel in (*_month_figures(), _table()):
        builder.with_panel(panel)
    builder.with_row(dashboard.Row("Minute by minute"))
    for panel in _graphs():
        builder.with_panel(panel)
    builder.with_row(dashboard.Row("otel-sla itself"))
    for title, lines in queries.OWN.items():
        targets = ((ref_id, query, legend) for ref_id, (legend, query) in zip("ABCDE", lines, strict=False))
        builder.with_panel(_graph(title, _OWN_UNITS.get(title, "short"), *targets))
    return JSONEncoder(sort_keys=True, indent=2).encode(builder.build()) + "\n"


def _variables() -> list[dashboard.QueryVariable | dashboard.DatasourceVariable | dashboard.TextBoxVariable]:
    def of_labels(name: str, label: str, query: str) -> dashboard.QueryVariable:
        # All is any value, also none: an agreement without groups has no label for one.
        return (
            dashboard.QueryVariable(name)
            .label(label)
            .datasource(_PROMETHEUS)
            .query(query)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(".*")
            .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
        )

    return [
        dashboard.DatasourceVariable("prometheus").label("Prometheus").type("prometheus"),
        dashboard.DatasourceVariable("loki").label("Loki, for events").type("loki"),
        of_labels("agreement", "Agreement", queries.AGREEMENTS),
        of_labels("group", "Group", queries.GROUPS),
        dashboard.TextBoxVariable("limit").label("Limit of the error rate").default_value("0.05"),
    ]


def _annotations() -> list[dashboard.AnnotationQuery]:
    minutes_down = (
        dashboard.AnnotationQuery().name("Downtime").datasource(_PROMETHEUS).enable(enable=True).icon_color(_RED)
    )
    events = (
        dashboard.AnnotationQuery()
        .name("Events (Loki)")
        .datasource(_LOKI)
        .enable(enable=False)
        .icon_color("orange")
        .expr(queries.EVENTS)
    )
    return [minutes_down.expr(queries.DOWN), events]


def _month_figures() -> list[stat.Panel]:
    def figure(title: str, expression: str, unit: str, says: str) -> stat.Panel:
        return (
            stat.Panel()
            .title(title)
            .description(says)
            .datasource(_PROMETHEUS)
            .with_target(prometheus.Dataquery().expr(expression).instant().ref_id("A"))
            .unit(unit)
            .graph_mode(common_models.BigValueGraphMode.NONE)
            .color_mode(common_models.BigValueColorMode.VALUE)
            .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
            .thresholds(_thresholds((None, "text")))
            .height(4)
        )

    lowest = "The lowest of the chosen series."
    return [
        figure("Monthly uptime", queries.UPTIME_LOWEST, "percent", f"{lowest} Cut, never rounded up.")
        .span(5)
        .decimals(3),
        figure("Target", queries.TARGET_LOWEST, "percent", lowest).span(4).decimals(3),
        figure("Budget left", queries.BUDGET_LOWEST, "m", f"{lowest} Below zero the promise is broken.")
        .thresholds(_thresholds((None, _RED), (0, _YELLOW), (5, _GREEN)))
        .span(5),
        figure("Downtime this month", queries.DOWNTIME_HIGHEST, "m", "The highest of the chosen series.").span(5),
        figure("Coverage", queries.COVERAGE_LOWEST, "percent", f"{lowest} Minutes with data among those elapsed.")
        .thresholds(_thresholds((None, _RED), (95, _YELLOW), (99, _GREEN)))
        .span(5)
        .decimals(2),
    ]


def _table() -> table.Panel:
    panel = (
        table.Panel()
        .title("Agreements and groups")
        .datasource(_PROMETHEUS)
        .height(8)
        .span(24)
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {name: index for index, name in enumerate(_COLUMNS)},
                    "renameByName": _COLUMNS,
                },
            )
        )
        .override_by_name(
            "Budget left min",
            [
                models.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
                models.DynamicConfigValue(
                    "thresholds",
                    {"mode": "absolute", "steps": [{"color": _RED, "value": None}, {"color": _GREEN, "value": 0}]},
                ),
            ],
        )
    )
    columns = (
        queries.SERIES_UPTIME,
        queries.SERIES_RAW,
        queries.SERIES_TARGET,
        queries.SERIES_DOWNTIME,
        queries.SERIES_BUDGET,
        queries.SERIES_COVERAGE,
    )
    for ref_id, expression in zip("ABCDEF", columns, strict=True):
        panel.with_target(
            prometheus.Dataquery().expr(expression).instant().format(PromQueryFormat.TABLE).ref_id(ref_id)
        )
    return panel


def _graphs() -> list[timeseries.Panel | statetimeline.Panel]:
    states = (
        statetimeline.Panel()
        .title("Minutes")
        .description("The state of each minute; of a step that holds several, the worst.")
        .datasource(_PROMETHEUS)
        .interval(_MINUTE)
        .height(8)
        .span(24)
        .show_value(common_models.VisibilityMode.NEVER)
        .mappings(
            [models.ValueMap(options={str(number): _STATE_LOOKS[state] for state, number in queries.STATES.items()})]
        )
        .with_target(_range(queries.MINUTE_STATES, "A"))
    )
    error_rate = (
        _graph("Error rate", "percentunit", ("A", queries.ERROR_RATE, _SERIES), ("B", queries.LIMIT, "limit"))
        .description("Failed among the valid requests; of a step that holds several minutes, the highest.")
        .min(0)
        .override_by_name("limit", [models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": _RED})])
    )
    uptime = _graph(
        "Monthly uptime and target",
        "percentunit",
        ("A", queries.UPTIME, _SERIES),
        ("B", queries.TARGET, f"target {_SERIES}"),
    ).description("What the month ends with if nothing more goes wrong.")
    budget = _graph("Budget left", "m", ("A", queries.BUDGET, _SERIES)).description("Below zero the promise is broken.")
    requests = _graph("Requests a minute", "short", ("A", queries.REQUESTS, "{{sla_request_outcome}}")).min(0)
    coverage = _graph("Coverage", "percentunit", ("A", queries.COVERAGE, _SERIES)).max(1)
    return [states, error_rate.span(24), uptime, budget, requests, coverage]


def _graph(title: str, unit: str, *targets: tuple[str, str, str]) -> timeseries.Panel:
    """Half a row; a minute without a point is a gap."""
    panel = (
        timeseries.Panel()
        .title(title)
        .datasource(_PROMETHEUS)
        .interval(_MINUTE)
        .unit(unit)
        .height(8)
        .span(12)
        .line_interpolation(common_models.LineInterpolation.STEP_BEFORE)
        .span_nulls(span_nulls=False)
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
    )
    for ref_id, expression, legend in targets:
        panel.with_target(_range(expression, ref_id).legend_format(legend))
    return panel


def _range(expression: str, ref_id: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).range().interval(_MINUTE).ref_id(ref_id).legend_format(_SERIES)


def _thresholds(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


if __name__ == "__main__":
    sys.stdout.write(make_dashboard())
