"""Environments and deployments: what is shown of them, what is counted, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from exporter.rounds.visits import Visit
from exporter.runnermetrics import FetchResult
from tests.support.harness import PROJECT, DeploymentsLab

Labs = Callable[..., DeploymentsLab]
LIST = "GET /projects/:id/deployments"
ENVIRONMENTS = "GET /projects/:id/environments"
BRANCH = "GET /projects/:id/repository/branches/:id"
COMPARE = "GET /projects/:id/repository/compare"
INFO, STATUS = "ci_deployment_environment_info", "ci_deployment_status"
ENDED = "ci_deployment_finished_total"


@pytest.fixture
def lab(deployments_of: Labs) -> DeploymentsLab:
    made = deployments_of()
    made.exporter.poll()
    return made


def shown(lab: DeploymentsLab, family: str) -> dict[str, str]:
    """``environment -> status`` or tier of the family's series."""
    last = "status" if family == STATUS else "tier"
    return {
        line.split('environment="')[1].split('"')[0]: line.split(f'{last}="')[1].split('"')[0]
        for line in lab.exporter.lines(family)
    }


def value(lab: DeploymentsLab, name: str, environment: str = "production") -> float | None:
    return lab.exporter.value(name, environment=environment)


def test_an_environment_shows_its_newest_deployment(lab: DeploymentsLab) -> None:
    lab.deploy(queue=10, run=50)
    lab.run(90, 30)
    (truth,) = lab.server.deployments()
    created, ended = (datetime.fromisoformat(text) for text in (truth["created_at"], truth["ends"][0]["at"]))
    assert shown(lab, INFO) == {"production": "production"}
    assert shown(lab, STATUS) == {"production": "success"}
    assert value(lab, "ci_deployment_last_created_timestamp_seconds") == created.timestamp()
    assert value(lab, "ci_deployment_last_finished_timestamp_seconds") == ended.timestamp()
    assert value(lab, "ci_deployment_last_duration_seconds") == 60.0
    assert value(lab, "ci_deployment_last_job_duration_seconds") == 50.0
    lab.deploy(run=600)
    lab.run(60, 30)
    assert shown(lab, STATUS) == {"production": "running"}
    assert value(lab, "ci_deployment_last_finished_timestamp_seconds") is None
    assert value(lab, "ci_deployment_last_duration_seconds") is None


def test_a_deployment_that_never_began_is_not_shown(lab: DeploymentsLab) -> None:
    lab.deploy("staging")
    lab.run(60, 30)
    lab.pipeline(
        {"name": "unit", "stage": "test", "outcome": "failed"},
        {"name": "ship", "stage": "ship", "environment": "staging"},
    )
    lab.pipeline({"name": "ship", "environment": "staging", "when": "manual"})
    lab.run(120, 30)
    assert {one["status"] for one in lab.server.deployments()} == {"success", "skipped", "created"}
    assert shown(lab, STATUS) == {"staging": "success"}
    assert lab.exporter.value(ENDED) == 1


def test_deployments_are_counted_by_tier_and_result(lab: DeploymentsLab) -> None:
    lab.deploy("production")
    lab.deploy("eu/production", outcome="failed")
    lab.deploy("staging", outcome="canceled")
    lab.deploy("qa")
    lab.deploy("blue")
    lab.run(120, 30)
    assert {
        tuple(line.split(f'{label}="')[1].split('"')[0] for label in ("tier", "status"))
        for line in lab.exporter.lines(ENDED)
    } == {
        ("production", "success"),
        ("production", "failed"),
        ("staging", "canceled"),
        ("testing", "success"),
        ("other", "success"),
    }
    assert lab.exporter.value(ENDED, tier="testing", status="failed") == 0


def test_the_tier_of_a_stopped_environment_is_asked_for(lab: DeploymentsLab) -> None:
    lab.deploy("staging")
    lab.advance(60)
    lab.act("stop_environment", project=PROJECT, environment="staging")
    lab.run(60, 30)
    assert shown(lab, INFO) == {}
    assert lab.exporter.value(ENDED, tier="staging", status="success") == 1


def test_many_stopped_environments_are_read_as_one_list(lab: DeploymentsLab) -> None:
    for number in range(8):
        lab.deploy(f"review/{number}")
    lab.advance(60)
    for number in range(8):
        lab.act("stop_environment", project=PROJECT, environment=f"review/{number}")
    lab.calls()
    lab.exporter.poll()
    assert lab.calls()[ENVIRONMENTS] == 2
    assert lab.exporter.value(ENDED, tier="development", status="success") == 8


def test_lead_time_is_from_the_commit_to_the_end(lab: DeploymentsLab) -> None:
    lab.deploy(queue=60, run=600)
    lab.deploy(outcome="failed")
    lab.run(900, 60)
    (truth,) = [one for one in lab.server.deployments() if one["status"] == "success"]
    seconds = datetime.fromisoformat(truth["ends"][0]["at"]) - datetime.fromisoformat(truth["committed_at"])
    assert lab.exporter.value("ci_deployment_lead_time_seconds_count", tier="production") == 1
    assert lab.exporter.value("ci_deployment_lead_time_seconds_sum") == pytest.approx(seconds.total_seconds())


def test_a_deployment_without_a_job_counts_and_has_no_lead_time(lab: DeploymentsLab) -> None:
    lab.act("deploy", project=PROJECT, environment="production", status="success")
    lab.run(60, 30)
    assert lab.exporter.value(ENDED, status="success") == 1
    assert lab.exporter.value("ci_deployment_lead_time_seconds_count") is None
    assert value(lab, "ci_deployment_last_finished_timestamp_seconds") is not None
    assert value(lab, "ci_deployment_last_job_duration_seconds") is None
    assert value(lab, "ci_deployment_behind_commits") == 0


def test_review_apps_are_shown_as_one(lab: DeploymentsLab) -> None:
    lab.deploy("review/one")
    lab.run(60, 30)
    lab.deploy("review/two", outcome="failed")
    lab.run(60, 30)
    assert shown(lab, INFO) == {"review/*": "development"}
    assert shown(lab, STATUS) == {"review/*": "failed"}
    assert value(lab, "ci_deployment_environments", "review/*") == 2
    assert value(lab, "ci_deployment_behind_commits", "review/*") is None
    lab.act("stop_environment", project=PROJECT, environment="review/one")
    lab.run(600, 300)
    assert value(lab, "ci_deployment_environments", "review/*") == 1
    lab.act("stop_environment", project=PROJECT, environment="review/two")
    lab.run(600, 300)
    assert shown(lab, INFO) == shown(lab, STATUS) == {}
    assert lab.exporter.value(ENDED, tier="development") == 2, "totals stay"


def test_environments_are_chosen_by_globs(deployments_of: Labs) -> None:
    lab = deployments_of(environments={"include": ["prod*", "review/*"], "exclude": ["*-old"], "grouped": []})
    for name in ("production", "prod-old", "staging", "review/one", "review/two"):
        lab.deploy(name)
    lab.run(120, 30)
    assert set(shown(lab, INFO)) == {"production", "review/one", "review/two"}
    assert lab.exporter.value(ENDED, status="success") == 5, "all of them are counted"


def test_no_more_environments_are_shown_than_allowed(deployments_of: Labs) -> None:
    lab = deployments_of(environments={"max_environments": 2})
    for name in ("one", "two", "three"):
        lab.deploy(name)
        lab.run(60, 30)
    assert set(shown(lab, STATUS)) == {"one", "two"}
    assert lab.exporter.value(ENDED, status="success") == 3
    assert lab.exporter.exposition.dropped[INFO, "max_environments"] > 0


def test_behind_is_told_in_commits_and_seconds(lab: DeploymentsLab) -> None:
    lab.deploy()
    lab.run(60, 30)
    assert value(lab, "ci_deployment_behind_commits") == 0
    assert value(lab, "ci_deployment_behind_seconds") == 0
    lab.pipeline()
    lab.advance(40)
    lab.pipeline()
    lab.run(600, 300)
    assert value(lab, "ci_deployment_behind_commits") == 2
    assert value(lab, "ci_deployment_behind_seconds") == 100
    lab.deploy(outcome="failed")
    lab.run(600, 300)
    assert value(lab, "ci_deployment_behind_commits") == 3, "what failed is not there"
    lab.deploy()
    lab.run(60, 30)
    assert value(lab, "ci_deployment_behind_commits") == 0


def test_behind_can_be_switched_off(deployments_of: Labs) -> None:
    lab = deployments_of(behind=False)
    lab.deploy()
    lab.run(600, 60)
    assert value(lab, "ci_deployment_behind_commits") is None
    assert not {BRANCH, COMPARE} & lab.calls().keys()


def test_what_was_deployed_long_ago_is_shown_but_not_counted(deployments_of: Labs) -> None:
    lab = deployments_of(per_page=2)
    lab.deploy("production")
    lab.deploy("staging", outcome="failed")
    lab.advance(120)
    for _ in range(3):
        lab.deploy("qa")
    lab.advance(86_400)
    late = lab.restart(instance="another")
    late.poll()
    assert shown(lab, STATUS) == {"production": "success", "staging": "failed", "qa": "success"}
    assert value(lab, "ci_deployment_behind_commits") == 4
    assert late.value(ENDED) is None


def test_backfill_counts_what_was_deployed_before(deployments_of: Labs) -> None:
    lab = deployments_of()
    lab.deploy("production")
    lab.advance(3600)
    late = lab.restart(instance="another", backfill_days=1)
    late.poll()
    assert late.value(ENDED, status="success") == 1


def test_a_steady_round_costs_one_call(lab: DeploymentsLab) -> None:
    lab.deploy()
    lab.run(420, 60)
    lab.calls()
    lab.run(120, 60)
    assert lab.calls() == {LIST: 2}
    lab.run(300, 300)
    assert lab.calls() == {LIST: 1, ENVIRONMENTS: 1, BRANCH: 1}
    lab.pipeline()
    lab.run(300, 300)
    assert lab.calls() == {LIST: 1, ENVIRONMENTS: 1, BRANCH: 1, COMPARE: 1}


def test_a_restart_costs_two_calls_more(lab: DeploymentsLab) -> None:
    lab.deploy()
    lab.run(200, 50)
    before = lab.exporter.text
    lab.restart()
    lab.calls()
    lab.exporter.poll()
    assert lab.exporter.text == before
    assert lab.calls() == {LIST: 1, ENVIRONMENTS: 1, BRANCH: 1}


def test_projects_without_news_are_asked_less_and_less_often(lab: DeploymentsLab) -> None:
    lab.deploy(run=100)
    lab.run(30, 30)
    (state,) = lab.exporter.rounds.states()
    waits = []
    for _ in range(6):
        lab.advance(200)
        visit = lab.exporter.rounds.visit(state)
        assert visit
        waits.append((visit.result, visit.wait))
    assert waits[0] == (FetchResult.TASK, 60)
    assert waits[-1] == (FetchResult.EMPTY, 300)


def test_a_running_deployment_is_looked_at_often(lab: DeploymentsLab) -> None:
    lab.deploy(run=3600)
    lab.run(60, 30)
    (state,) = lab.exporter.rounds.states()
    for _ in range(6):
        lab.advance(60)
        assert lab.exporter.rounds.visit(state) == Visit(FetchResult.EMPTY, 60)


def test_projects_without_environments_are_left_out(lab: DeploymentsLab) -> None:
    lab.deploy()
    lab.run(60, 30)
    lab.act("switch_off", project=PROJECT, feature="environments")
    lab.exporter.poll()
    assert PROJECT not in lab.exporter.text, "403"
    lab.exporter.discover()
    assert lab.exporter.rounds.states() == []
    assert lab.exporter.rounds.troubles() == []


def test_a_deleted_project_vanishes(lab: DeploymentsLab) -> None:
    lab.deploy()
    lab.run(60, 30)
    lab.act("delete_project", project=PROJECT)
    lab.exporter.poll()
    assert PROJECT not in lab.exporter.text


def test_a_renamed_project_keeps_its_totals(lab: DeploymentsLab) -> None:
    lab.deploy()
    lab.run(60, 30)
    lab.act("rename_project", project=PROJECT, path="acme/q")
    lab.exporter.discover()
    lab.exporter.poll()
    assert lab.exporter.value(ENDED, project="acme/q", status="success") == 1
    assert lab.exporter.value(STATUS, project="acme/q") == 1
    assert PROJECT not in lab.exporter.text


@pytest.mark.parametrize("path", ["/environments", "/branches"])
def test_deployments_are_counted_though_what_is_around_them_cannot_be_read(
    lab: DeploymentsLab, path: str
) -> None:
    lab.deploy()
    lab.run(60, 30)
    lab.server.faults({"kind": "status", "status": 500, "path": path})
    lab.deploy(outcome="failed")
    lab.pipeline()
    lab.run(600, 60)
    assert lab.exporter.value(ENDED, status="failed") == 1
    assert [state.error for state in lab.exporter.rounds.states()] != [""]
    lab.server.faults()
    lab.run(600, 60)
    assert value(lab, "ci_deployment_behind_commits") == 2
    assert [state.error for state in lab.exporter.rounds.states()] == [""]


def test_an_environment_that_cannot_be_compared_holds_up_no_other(lab: DeploymentsLab) -> None:
    lab.deploy("production")
    lab.run(60, 30)
    lab.deploy("staging")
    lab.run(60, 30)
    lab.server.faults({"kind": "status", "status": 500, "path": "/compare", "count": 3})
    lab.pipeline()
    lab.run(330, 330)
    assert value(lab, "ci_deployment_behind_commits", "production") is None
    assert value(lab, "ci_deployment_behind_commits", "staging") == 1
    (state,) = lab.exporter.rounds.states()
    assert state.error == ""
    assert state.trouble is not None
    assert "deployed to production" in state.trouble.detail
    lab.calls()
    lab.run(60, 30)
    assert COMPARE not in lab.calls()
    lab.run(600, 60)
    assert value(lab, "ci_deployment_behind_commits", "production") == 2
    assert lab.exporter.rounds.states()[0].trouble is None


def test_of_very_many_review_apps_the_tier_of_a_new_one_is_asked_for_alone(deployments_of: Labs) -> None:
    lab = deployments_of(per_page=2)
    lab.exporter.poll()
    lab.deploy("review/1")
    lab.deploy("review/2")
    lab.run(60, 30)
    lab.deploy("review/3")
    lab.advance(60)
    lab.calls()
    lab.exporter.poll()
    calls = lab.calls()
    assert ENVIRONMENTS not in calls
    assert calls[f"{ENVIRONMENTS}/:id"] == 1
    assert lab.exporter.value(ENDED, tier="development", status="success") == 3
    lab.run(330, 330)
    assert value(lab, "ci_deployment_environments", "review/*") == 3


def test_a_cursor_that_cannot_be_read_is_a_new_beginning(lab: DeploymentsLab) -> None:
    lab.deploy()
    lab.run(60, 30)
    before = lab.exporter.text
    (state,) = lab.exporter.rounds.states()
    with lab.exporter.store._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE units SET cursor = 'nonsense'")
    lab.exporter.rounds.visit(state)
    assert lab.exporter.text == before


def test_what_the_configuration_says_anew_holds_at_once(lab: DeploymentsLab) -> None:
    lab.deploy("review/one")
    lab.deploy()
    lab.run(60, 30)
    assert set(shown(lab, INFO)) == {"production", "review/*"}
    lab.restart(environments={"grouped": []}, behind=False).poll()
    assert set(shown(lab, INFO)) == set(shown(lab, STATUS)) == {"production", "review/one"}
    assert value(lab, "ci_deployment_behind_commits") is None


def test_what_was_deployed_without_a_job_is_behind_by_its_commit(lab: DeploymentsLab) -> None:
    lab.pipeline()
    lab.act("deploy", project=PROJECT, environment="production", status="success")
    lab.advance(50)
    lab.pipeline()
    lab.run(60, 30)
    assert value(lab, "ci_deployment_behind_commits") == 1
    assert value(lab, "ci_deployment_behind_seconds") == 50


@pytest.mark.parametrize("path", ["/compare", "/branches"])
def test_without_access_to_the_repository_nothing_is_said_of_behind(lab: DeploymentsLab, path: str) -> None:
    lab.deploy()
    lab.run(60, 30)
    assert value(lab, "ci_deployment_behind_commits") == 0
    lab.server.faults({"kind": "status", "status": 404, "path": path})
    lab.pipeline()
    lab.run(600, 300)
    lab.calls()
    lab.run(120, 60)
    assert lab.calls() == {LIST: 2}
    assert value(lab, "ci_deployment_behind_commits") is None
    assert shown(lab, STATUS) == {"production": "success"}
    assert lab.exporter.rounds.states()[0].error == ""


def test_a_refused_token_stops_everything(lab: DeploymentsLab) -> None:
    lab.act("set_token", token="another")
    lab.exporter.poll()
    assert "401" in (lab.exporter.rounds.halted or "")
    assert not lab.exporter.rounds.resume()
