"""The Grafana boards are current and complete, and ask only for what there is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import boards
from tests.support.process import ROOT, run_cli

BOARDS = {file.stem: boards.load(file) for file in boards.FILES}
PANELS = [
    pytest.param(panel, id=f"{uid}-{panel['id']}")
    for uid, board in BOARDS.items()
    for panel in boards.panels(board)
]
EXPRESSIONS = [pytest.param(one, id=one.name) for one in boards.asked(boards.PROMETHEUS)]
# Of Prometheus itself, and of the process, which have no place in our catalogue.
FOREIGN = {
    **{name: set() for name in ("up", "scrape_samples_scraped", "scrape_duration_seconds")},
    **{
        f"process_{name}": set()
        for name in ("start_time_seconds", "cpu_seconds_total", "open_fds", "max_fds")
    },
    "process_resident_memory_bytes": set(),
    "ALERTS": {"alertname", "alertstate"},
}
# Prometheus gives these to every series; `pod` where it runs in Kubernetes.
TARGET = {"job", "instance", "pod"}
# Okabe and Ito, and two greys.
COLOURS = {"#56B4E9", "#E69F00", "#D55E00", "#009E73", "#F0E442", "#CC79A7", "#999999", "#CCCCCC", "#666666"}


@pytest.fixture(scope="module")
def catalogue() -> dict[str, set[str]]:
    """``series -> labels`` of every family, as Prometheus has them."""
    series = dict(FOREIGN)
    for family in json.loads(run_cli("metrics", "--format", "json").stdout):
        name = family["name"]
        # honor_labels is off in deploy/prometheus/scrape.yaml: our `job` gives way to that of the target.
        labels = {"exported_job" if label == "job" else label for label in family["labels"]}
        if family["type"] == "histogram":
            series |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            series[name] = labels
    return series


def test_the_committed_boards_are_what_the_code_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "deploy.grafana.boards", tmp_path], cwd=ROOT, check=True)
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert {file.name: file.read_text() for file in boards.FILES} == made, "run: make boards"


def test_every_board_that_was_asked_for_is_there() -> None:
    kinds = ("overview", "project", "jobs", "runners", "delivery", "reports", "health", "api")
    assert set(BOARDS) == {f"ci-exporter-{kind}" for kind in kinds}


@pytest.mark.parametrize("uid", BOARDS)
def test_boards_refresh_and_link_to_each_other(uid: str) -> None:
    board = BOARDS[uid]
    assert (board["uid"], board["refresh"], board["time"]["to"]) == (uid, "1m", "now")
    assert board["description"]
    assert len(uid) <= 40
    (link,) = board["links"]
    assert (link["type"], link["includeVars"], link["keepTime"]) == ("dashboards", True, True)
    assert set(link["tags"]) <= set(board["tags"])


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_is_complete(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert defaults["unit"]
    assert defaults["noValue"]
    assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH"[: len(panel["targets"])])


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel.values[0]["type"] == "table"])
def test_every_number_in_a_table_has_a_unit_or_words(panel: dict[str, Any]) -> None:
    titles = panel["transformations"][-1]["options"]["renameByName"]
    if panel["targets"][0]["datasource"]["type"] == boards.PROMETHEUS:
        numbers = {title for field, title in titles.items() if field.startswith("Value")}
    else:
        columns = panel["targets"][0]["columns"]
        numbers = {column["text"] for column in columns if column["type"] == "number"}
    told = {
        override["matcher"]["options"]
        for override in panel["fieldConfig"]["overrides"]
        if {one["id"] for one in override["properties"]} & {"unit", "mappings"}
    }
    assert numbers <= told
    assert {one["displayName"] for one in panel["options"]["sortBy"]} <= set(titles.values())


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_have_ids_of_their_own_and_do_not_overlap(uid: str) -> None:
    every = list(boards.everything(BOARDS[uid]))
    ids = [panel["id"] for panel in every]
    assert sorted(ids) == sorted(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[uid]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("file", boards.FILES, ids=lambda file: file.stem)
def test_no_data_source_is_named(file: Path) -> None:
    assert set(re.findall(r'"uid": "([^"]*)"', file.read_text())) - {file.stem} <= {
        "${datasource}",
        "${infinity}",
    }


@pytest.mark.parametrize("file", boards.FILES, ids=lambda file: file.stem)
def test_colours_can_be_told_apart_by_everyone(file: Path) -> None:
    assert set(re.findall(r"#[0-9A-Fa-f]{6}\b", file.read_text())) <= COLOURS
    assert not re.findall(r'"(?:red|green|yellow|orange|dark-\w+|semi-dark-\w+)"', file.read_text())


@pytest.mark.parametrize("uid", BOARDS)
def test_variables_chain_and_are_safe(uid: str) -> None:
    known: list[str] = []
    for variable in BOARDS[uid]["templating"]["list"]:
        if variable["type"] == "query":
            assert boards.names(json.dumps(variable["query"])) - {"__from", "__to"} <= set(known)
            assert variable["includeAll"]
            assert variable["multi"]
            assert variable["datasource"]["uid"] == f"${{{known[0]}}}"
        known.append(variable["name"])
    assert len(known) >= 3
    text = json.dumps(BOARDS[uid]["panels"])
    used = boards.names(text) - {"datasource", "__url_time_range", "__data", "__value"}
    assert {name for name in used if not name.startswith("__")} <= set(known)
    assert ":raw}" not in text


@pytest.mark.parametrize("uid", ["ci-exporter-overview", "ci-exporter-project", "ci-exporter-jobs"])
def test_boards_of_runs_begin_with_source_provider_project(uid: str) -> None:
    names = [variable["name"] for variable in BOARDS[uid]["templating"]["list"]]
    assert names[:3] == ["datasource", "provider", "project"]
    assert uid == "ci-exporter-overview" or names[3] == "ref"


def test_links_lead_to_boards_and_variables_that_there_are() -> None:
    found = set()
    for board in BOARDS.values():
        for uid, rest in re.findall(r'"/d/([\w-]+)\?([^"]*?)"[,}\n]', json.dumps(board).replace('\\"', "'")):
            names = {variable["name"] for variable in BOARDS[uid]["templating"]["list"]}
            assert set(re.findall(r"var-(\w+)=", rest)) <= names
            assert "${__url_time_range}" in rest
            found.add(uid)
    assert found == {"ci-exporter-project"}


@pytest.mark.parametrize("one", EXPRESSIONS)
def test_every_metric_and_label_exists(one: boards.Asked, catalogue: dict[str, set[str]]) -> None:
    tree = one.tree
    available = TARGET | boards.made_labels(tree)
    found = boards.selectors(tree)
    assert found
    for name, labels in found:
        assert name in catalogue
        assert labels <= catalogue[name] | TARGET, name
        available |= catalogue[name]
    assert boards.grouped(tree) <= available


@pytest.mark.parametrize("values", boards.prometheus_variables(), ids=lambda one: f"{one.board}-{one.name}")
def test_every_variable_asks_for_a_label_that_exists(
    values: boards.Values, catalogue: dict[str, set[str]]
) -> None:
    for name, labels in boards.selectors(values.tree):
        patterns = re.findall(r'__name__=~"([^"]*)"', values.selector)
        for family in patterns[0].split("|") if patterns else [name]:
            assert labels | {values.label} <= catalogue[family] | TARGET


@pytest.mark.parametrize("one", EXPRESSIONS)
def test_totals_of_replicas_are_taken_once(one: boards.Asked) -> None:
    # What the exporter says of itself differs from replica to replica, and has its own board.
    shared = [name for name, _ in boards.selectors(one.tree)]
    if one.board in ("health", "api") or "ALERTS" in shared:
        return
    assert "max without (instance, pod)" in one.expr or re.search(
        r"(max|count) by \(|label_replace", one.expr
    )


def test_every_family_of_ci_is_on_a_board(catalogue: dict[str, set[str]]) -> None:
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for one in boards.asked(boards.PROMETHEUS)
        for name, _ in boards.selectors(one.tree)
    }
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in catalogue}
    assert sorted(families - shown) == sorted(NOT_SHOWN)


# Each with the reason why no panel needs it.
NOT_SHOWN = {
    "ci_exporter_info": "the same as ci_exporter_build_info, under act_runner's name",
    "ci_exporter_uptime_seconds": "process_start_time_seconds says it, also without the collector runner",
    "ci_exporter_report_log_duration_seconds": "buffer and results tell of trouble with sinks earlier",
}


def test_provisioning_fits_the_boards() -> None:
    folder = boards.FOLDER / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "ci-exporter.yaml").read_text())["datasources"]
    assert {source["type"] for source in sources} == {boards.PROMETHEUS, boards.INFINITY}
    assert all(source["uid"] and source["url"] and source["access"] == "proxy" for source in sources)
    (provider,) = yaml.safe_load((folder / "dashboards" / "ci-exporter.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"]
