"""The committed Grafana boards: panels, queries, and variables filled in as Grafana would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql

from tests.support.process import ROOT

FOLDER = ROOT / "deploy" / "grafana"
FILES = sorted(FOLDER.glob("*.json"))
PROMETHEUS, INFINITY = "prometheus", "yesoreyeram-infinity-datasource"
_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)(?::(\w+))?\}")
# What Grafana puts in for its own variables, of a range of ten minutes.
BUILTIN = {"__range": "10m", "__rate_interval": "1m", "__interval": "15s"}
_LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")

Json = dict[str, Any]


def load(file: Path) -> Json:
    """One board."""
    board: Json = json.loads(file.read_text())
    return board


def everything(board: Json) -> Iterator[Json]:
    """Rows and panels, those of collapsed rows too."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def panels(board: Json) -> list[Json]:
    """The panels that show something."""
    return [panel for panel in everything(board) if panel["type"] != "row"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of one panel of one board; ``chosen`` is what stands for its variables as the board opens."""

    board: str
    panel: Json
    target: Json
    chosen: Mapping[str, str]

    @property
    def name(self) -> str:
        """Where to look for it."""
        return f"{self.board} {self.panel['id']}{self.target['refId']}: {self.panel['title']}"

    @property
    def expr(self) -> str:
        """Its PromQL, with variables."""
        return str(self.target["expr"])

    @property
    def tree(self) -> Any:
        """Its syntax tree, everything chosen."""
        return promql.parse(filled(self.expr, {**self.chosen, **BUILTIN}))

    @property
    def over_time(self) -> bool:
        """Whether it asks for a range of time, not for one moment."""
        return bool(self.target["range"])


def asked(kind: str) -> list[Asked]:
    """The queries of all panels to data sources of one kind."""
    return [
        Asked(board["uid"].removeprefix("ci-exporter-"), panel, target, all_chosen(board))
        for board in map(load, FILES)
        for panel in panels(board)
        for target in panel.get("targets", ())
        if target["datasource"]["type"] == kind
    ]


@dataclass(frozen=True, slots=True)
class Values:
    """A variable that offers the values of ``label`` in the series of ``selector``; see :class:`Asked`."""

    board: str
    name: str
    selector: str
    label: str
    chosen: Mapping[str, str]

    @property
    def tree(self) -> Any:
        """The syntax tree of the selector, everything chosen."""
        return promql.parse(filled(self.selector, self.chosen))


def prometheus_variables() -> list[Values]:
    """The variables of all boards that Prometheus gives values to."""
    found = []
    for board in map(load, FILES):
        for variable in board["templating"]["list"]:
            if variable.get("datasource", {}).get("type") != PROMETHEUS:
                continue
            parts = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert parts, variable
            found.append(Values(board["uid"], variable["name"], parts[1], parts[2], all_chosen(board)))
    return found


def api_questions() -> list[tuple[str, Json]]:
    """Name and query of every question to the JSON API, of panels and of variables; ``chosen`` is added."""
    found = [(one.name, {**one.target, "chosen": one.chosen}) for one in asked(INFINITY)]
    for board in map(load, FILES):
        for variable in board["templating"]["list"]:
            if variable.get("datasource", {}).get("type") == INFINITY:
                query = {**variable["query"]["infinityQuery"], "chosen": all_chosen(board)}
                found.append((f"{board['uid']} / {variable['name']}", query))
    return found


def names(text: str) -> set[str]:
    """The variables that *text* uses."""
    return {match[1] or match[2] for match in _VARIABLE.finditer(text) if not (match[1] or "").isdigit()}


def filled(text: str, chosen: Mapping[str, str]) -> str:
    """*text* with its variables replaced; one that is not in *chosen* is an error."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return match[0] if name.isdigit() else chosen[name]

    return _VARIABLE.sub(value, text)


def all_chosen(board: Json) -> dict[str, str]:
    """What Grafana puts in for each variable as a board opens: All, or the value that was set."""
    chosen = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            chosen[variable["name"]] = variable.get("allValue", "")
        elif variable["type"] == "custom":
            chosen[variable["name"]] = variable["current"]["value"]
    return chosen


def nodes(tree: Any) -> list[Any]:
    """Every part of a syntax tree."""
    found: list[Any] = []
    promql.walk(tree, lambda node: found.append(node))
    return found


def selectors(tree: Any) -> list[tuple[str, set[str]]]:
    """Name and labels of each selector; the name is empty where it is not one, but a pattern."""
    found = []
    for node in nodes(tree):
        selector = getattr(node, "vector_selector", node)
        if isinstance(selector, promql.VectorSelector):
            labels = {matcher.name for matcher in selector.matchers.matchers} - {"__name__"}
            found.append((selector.name or "", labels))
    return found


def grouped(tree: Any) -> set[str]:
    """The labels that aggregations and matchings name."""
    found: set[str] = set()
    for node in nodes(tree):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql.AggregateExpr) and modifier:
            found |= set(modifier.labels)
        elif isinstance(node, promql.BinaryExpr) and modifier and modifier.matching:
            found |= set(modifier.matching.labels)
    return found


def made_labels(tree: Any) -> set[str]:
    """The labels that label_replace() and label_join() make."""
    return {
        node.args[1].val if hasattr(node.args[1], "val") else str(node.args[1]).strip('"')
        for node in nodes(tree)
        if isinstance(node, promql.Call) and node.func.name.startswith("label_")
    }
