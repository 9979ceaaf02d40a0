"""A whole board: its variables, its rows of panels at their places, and the links to the other boards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardDashboardTemplating,
    DashboardDashboardTime,
    DashboardLink,
    DashboardLinkType,
    DataSourceRef,
    GridPos,
    Panel,
    RowPanel,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
    VariableType,
)

from deploy.grafana.boards.panels import PROMETHEUS

TAG = "ci-exporter"
_GRID = 24
_ALL = VariableOption(selected=True, text="All", value="$__all")
_WINDOWS = ("30m", "1h", "3h", "6h", "12h", "1d", "7d")


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a title, which can be folded; a collapsed one asks nothing before it is opened."""

    id: int
    title: str
    panels: Sequence[Panel]
    collapsed: bool = False


def board(
    uid: str,
    title: str,
    about: str,
    *,
    variables: Sequence[VariableModel],
    rows: Sequence[Row],
    since: str = "now-24h",
) -> Dashboard:
    """A board that shows the time from *since* on and refreshes every minute."""
    return Dashboard(
        uid=f"ci-exporter-{uid}",
        title=f"CI / {title}",
        description=about,
        tags=[TAG],
        timezone="browser",
        editable=True,
        graph_tooltip=DashboardCursorSync.CROSSHAIR,
        time=DashboardDashboardTime(from_val=since, to="now"),
        refresh="1m",
        panels=_placed(rows),
        templating=DashboardDashboardTemplating(list_val=list(variables)),
        links=[_other_boards()],
    )


def as_json(made: Dashboard) -> str:
    """The text that is committed: a change of the code shows as that change and no other."""
    return json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _placed(rows: Sequence[Row]) -> list[Panel | RowPanel]:
    """All panels at their places, each row below the one before; those of a collapsed row are within it."""
    placed: list[Panel | RowPanel] = []
    y = 0
    for row in rows:
        place = GridPos(x=0, y=y, w=_GRID, h=1)
        head = RowPanel(id_val=row.id, title=row.title, collapsed=row.collapsed, grid_pos=place, panels=[])
        end = _place(row.panels, y + 1)
        placed.append(head)
        if row.collapsed:
            head.panels.extend(row.panels)
            y += 1
        else:
            placed.extend(row.panels)
            y = end
    return placed


def _place(panels: Sequence[Panel], y: int) -> int:
    """Set *panels* side by side from line *y* on, and below where they do not fit; the line after them."""
    x = height = 0
    for panel in panels:
        place = panel.grid_pos
        if place is None:
            raise ValueError(f"{panel.title} has no size")
        if x + place.w > _GRID:
            x, y, height = 0, y + height, 0
        place.x, place.y = x, y
        x, height = x + place.w, max(height, place.h)
    return y + height


def _other_boards() -> DashboardLink:
    """A menu of our boards; they open with the same time range, and with what was chosen here."""
    return DashboardLink(
        title="CI boards",
        type_val=DashboardLinkType.DASHBOARDS,
        tags=[TAG],
        as_dropdown=True,
        include_vars=True,
        keep_time=True,
    )


# -- variables -----------------------------------------------------------------------------------


def source_choice(
    kind: str = "prometheus", name: str = "datasource", label: str = "Data source"
) -> VariableModel:
    """Which of Grafana's data sources of one kind the board asks."""
    return VariableModel(
        type_val=VariableType.DATASOURCE,
        name=name,
        label=label,
        query=kind,
        include_all=False,
        multi=False,
        refresh=VariableRefresh.ON_DASHBOARD_LOAD,
        options=[],
    )


def label_choice(name: str, label: str, series: str, value_of: str | None = None) -> VariableModel:
    """Some or all of the values that one label has in *series*.

    Grafana itself makes the chosen values safe in a regular expression, as long as a query says `$name` and
    not `${name:raw}`; All is `.*`, which keeps queries short.
    """
    return choice(
        name,
        label,
        PROMETHEUS,
        {
            "query": f"label_values({series}, {value_of or name})",
            "refId": "PrometheusVariableQueryEditor-VariableQuery",
            "qryType": 1,
        },
        all_value=".*",
    )


def choice(
    name: str,
    label: str,
    source: DataSourceRef,
    query: Mapping[str, object],
    *,
    all_value: str | None,
) -> VariableModel:
    """Values that *source* gives, asked anew when the time range changes; any may be chosen, at first all."""
    return VariableModel(
        type_val=VariableType.QUERY,
        name=name,
        label=label,
        datasource=source,
        query=dict(query),
        refresh=VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC,
        include_all=True,
        all_value=all_value,
        multi=True,
        current=_ALL,
        options=[],
    )


def custom_choice(name: str, label: str, values: Sequence[str], first: str, about: str) -> VariableModel:
    """One of *values*, at first *first*."""
    return VariableModel(
        type_val=VariableType.CUSTOM,
        name=name,
        label=label,
        description=about,
        query=",".join(values),
        include_all=False,
        multi=False,
        current=VariableOption(selected=True, text=first, value=first),
        options=[VariableOption(selected=one == first, text=one, value=one) for one in values],
    )


def window_choice() -> VariableModel:
    """Over how long the curves of rates and quantiles look back at each moment."""
    about = "Each point of a curve is computed from this long before it. Few runs need a long one."
    return custom_choice("window", "Look back", _WINDOWS, "1h", about)


def ci_choices(*more: VariableModel) -> list[VariableModel]:
    """Data source, provider and project, each narrowed by those before; then *more*."""
    return [
        source_choice(),
        label_choice("provider", "Provider", "ci_project_info"),
        label_choice("project", "Project", 'ci_project_info{provider=~"$provider"}'),
        *more,
        window_choice(),
    ]


def ref_choice() -> VariableModel:
    """The refs that have series of their own."""
    return label_choice("ref", "Ref", 'ci_pipeline_status{provider=~"$provider", project=~"$project"}')


def address(uid: str, **values: str) -> str:
    """Where another board is, with the same data source and time range, and variables set to *values*."""
    chosen = "".join(f"&var-{name}={value}" for name, value in values.items())
    return f"/d/ci-exporter-{uid}?${{datasource:queryparam}}{chosen}&${{__url_time_range}}"


def field(title: str) -> str:
    """In a link, the value of the column named *title* in the same row."""
    return f'${{__data.fields["{title}"]:percentencode}}'
