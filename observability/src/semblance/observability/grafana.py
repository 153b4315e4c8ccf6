"""Panels as Grafana's JSON, by the builders that Grafana publishes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

from semblance.observability.panel import Panel, Row

# Whoever looks chooses the Prometheus, so that the file fits every Grafana.
VARIABLE = "source"
SOURCE = DataSourceRef(type_val="prometheus", uid=f"${{{VARIABLE}}}")
# Of the grid's 24 columns: three panels side by side.
WIDTH, HEIGHT = 8, 8
FILL, STACKED_FILL = 10.0, 40.0


def render(title: str, uid: str, rows: Sequence[Row]) -> str:
    """The JSON of a dashboard, as Grafana provisions and imports it."""
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .tags([uid])
        .editable()
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable(VARIABLE).label("Prometheus").type("prometheus"))
    )
    for row in rows:
        built.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            built.with_panel(_panel(panel))
    model = built.build()
    for number, shown in enumerate(model.panels or (), 1):
        shown.id_val = number
    return json.dumps(model, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _panel(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.text)
        .datasource(SOURCE)
        .unit(panel.unit)
        .min(0)
        .span(WIDTH)
        .height(HEIGHT)
        .fill_opacity(STACKED_FILL if panel.stacked else FILL)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if panel.stacked:
        built.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for number, query in enumerate(panel.queries):
        built.with_target(
            prometheus.Dataquery()
            .datasource(SOURCE)
            .expr(query.expression)
            .legend_format(query.legend)
            .range()
            .ref_id(chr(ord("A") + number))
        )
    return built
