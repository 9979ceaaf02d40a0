"""The sorts of panel that boards are made of; each has title, unit, description and a no-data text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase

from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import bargauge, common, heatmap, prometheus, stat, statetimeline, table
from grafana_foundation_sdk.models import timeseries as lines_
from grafana_foundation_sdk.models.dashboard import (
    DashboardFieldConfigSourceOverrides,
    DashboardLink,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColor,
    FieldColorModeId,
    FieldConfig,
    FieldConfigSource,
    GridPos,
    MatcherConfig,
    Panel,
    ValueMapping,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.boards import looks

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
NUMBER_WIDTH = 3
_LAST = common.ReduceDataOptions(calcs=["lastNotNull"], values=False, fields="")


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression, and the name of its series; ``{{label}}`` stands for the value of a label."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True, slots=True)
class Head:
    """What every panel has.

    ``id`` stays with a panel for good: links to it hang on it. ``unit`` is one of Grafana's; that of a table
    holds for columns that name none. ``empty`` is the text where there are no data.
    """

    id: int
    title: str
    unit: str
    about: str
    empty: str = "no data in this time range"
    width: int = 12
    height: int = 8


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    ``field`` is a label, or the letter of the query whose value it shows; ``link`` an address to go to.
    """

    field: str
    title: str
    unit: str = ""
    steps: looks.Steps | None = None
    mappings: Sequence[ValueMapping] = ()
    link: tuple[str, str] | None = None
    width: int | None = None

    @property
    def is_value(self) -> bool:
        """Whether it shows a number that a query gave."""
        return self.field in ascii_uppercase


def panel(
    kind: str,
    head: Head,
    targets: Sequence[Dataquery],
    *,
    options: object,
    defaults: FieldConfig | None = None,
    overrides: Sequence[DashboardFieldConfigSourceOverrides] = (),
    transformations: Sequence[DataTransformerConfig] = (),
    source: DataSourceRef = PROMETHEUS,
) -> Panel:
    """A panel of any *kind*, not yet at its place."""
    fields = defaults or FieldConfig()
    fields.unit, fields.no_value = head.unit, head.empty
    return Panel(
        type_val=kind,
        id_val=head.id,
        title=head.title,
        description=head.about,
        datasource=source,
        grid_pos=GridPos(w=head.width, h=head.height),
        targets=list(targets),
        options=options,
        field_config=FieldConfigSource(defaults=fields, overrides=list(overrides)),
        transformations=list(transformations) or None,
    )


def number(
    head: Head, expr: str, steps: looks.Steps = looks.NEUTRAL, *, mappings: Sequence[ValueMapping] = ()
) -> Panel:
    """One number over the whole time range, or now; small, whatever the size in *head*."""
    return panel(
        "stat",
        replace(head, width=NUMBER_WIDTH, height=4),
        asked([Query(expr)], "instant"),
        options=number_options(),
        defaults=by_steps(steps, mappings),
    )


def number_options() -> stat.Options:
    """How numbers look: the value is coloured, not the whole panel."""
    return stat.Options(
        graph_mode=common.BigValueGraphMode.NONE,
        color_mode=common.BigValueColorMode.VALUE,
        text_mode=common.BigValueTextMode.AUTO,
        reduce_options=_LAST,
    )


def lines(
    head: Head,
    *queries: Query,
    stacked: bool = False,
    coloured: Mapping[str, str] | None = None,
    maximum: float | None = None,
) -> Panel:
    """Curves over time; those named as in *coloured* have that colour, the others one by their name."""
    return panel(
        "timeseries",
        head,
        asked(queries, "range"),
        options=line_options(),
        defaults=line_fields(stacked, maximum),
        overrides=[override(name, color=_fixed(colour)) for name, colour in (coloured or {}).items()],
    )


def line_options() -> lines_.Options:
    """A legend with the last and the greatest value; a tooltip that names all curves, the greatest first."""
    return lines_.Options(
        legend=common.VizLegendOptions(
            display_mode=common.LegendDisplayMode.TABLE,
            placement=common.LegendPlacement.BOTTOM,
            show_legend=True,
            calcs=["lastNotNull", "max"],
        ),
        tooltip=common.VizTooltipOptions(
            mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING
        ),
    )


def line_fields(stacked: bool = False, maximum: float | None = None) -> FieldConfig:
    """Curves from 0 up, with gaps where nothing is known."""
    mode = common.StackingMode.NORMAL if stacked else common.StackingMode.NONE
    return FieldConfig(
        min_val=0,
        max_val=maximum,
        color=FieldColor(mode=FieldColorModeId.PALETTE_CLASSIC_BY_NAME),
        custom=common.GraphFieldConfig(
            line_width=2,
            fill_opacity=30 if stacked else 5,
            show_points=common.VisibilityMode.AUTO,
            span_nulls=False,
            stacking=common.StackingConfig(mode=mode, group="A"),
        ),
    )


def bars(head: Head, query: Query, steps: looks.Steps = looks.NEUTRAL, maximum: float | None = None) -> Panel:
    """Some values side by side, the greatest on top."""
    defaults = by_steps(steps)
    defaults.min_val, defaults.max_val = 0, maximum
    options = bargauge.Options(
        display_mode=common.BarGaugeDisplayMode.BASIC,
        value_mode=common.BarGaugeValueMode.COLOR,
        name_placement=common.BarGaugeNamePlacement.LEFT,
        orientation=common.VizOrientation.HORIZONTAL,
        reduce_options=_LAST,
    )
    return panel("bargauge", head, asked([query], "instant"), options=options, defaults=defaults)


def spread(head: Head, query: Query) -> Panel:
    """How often which values were seen, over time; *query* counts the buckets of a histogram by ``le``."""
    options = heatmap.Options(
        calculate=False,
        cell_gap=1,
        # Cividis was made for all eyes.
        color=heatmap.HeatmapColorOptions(
            mode=heatmap.HeatmapColorMode.SCHEME, scheme="Cividis", fill=looks.GOOD, exponent=0.5, steps=64
        ),
        y_axis=heatmap.YAxisConfig(unit=head.unit, axis_placement=common.AxisPlacement.LEFT),
        legend=heatmap.HeatmapLegend(show=True),
        tooltip=heatmap.HeatmapTooltip(mode=common.TooltipDisplayMode.SINGLE, y_histogram=False),
        exemplars=heatmap.ExemplarConfig(color=looks.WARN),
        filter_values=heatmap.FilterValueRange(le=1e-9),
    )
    return panel("heatmap", head, asked([query], "heatmap"), options=options)


def timeline(head: Head, query: Query, mappings: Sequence[ValueMapping]) -> Panel:
    """What something was when, as stripes named and coloured by *mappings*."""
    options = statetimeline.Options(
        show_value=common.VisibilityMode.NEVER,
        merge_values=True,
        row_height=0.8,
        align_value=common.TimelineValueAlignment.LEFT,
        legend=common.VizLegendOptions(
            display_mode=common.LegendDisplayMode.LIST,
            placement=common.LegendPlacement.BOTTOM,
            show_legend=True,
        ),
        tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.SINGLE),
    )
    defaults = FieldConfig(
        mappings=list(mappings),
        color=FieldColor(mode=FieldColorModeId.THRESHOLDS),
        thresholds=looks.thresholds([(None, looks.PLAIN)]),
        custom=statetimeline.FieldConfig(fill_opacity=80, line_width=0),
    )
    return panel("state-timeline", head, asked([query], "range"), options=options, defaults=defaults)


def rows(
    head: Head, queries: Sequence[str], columns: Sequence[Column], sort: str, *, up: bool = False
) -> Panel:
    """A table: a row for each set of labels, with a value of each of *queries*, the greatest *sort* first."""
    merge = [DataTransformerConfig(id_val="merge", options={})] if len(queries) > 1 else []
    return panel(
        "table",
        head,
        asked([Query(expr) for expr in queries], "table"),
        options=row_options(sort, up),
        defaults=by_steps(looks.NEUTRAL),
        overrides=[override(column.title, **_looks_of(column)) for column in columns],
        transformations=[
            *merge,
            arrange(
                {name: c.title for c in columns for name in _names(c)}, unshown=_unshown(queries, columns)
            ),
        ],
    )


def row_options(sort: str, up: bool = False) -> table.Options:
    """How tables look: sorted by the column named *sort*."""
    return table.Options(
        show_header=True,
        cell_height=common.TableCellHeight.SM,
        sort_by=[common.TableSortByFieldState(display_name=sort, desc=not up)],
        footer=common.TableFooterOptions(show=False, reducer=["sum"]),
    )


def arrange(titles: Mapping[str, str], unshown: Sequence[str] = ()) -> DataTransformerConfig:
    """Fields in the order of *titles* and named so; the time of the query and *unshown* are left out."""
    options = {
        "excludeByName": dict.fromkeys(("Time", *unshown), True),
        "indexByName": {name: index for index, name in enumerate(titles)},
        "renameByName": dict(titles),
    }
    return DataTransformerConfig(id_val="organize", options=options)


def override(name: str, **properties: object) -> DashboardFieldConfigSourceOverrides:
    """Properties of the field named *name*; ``custom_width`` stands for ``custom.width``."""
    made = [
        DynamicConfigValue(id_val=key.replace("custom_", "custom."), value=value)
        for key, value in properties.items()
    ]
    return DashboardFieldConfigSourceOverrides(
        matcher=MatcherConfig(id_val="byName", options=name), properties=made
    )


def asked(queries: Sequence[Query], how: str) -> list[prometheus.Dataquery]:
    """*queries* as targets A, B, …; *how* is ``instant``, ``range``, ``table`` or ``heatmap``."""
    formats = {"table": PromQueryFormat.TABLE, "heatmap": PromQueryFormat.HEATMAP}
    over_time = how in ("range", "heatmap")
    return [
        prometheus.Dataquery(
            expr=query.expr,
            legend_format="{{le}}" if how == "heatmap" else query.legend,
            instant=not over_time,
            range_val=over_time,
            format_val=formats.get(how, PromQueryFormat.TIME_SERIES),
            editor_mode=prometheus.QueryEditorMode.CODE,
            ref_id=letter,
            datasource=PROMETHEUS,
        )
        for letter, query in zip(ascii_uppercase, queries, strict=False)
    ]


def link(title: str, url: str) -> list[DashboardLink]:
    """A link to *url* from a value."""
    return [DashboardLink(title=title, type_val=DashboardLinkType.LINK, url=url)]


def looks_of(
    unit: str = "",
    steps: looks.Steps | None = None,
    mappings: Sequence[ValueMapping] = (),
    to: tuple[str, str] | None = None,
    width: int | None = None,
) -> dict[str, object]:
    """The properties of one column; *to* is the title of a link and where it leads."""
    properties: dict[str, object] = {}
    if unit:
        properties["unit"] = unit
    if steps:
        properties["thresholds"] = looks.thresholds(steps)
    if mappings:
        properties["mappings"] = list(mappings)
    if steps or mappings:
        properties["custom_cellOptions"] = {"type": "color-text"}
    if to:
        title, url = to
        properties["links"] = [{"title": title, "url": url}]
    if width:
        properties["custom_width"] = width
    return properties


def _looks_of(column: Column) -> dict[str, object]:
    return looks_of(column.unit, column.steps, column.mappings, column.link, column.width)


def _names(column: Column) -> list[str]:
    """The fields that *column* may come from; if the first query alone has an answer, it has no letter."""
    if not column.is_value:
        return [column.field]
    return [f"Value #{column.field}", *(["Value"] if column.field == "A" else [])]


def _unshown(queries: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """The values that have no column: their queries only say which rows there are."""
    shown = {column.field for column in columns}
    letters = [letter for letter, _ in zip(ascii_uppercase, queries, strict=False) if letter not in shown]
    return [name for letter in letters for name in _names(Column(letter, ""))]


def by_steps(steps: looks.Steps, mappings: Sequence[ValueMapping] = ()) -> FieldConfig:
    """Values coloured by *steps*."""
    return FieldConfig(
        color=FieldColor(mode=FieldColorModeId.THRESHOLDS),
        thresholds=looks.thresholds(steps),
        mappings=list(mappings) or None,
    )


def _fixed(colour: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": colour}
