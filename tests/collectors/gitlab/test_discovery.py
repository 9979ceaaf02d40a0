"""Which projects are watched, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.harness import PROJECT, Lab

PATHS = ("acme/p", "acme/apps/q", "acme/apps/backend/r", "acme/apps/archive-x", "ada/own", "other/z")


@pytest.fixture
def lab_with(lab_of: Callable[..., Lab]) -> Callable[..., Lab]:
    """Makes a lab with `PATHS`, discovered once as the block says."""

    def make(**block: Any) -> Lab:
        lab = lab_of(world={"projects": 0, **block.pop("world", {})}, all_projects="none")
        for path in PATHS:
            lab.act("create_project", path=path)
        lab.restart(**block)
        return lab

    return make


def names(lab: Lab) -> list[str]:
    return [state.stored.unit.name for state in lab.exporter.rounds.states()]


def troubles(lab: Lab) -> dict[str, str]:
    """``name -> reason``."""
    return {trouble.name: trouble.reason.value for trouble in lab.exporter.rounds.troubles()}


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ({"projects": ["acme/p", "/acme/apps/q/"]}, ["acme/p"]),
        ({"projects": [101, "103"]}, ["acme/p", "acme/apps/backend/r"]),
        ({"projects": ["acme/p", 101, "ACME/P"]}, ["acme/p"]),
        ({"groups": [{"path": "acme/apps"}]}, list(PATHS[1:4])),
        ({"groups": [{"path": "acme/apps", "include_subgroups": False}]}, [PATHS[1], PATHS[3]]),
        ({"groups": [{"path": "acme", "exclude": ["*/archive-*", "acme/p"]}]}, list(PATHS[1:3])),
        ({"groups": [{"path": "acme"}, {"path": "acme/apps"}], "projects": ["acme/p"]}, list(PATHS[:4])),
        ({"users": ["ada"]}, ["ada/own"]),
        ({"all_projects": "member"}, list(PATHS)),
        ({"all_projects": "visible", "exclude": ["acme/*"]}, list(PATHS[4:])),
        ({"all_projects": "visible", "per_page": 1}, list(PATHS)),
        ({"groups": [{"path": "acme"}], "per_page": 1}, list(PATHS[:4])),
        ({"projects": ["acme/p"], "exclude": ["acme/p"]}, []),
    ],
)
def test_what_the_configuration_names(
    lab_with: Callable[..., Lab], block: dict[str, Any], found: list[str]
) -> None:
    assert names(lab_with(**block)) == found


def test_nothing_named_means_all_of_which_the_token_is_a_member(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(all_projects=None)
    assert names(lab) == [PROJECT]
    assert "membership=true" in lab.server.requests(log=True)["recent"][0]


def test_archived_projects_only_if_wanted(lab_with: Callable[..., Lab]) -> None:
    lab = lab_with(all_projects="visible")
    lab.act("archive", project="acme/p")
    lab.exporter.discover()
    assert "acme/p" not in names(lab)
    lab.restart(archived=True)
    assert "acme/p" in names(lab)


def test_names_that_lead_nowhere_cost_only_themselves_and_are_said_once(
    lab_with: Callable[..., Lab], caplog: pytest.LogCaptureFixture
) -> None:
    lab = lab_with(
        projects=["acme/none", "acme/p"], groups=[{"path": "nobody"}, {"path": "acme/apps"}], users=["eve"]
    )
    assert names(lab) == list(PATHS[:4])
    assert troubles(lab) == {"acme/none": "not_found", "nobody": "not_found", "eve": "not_found"}
    lab.exporter.discover()
    lab.exporter.discover()
    assert [record.message for record in caplog.records].count("project needs attention") == 3


def test_a_forbidden_project_is_said_so(lab_with: Callable[..., Lab]) -> None:
    lab = lab_with(projects=["acme/p", "other/z"])
    lab.server.faults({"kind": "status", "status": 403, "path": "projects/acme%2Fp$"})
    lab.exporter.discover()
    assert (names(lab), troubles(lab)) == (["other/z"], {"acme/p": "forbidden"})


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429, "retry_after": 3600}])
def test_a_failed_discovery_keeps_what_there_is(lab_with: Callable[..., Lab], fault: dict[str, int]) -> None:
    from exporter.errors import SourceError

    lab = lab_with(projects=["acme/p"], groups=[{"path": "acme/apps"}])
    lab.server.faults({"kind": "status", "path": "groups/", **fault})
    with pytest.raises(SourceError):
        lab.exporter.discover()
    assert names(lab) == list(PATHS[:4])


def test_a_moved_project_is_watched_and_the_operator_told(lab_with: Callable[..., Lab]) -> None:
    lab = lab_with(projects=["acme/p"])
    lab.act("rename_project", project="acme/p", path="acme/apps/p2")
    lab.exporter.discover()
    assert (names(lab), troubles(lab)) == (["acme/apps/p2"], {"acme/p": "moved"})


def test_projects_without_ci_or_content(lab_with: Callable[..., Lab]) -> None:
    lab = lab_with(groups=[{"path": "acme"}])
    lab.act("disable_ci", project="acme/p")
    lab.act("create_project", path="acme/void", empty=True)
    lab.exporter.discover()
    assert names(lab) == [*PATHS[1:4], "acme/void"]
    assert troubles(lab) == {"acme/p": "ci_disabled", "acme/void": "empty_repository"}
    lab.exporter.poll()
    assert lab.exporter.rounds.not_ready() is None


def test_the_series_of_a_vanished_project_vanish(lab_with: Callable[..., Lab]) -> None:
    lab = lab_with(all_projects="visible")
    lab.pipeline(project="acme/p")
    lab.run(60, 30)
    assert 'project="acme/p"' in lab.exporter.text
    lab.act("delete_project", project="acme/p")
    lab.exporter.poll()
    assert troubles(lab) == {"acme/p": "not_found"}
    assert 'project="acme/p"' not in lab.exporter.text
    lab.exporter.discover()
    assert 'project="acme/p"' not in lab.exporter.text
    assert troubles(lab) == {}


def test_a_renamed_project_keeps_its_totals_under_its_new_name(lab_with: Callable[..., Lab]) -> None:
    lab = lab_with(all_projects="visible")
    lab.exporter.poll()
    lab.pipeline(project="acme/p")
    lab.run(60, 30)
    lab.act("rename_project", project="acme/p", path="acme/new")
    lab.exporter.discover()
    lab.pipeline(project="acme/new")
    lab.run(60, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", project="acme/new") == 2
    assert 'project="acme/p"' not in lab.exporter.text


def test_a_project_created_later_counts_from_its_beginning(lab_with: Callable[..., Lab]) -> None:
    lab = lab_with(all_projects="visible")
    lab.exporter.poll()
    lab.act("create_project", path="acme/late")
    lab.pipeline(project="acme/late")
    lab.run(1_200, 300)
    lab.exporter.discover()
    lab.exporter.poll()
    assert lab.exporter.value("ci_pipeline_runs_total", project="acme/late") == 1


@pytest.mark.parametrize("shape", ["object", "null", "string", "string_ids"])
def test_a_list_of_another_shape_is_a_failed_discovery(lab_with: Callable[..., Lab], shape: str) -> None:
    from exporter.errors import BadAnswer

    lab = lab_with(groups=[{"path": "acme"}])
    lab.server.faults({"kind": "wrong_shape", "shape": shape})
    with pytest.raises(BadAnswer):
        lab.exporter.discover()
    assert names(lab) == list(PATHS[:4])
