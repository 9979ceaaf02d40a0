"""Every deployment that ended counts once, whatever fails meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.delivered import at, counted, expected_deployments
from tests.support.harness import PROJECT, DeploymentsLab
from tests.support.truth import difference

Labs = Callable[..., DeploymentsLab]
FAULTS = (
    {"kind": "status", "status": 500, "probability": 0.4},
    {"kind": "cut", "probability": 0.4},
    {"kind": "truncated_json", "probability": 0.4},
    {"kind": "drop", "probability": 0.4},
    {"kind": "wrong_shape", "shape": "string_ids", "probability": 0.5},
    {"kind": "status", "status": 429, "retry_after": 0, "probability": 0.4},
)


def wrong(lab: DeploymentsLab, since: str) -> dict[tuple[str, ...], tuple[int, int]]:
    return difference(
        expected_deployments(lab.server.deployments(), since),
        counted(lab.exporter.text, "project", "tier", "status"),
    )


def test_through_faults_and_restarts(deployments_of: Labs) -> None:
    lab = deployments_of(per_page=2)
    since = at(lab.clock.now())
    lab.exporter.poll()
    for fault in FAULTS:
        lab.server.faults(fault)
        for environment in ("production", "staging", "review/a"):
            lab.deploy(environment)
            lab.deploy(environment, outcome="failed")
        lab.act("deploy", project=PROJECT, environment="production", status="failed")
        lab.run(90, 30)
        lab.act("stop_environment", project=PROJECT, environment="review/a")
        lab.server.faults()
        lab.restart()
        lab.server.faults(fault)
        lab.exporter.poll()
    lab.server.faults()
    lab.run(300, 60, tries=3)
    assert wrong(lab, since) == {}
    assert sum(counted(lab.exporter.text).values()) > 50


def test_a_whole_world(deployments_of: Labs) -> None:
    stories = {"deleted": 0.0}
    world = {"projects": 6, "pipelines_per_hour": 400, "stories": stories, "seed": 7}
    lab = deployments_of(world=world, groups=[{"path": "acme"}], all_projects=None, per_page=20)
    since = at(lab.clock.now())
    lab.exporter.poll()
    lab.run(2400, 400)
    lab.act("pause")
    lab.run(3600, 1200)
    assert wrong(lab, since) == {}
    assert sum(counted(lab.exporter.text).values()) > 80


def test_history_is_counted_from_the_first_day_that_is_read(deployments_of: Labs) -> None:
    world = {"projects": 4, "history_days": 4, "history_pipelines": 400}
    lab = deployments_of(
        world=world, groups=[{"path": "acme"}], all_projects=None, per_page=20, backfill_days=2
    )
    lab.exporter.poll()
    (counts_from,) = {
        lab.exporter.store.position(state.stored.id).counts_from for state in lab.exporter.rounds.states()
    }
    assert wrong(lab, at(counts_from)) == {}
    assert sum(counted(lab.exporter.text).values()) > 50


@pytest.mark.parametrize("per_page", [1, 100])
def test_many_at_one_instant(deployments_of: Labs, per_page: int) -> None:
    lab = deployments_of(per_page=per_page)
    since = at(lab.clock.now())
    lab.exporter.poll()
    for _ in range(12):
        lab.act("deploy", project=PROJECT, environment="production", status="failed")
    lab.run(60, 30)
    assert wrong(lab, since) == {}


def test_one_that_cannot_be_understood_is_put_off(deployments_of: Labs) -> None:
    lab = deployments_of()
    lab.exporter.poll()
    lab.act("deploy", project=PROJECT, environment="production", status="success")
    lab.advance(150)
    lab.server.faults(
        {
            "kind": "status",
            "status": 200,
            "body": BROKEN,
            "path": "deployments[?].*updated_after",
            "count": 1,
        },
        {"kind": "status", "status": 200, "body": BROKEN[1:-1], "path": "deployments/1", "count": 2},
    )
    lab.exporter.poll()
    (state,) = lab.exporter.rounds.states()
    assert state.trouble
    assert "deployment 1 is put off" in state.trouble.detail
    assert not state.error
    lab.run(60, 30)
    assert lab.exporter.value("ci_deployment_finished_total") is None
    lab.restart().poll()
    assert lab.exporter.rounds.states()[0].trouble is None
    assert lab.exporter.value("ci_deployment_finished_total", status="success") == 1


@pytest.mark.parametrize(("status", "is_forgotten"), [(404, True), (500, False)])
def test_one_that_is_put_off_may_be_gone(deployments_of: Labs, status: int, is_forgotten: bool) -> None:
    lab = deployments_of()
    lab.exporter.poll()
    lab.advance(150)
    lab.server.faults(
        {
            "kind": "status",
            "status": 200,
            "body": BROKEN,
            "path": "deployments[?].*updated_after",
            "count": 1,
        },
        {"kind": "status", "status": status, "path": "deployments/1"},
    )
    lab.exporter.poll()
    lab.run(120, 60)
    (state,) = lab.exporter.rounds.states()
    assert (state.trouble is None) == is_forgotten
    assert not state.error, "others go on"


BROKEN = '[{"id":1,"updated_at":"2026-03-02T08:02:30.000Z","status":7}]'
