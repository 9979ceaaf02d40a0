"""The fleet: who is online and at work, and what waits for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from collectors.github import GitHubRunners
from tests.support.githubs import GitHubLab, github

SELF_HOSTED = {"labels": ["self-hosted", "linux"], "queue": 600}


class RunnersLab(GitHubLab):
    """A lab in which the runners of an organisation are watched."""

    cls = GitHubRunners
    watched: ClassVar[Mapping[str, Any]] = {"organizations": ["acme"], "repositories": ["acme/p"]}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunnersLab]:
    with github() as server:
        server.action("create_project", path="acme/p")
        server.action("create_project", path="acme/q")
        lab = RunnersLab(server, tmp_path)
        yield lab
        lab.close()


def waiting(lab: RunnersLab) -> dict[tuple[str, str], float]:
    lines = lab.exporter.lines("ci_runner_queue_jobs")
    return {
        (line.split('runner_type="')[1].split('"')[0], line.split('tags="')[1].split('"')[0]): float(
            line.rpartition(" ")[2]
        )
        for line in lines
    }


def test_runners_are_shown_as_they_are(lab: RunnersLab) -> None:
    lab.act("set_offline", runners=[2])
    lab.pipeline({"name": "unit", "seconds": 600})
    lab.advance(30)
    lab.exporter.poll()
    assert lab.exporter.value("ci_runners", runner_type="group", status="online") == 3
    assert lab.exporter.value("ci_runners", runner_type="group", status="offline") == 1
    assert lab.exporter.value("ci_runner_online", runner="2") == 0
    assert lab.exporter.value("ci_runner_jobs_running") == 1
    assert lab.exporter.value("ci_runner_jobs_running", runner="2") is None
    (info,) = lab.exporter.lines("ci_runner_info", runner="1")
    assert 'tags="linux,self-hosted"' in info
    assert 'platform="linux"' in info


def test_what_waits_is_told_by_labels_and_by_who_may_take_it(lab: RunnersLab) -> None:
    lab.pipeline({"name": "a", **SELF_HOSTED}, {"name": "b", **SELF_HOSTED}, {"name": "c", "seconds": 900})
    lab.pipeline({"name": "d", "labels": ["gpu"], "queue": 600}, project="acme/q")
    lab.pipeline({"name": "e", "labels": ["ubuntu-latest"], "queue": 600})
    lab.advance(60)
    lab.exporter.poll()
    assert waiting(lab) == {("group", "linux,self-hosted"): 2, ("none", "gpu"): 1}
    began = lab.exporter.value("ci_runner_queue_oldest_timestamp_seconds", tags="gpu")
    assert began == pytest.approx(lab.clock.now().timestamp() - 59, abs=2)
    lab.advance(900)
    lab.exporter.poll()
    assert waiting(lab) == {}


def test_an_unchanged_queue_costs_nothing(lab: RunnersLab) -> None:
    lab.pipeline({"name": "a", **SELF_HOSTED})
    lab.advance(60)
    lab.exporter.poll()
    used = lab.server.limits()["used"]
    lab.exporter.poll()
    assert lab.server.limits()["used"] - used == 2  # the two lists of runners
    assert waiting(lab) == {("group", "linux,self-hosted"): 1}


def test_what_may_not_be_read_costs_only_itself(lab: RunnersLab) -> None:
    lab.server.faults({"kind": "status", "status": 403, "path": "/orgs/acme/actions"})
    lab.exporter.poll()
    assert lab.exporter.value("ci_runners") == 0
    lab.server.faults({"kind": "status", "status": 404, "path": "/actions/runners"})
    (visit,) = lab.exporter.poll()
    assert visit is not None
    assert visit.result.value == "error"


@pytest.mark.parametrize("wrong", ["object", "null", "string", "string_ids"])
def test_another_shape_is_a_failed_poll(
    lab: RunnersLab, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    lab.pipeline({"name": "a", **SELF_HOSTED})
    lab.advance(60)
    lab.server.faults({"kind": "wrong_shape", "shape": wrong})
    lab.exporter.poll()
    assert "poll raised" not in caplog.text


def test_runners_of_an_enterprise_are_shown_and_take_the_jobs_of_its_organisations(lab: RunnersLab) -> None:
    lab.restart(enterprises=["acme-inc"], organizations=[], repositories=["acme/p"])
    lab.pipeline({"name": "a", **SELF_HOSTED})
    lab.advance(60)
    lab.exporter.poll()
    assert lab.exporter.value("ci_runners", runner_type="instance", status="online") == 4
    assert waiting(lab) == {("instance", "linux,self-hosted"): 1}
    lab.restart(repositories=[])
    lab.exporter.poll()
    assert lab.exporter.value("ci_runners", runner_type="instance", status="online") == 4
    assert waiting(lab) == {}


def test_runners_of_two_scopes_with_the_same_ids_are_told_apart(lab: RunnersLab) -> None:
    lab.restart(enterprises=["acme"])
    lab.exporter.poll()
    for kind in ("instance", "group"):
        assert lab.exporter.value("ci_runners", runner_type=kind, status="online") == 4
    labels = {line.split('runner="')[1].split('"')[0] for line in lab.exporter.lines("ci_runner_info")}
    assert labels == {f"{scope}/acme/{number}" for scope in ("orgs", "enterprises") for number in range(1, 5)}


def test_an_enterprise_that_may_not_be_read_is_told_from_an_organisation_of_its_name(lab: RunnersLab) -> None:
    lab.restart(enterprises=["acme"])
    lab.server.faults({"kind": "status", "status": 403, "path": "/enterprises/acme/actions/runners"})
    lab.exporter.poll()
    trouble = lab.exporter.rounds.states()[0].trouble
    assert trouble is not None
    assert (trouble.name, trouble.reason) == ("enterprise acme", "forbidden")


def test_something_must_be_named() -> None:
    with pytest.raises(ValueError, match="organizations"):
        GitHubRunners.config_model.model_validate({})


def test_no_more_than_so_many_have_series(lab: RunnersLab) -> None:
    lab.restart(max_runners=2)
    lab.exporter.poll()
    assert len(lab.exporter.lines("ci_runner_info")) == 2
    assert lab.exporter.value("ci_runners", runner_type="group", status="online") == 4
