"""Panels and dashboards as this project wants them: what is shown, its unit and what it means; the rest is the same everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    GridPos,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Unit = Literal["s", "percentunit", "reqps", "cps", "short", "bytes", "up"]
Built = timeseries.Panel | stat.Panel | heatmap.Panel | table.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, heatmap.Panel, table.Panel)
Query = tuple[str, str]
"""An expression and the legend of its series."""


class Sized(NamedTuple):
    """A panel, and its size in columns and lines."""

    panel: Built
    width: int
    height: int


SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
OUTCOMES = {
    "answered": "green",
    "safe_completed": "blue",
    "clarified": "purple",
    "refused": "orange",
    "would_refuse": "yellow",
    "failed_closed": "red",
}
"""The colour of an outcome."""


def series(
    title: str,
    meaning: str,
    unit: Unit,
    *queries: Query,
    width: int = 8,
    stacked: bool = False,
    limit: float | None = None,
) -> Sized:
    """Draw lines over time, or stack them; from `limit` on, an alert may fire."""
    panel = (
        timeseries.Panel().unit(unit).min(0).fill_opacity(60 if stacked else 8).show_points(words.VisibilityMode.NEVER)
    )
    panel.legend(
        common.VizLegendOptions()
        .display_mode(words.LegendDisplayMode.TABLE)
        .placement(words.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    panel.tooltip(common.VizTooltipOptions().mode(words.TooltipDisplayMode.MULTI).sort(words.SortOrder.DESCENDING))
    if stacked:
        panel.stacking(common.StackingConfig().mode(words.StackingMode.NORMAL))
    if limit is not None:
        panel.thresholds(_steps(("transparent", None), ("red", limit)))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(words.GraphThresholdsStyleMode.DASHED))
    for outcome, colour in OUTCOMES.items() if queries[0][1] == "{{outcome}}" else ():
        panel.override_by_name(outcome, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})])
    return Sized(_fill(panel, title, meaning, queries), width, 8)


def number(
    title: str,
    meaning: str,
    unit: Unit,
    *queries: Query,
    width: int = 4,
    warn: float | None = None,
    bad: float | None = None,
) -> Sized:
    """Show what is the case now; `up` is 1 and anything less is bad, other units are bad from a number on."""
    panel = stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.color_mode(words.BigValueColorMode.VALUE).graph_mode(words.BigValueGraphMode.AREA)
    if unit == "up":
        panel.graph_mode(words.BigValueGraphMode.NONE).thresholds(_steps(("red", None), ("green", 1)))
        panel.mappings([ValueMap(options={"1": ValueMappingResult("up"), "0": ValueMappingResult("DOWN")})])
    else:
        ends = (("green", None), ("orange", warn), ("red", bad))
        panel.unit(unit).thresholds(_steps(*(end for end in ends if end[0] == "green" or end[1] is not None)))
    return Sized(_fill(panel, title, meaning, queries), width, 5)


def heat(title: str, meaning: str, query: str, *, width: int = 8) -> Sized:
    """Show how many observations fell into which bucket of a histogram of seconds."""
    panel = heatmap.Panel().unit("cps").calculate(False).y_axis(heatmap.YAxisConfig().unit("s"))
    panel.color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).exponent(0.5))
    return Sized(_fill(panel, title, meaning, [(query, "{{le}}")], PromQueryFormat.HEATMAP), width, 8)


def listing(title: str, meaning: str, query: str, *, width: int = 24) -> Sized:
    """List the labels of series as they are now."""
    panel = table.Panel().show_header(True).unit("short")
    hidden = dict.fromkeys(("Time", "Value", "__name__", "job"), True)
    panel.with_transformation(DataTransformerConfig(id_val="organize", options={"excludeByName": hidden}))
    return Sized(_fill(panel, title, meaning, [(query, "")], PromQueryFormat.TABLE), width, 6)


def quantiles(metric: str, *shares: float, by: str = "", where: str = "") -> list[Query]:
    """Read quantiles from a histogram, over all servers, for each value of a label or for all together."""
    labels = f"le, {by}" if by else "le"
    rate = f"sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval]))"
    name = f"{{{{{by}}}}} " if by else ""
    return [(f"histogram_quantile({share}, {rate})", f"{name}p{share * 100:.0f}") for share in shares]


class Place:
    """Where the next panel goes: from left to right, 24 columns wide, lines under one another; and its number."""

    def __init__(self) -> None:
        self.number = 1
        self._x = self._y = self._bottom = 0

    def take(self, width: int, height: int) -> GridPos:
        """Give the place to a panel."""
        if self._x + width > 24:
            self._x, self._y = 0, self._bottom
        found = GridPos(h=height, w=width, x=self._x, y=self._y)
        self._x += width
        self._bottom = max(self._bottom, self._y + height)
        self.number += 1
        return found


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Sized]


@dataclass(frozen=True)
class Page:
    """A dashboard; `variables` are labels to choose from, each with the metric that has it."""

    uid: str
    title: str
    meaning: str
    rows: Sequence[Row]
    variables: dict[str, str] = field(default_factory=dict)

    def json(self) -> str:
        """Write it as Grafana imports it."""
        board = dashboards.Dashboard(self.title).uid(self.uid).description(self.meaning).tags(["safer"])
        board.readonly().tooltip(DashboardCursorSync.CROSSHAIR).time("now-6h", "now").refresh("30s").timezone("browser")
        board.link(
            dashboards.DashboardLink("SaFeR")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["safer"])
            .as_dropdown(True)
            .keep_time(True)
        )
        board.annotation(_firing()).with_variable(
            dashboards.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        for label, metric in self.variables.items():
            variable = dashboards.QueryVariable(label).label(label.title()).query(f"label_values({metric}, {label})")
            variable.datasource(SOURCE).multi(True).include_all(True).all_value(".*")
            variable.current(VariableOption(text="All", value="$__all", selected=True))
            variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
            board.with_variable(variable)
        place = Place()
        for row in self.rows:
            board.with_row(dashboards.Row(row.title).id(place.number).grid_pos(place.take(24, 1)))
            for panel, width, height in row.panels:
                board.with_panel(panel.id(place.number).grid_pos(place.take(width, height)))
        return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _fill(
    panel: P, title: str, meaning: str, queries: Sequence[Query], form: PromQueryFormat = PromQueryFormat.TIME_SERIES
) -> P:
    panel.title(title).description(meaning).datasource(SOURCE)
    for letter, (expression, legend) in zip("ABCDEFGH", queries, strict=False):
        query = (
            prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend).datasource(SOURCE).format(form)
        )
        if form is PromQueryFormat.TABLE:
            query.instant()
        else:
            query.range()
        panel.with_target(query)
    return panel


def _firing() -> dashboards.AnnotationQuery:
    """Mark when alerts fired."""
    mark = dashboards.AnnotationQuery().name("Firing alerts").datasource(SOURCE).enable(True).icon_color("red")
    return mark.expr('ALERTS{alertstate="firing"}')


def _steps(*steps: tuple[str, float | None]) -> dashboards.ThresholdsConfig:
    found = [Threshold(value=start, color=colour) for colour, start in steps]
    return dashboards.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)
