"""What is shown of Gitea's runners, and of the jobs that wait for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from collectors.gitea.settings import RunnersConfig
from tests.support.giteas import GiteaFleetLab, gitea


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[GiteaFleetLab]:
    with gitea(runners=3) as server:
        server.action("create_project", path="acme/p")
        lab = GiteaFleetLab(server, tmp_path)
        yield lab
        lab.close()


def test_the_runners_and_what_they_do(fleet: GiteaFleetLab) -> None:
    fleet.act("set_runner", id=3, online=False)
    fleet.pipeline({"name": "unit", "seconds": 600})
    fleet.run(30, 30)
    assert fleet.exporter.lines("ci_runners") == [
        'ci_runners{provider="gitea",runner_type="instance",status="offline"} 1.0',
        'ci_runners{provider="gitea",runner_type="instance",status="online"} 2.0',
    ]
    assert fleet.exporter.value("ci_runner_online", runner="3") == 0
    assert fleet.exporter.value("ci_runner_jobs_running") == 1
    assert fleet.exporter.value("ci_runner_jobs_running", runner="3") is None
    info = fleet.exporter.lines("ci_runner_info", runner="1")
    assert ['description="runner-1"' in line and 'tags="linux"' in line for line in info] == [True]


def test_the_queue_by_labels_and_by_who_may_take_it(fleet: GiteaFleetLab) -> None:
    for labels in (["linux"], ["linux"], ["riscv"]):
        fleet.pipeline({"name": "unit", "queue": 600, "labels": labels})
    fleet.run(30, 30)
    assert fleet.exporter.lines("ci_runner_queue_jobs") == [
        'ci_runner_queue_jobs{provider="gitea",runner_type="instance",tags="linux"} 2.0',
        'ci_runner_queue_jobs{provider="gitea",runner_type="none",tags="riscv"} 1.0',
    ]


def test_a_round_costs_three_calls(fleet: GiteaFleetLab) -> None:
    fleet.calls()
    fleet.run(60, 60)
    assert fleet.calls() == {"GET /runners": 1, "GET /jobs": 2}


def test_a_scope_that_may_not_be_read_costs_only_itself(fleet: GiteaFleetLab) -> None:
    fleet.restart(organizations=["acme"])
    fleet.server.faults({"kind": "status", "status": 403, "path": "/orgs/acme/"})
    fleet.run(60, 60)
    assert fleet.exporter.value("ci_runners") == 3
    fleet.server.faults({"kind": "status", "status": 403})
    fleet.run(60, 60)
    (state,) = fleet.exporter.rounds.states()
    assert state.trouble is not None
    assert "403" in state.trouble.detail


def test_something_must_be_watched() -> None:
    with pytest.raises(ValidationError, match="needs `instance: true`"):
        RunnersConfig()
    with pytest.raises(ValidationError, match="owner/name"):
        RunnersConfig(repositories=("alone",))


def test_more_runners_than_a_page_holds(tmp_path: Path) -> None:
    with gitea(runners=120) as server:
        lab = GiteaFleetLab(server, tmp_path, max_runners=100)
        lab.run(60, 60)
        assert lab.exporter.value("ci_runners") == 120
        assert len(lab.exporter.lines("ci_runner_info")) == 100
        lab.close()


def test_runners_and_jobs_of_organizations_and_repositories(fleet: GiteaFleetLab) -> None:
    fleet.pipeline({"name": "unit", "queue": 600})
    fleet.restart(instance=False, organizations=["acme"], repositories=["acme/p"])
    fleet.run(60, 60)
    assert fleet.exporter.value("ci_runners") == 0  # those of the instance are in no other list
    assert fleet.exporter.value("ci_runner_queue_jobs", runner_type="none", tags="linux") == 1
    fleet.restart(queue=False)
    fleet.run(60, 60)
    assert fleet.exporter.value("ci_runner_queue_jobs") is None
