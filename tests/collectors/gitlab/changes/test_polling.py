"""Merge requests: which are open, how long they took, and what knowing that costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from exporter.runnermetrics import FetchResult
from tests.support.harness import PROJECT, ChangesLab

Labs = Callable[..., ChangesLab]
LIST = "GET /projects/:id/merge_requests"
NOTES = "GET /projects/:id/merge_requests/:id/notes"
OPEN, ENDED = "vcs_changes", "vcs_change_ended_total"
OLDEST = "vcs_change_oldest_timestamp_seconds"
REVIEW = "vcs_change_time_to_first_review_seconds"
APPROVAL = "vcs_change_time_to_approval_seconds"
MERGE = "vcs_change_time_to_merge_seconds"


@pytest.fixture
def lab(changes_of: Labs) -> ChangesLab:
    made = changes_of()
    made.exporter.poll()
    return made


def act(lab: ChangesLab, action: str, iid: int = 1, **given: Any) -> None:
    lab.act(action, project=PROJECT, iid=iid, **given)


def opened(lab: ChangesLab) -> dict[str, float | None]:
    return {state: lab.exporter.value(OPEN, state=state) for state in ("open", "wip")}


def times(lab: ChangesLab, family: str) -> tuple[float, float]:
    """How many were observed, and their sum in seconds."""
    return (
        lab.exporter.value(f"{family}_count") or 0.0,
        lab.exporter.value(f"{family}_sum") or 0.0,
    )


def test_open_ones_are_shown_by_state(lab: ChangesLab) -> None:
    assert opened(lab) == {"open": 2, "wip": 0}
    act(lab, "draft_mr")
    lab.run(60, 30)
    assert opened(lab) == {"open": 1, "wip": 1}
    lab.act("open_mr", project=PROJECT)
    act(lab, "draft_mr", draft=False)
    lab.run(60, 30)
    assert opened(lab) == {"open": 3, "wip": 0}
    act(lab, "merge_mr")
    act(lab, "close_mr", 2)
    lab.run(60, 30)
    assert opened(lab) == {"open": 1, "wip": 0}
    act(lab, "reopen_mr", 2)
    lab.run(60, 30)
    assert opened(lab) == {"open": 2, "wip": 0}


def test_the_oldest_one_is_told(lab: ChangesLab) -> None:
    began = lab.clock.now().timestamp()
    assert lab.exporter.value(OLDEST, state="open") == began
    assert lab.exporter.value(OLDEST, state="wip") is None
    lab.advance(100)
    lab.act("open_mr", project=PROJECT)
    act(lab, "merge_mr", 1)
    act(lab, "merge_mr", 2)
    lab.exporter.poll()
    assert lab.exporter.value(OLDEST, state="open") == began + 100


def test_the_first_review_is_of_somebody_else(lab: ChangesLab) -> None:
    lab.advance(100)
    act(lab, "comment_mr", user=0)
    act(lab, "comment_mr", system=True)
    act(lab, "comment_mr", username="project_101_bot_4711")
    lab.run(30, 30)
    assert times(lab, REVIEW) == (0, 0)
    lab.advance(70)
    act(lab, "comment_mr")
    lab.run(30, 30)
    act(lab, "comment_mr")
    act(lab, "approve_mr")
    lab.run(60, 30)
    assert times(lab, REVIEW) == (1, 200)


def test_an_approval_is_a_review(lab: ChangesLab) -> None:
    lab.advance(300)
    act(lab, "approve_mr")
    lab.advance(100)
    act(lab, "approve_mr")
    lab.run(30, 30)
    assert times(lab, REVIEW) == (1, 300)
    assert times(lab, APPROVAL) == (1, 300)


def test_an_approval_by_the_author_is_no_review(lab: ChangesLab) -> None:
    lab.advance(300)
    act(lab, "approve_mr", user=0)
    lab.run(30, 30)
    assert times(lab, REVIEW) == (0, 0)
    assert times(lab, APPROVAL) == (1, 300)


def test_what_is_said_after_the_merge_is_no_review(lab: ChangesLab) -> None:
    lab.advance(300)
    act(lab, "merge_mr")
    lab.advance(10)
    act(lab, "comment_mr")
    act(lab, "approve_mr")
    lab.run(90, 30)
    assert times(lab, REVIEW) == times(lab, APPROVAL) == (0, 0)
    assert times(lab, MERGE) == (1, 300)


def test_merged_and_closed_ones_are_counted(lab: ChangesLab) -> None:
    lab.advance(600)
    act(lab, "merge_mr")
    act(lab, "close_mr", 2)
    lab.run(60, 30)
    assert lab.exporter.value(ENDED, state="merged") == 1
    assert lab.exporter.value(ENDED, state="closed") == 1
    assert times(lab, MERGE) == (1, 600)
    act(lab, "reopen_mr", 2)
    lab.run(60, 30)
    act(lab, "close_mr", 2)
    lab.run(60, 30)
    assert lab.exporter.value(ENDED, state="closed") == 2, "closed twice"


def test_what_happened_before_anybody_watched_is_not_counted(changes_of: Labs) -> None:
    lab = changes_of()
    lab.advance(100)
    act(lab, "approve_mr")
    act(lab, "merge_mr")
    act(lab, "comment_mr", 2)
    lab.advance(100)
    late = lab.restart(instance="another")
    late.poll()
    act(lab, "comment_mr", 2)
    act(lab, "comment_mr", 1)
    act(lab, "approve_mr", 2)
    lab.run(60, 30)
    assert lab.exporter.value(ENDED) is None
    assert times(lab, REVIEW) == (0, 0)
    assert times(lab, APPROVAL) == (1, 200), "that happened later"


def test_a_deleted_one_is_open_no_longer(lab: ChangesLab) -> None:
    act(lab, "delete_mr", 2)
    lab.run(1860, 310)
    assert opened(lab) == {"open": 1, "wip": 0}


def test_a_steady_round_costs_one_call(lab: ChangesLab) -> None:
    lab.run(300, 60)
    lab.calls()
    lab.run(300, 60)
    assert lab.calls() == {LIST: 5}


def test_notes_are_read_until_both_are_known(lab: ChangesLab) -> None:
    lab.run(300, 60)
    lab.calls()
    for action in ("comment_mr", "comment_mr", "approve_mr"):
        act(lab, action)
        lab.run(120, 60)
        assert lab.calls() == {LIST: 2, NOTES: 1}
    for action in ("comment_mr", "draft_mr", "merge_mr"):
        act(lab, action)
        lab.run(120, 60)
        assert lab.calls() == {LIST: 2}


def test_reviews_can_be_left_out(changes_of: Labs) -> None:
    lab = changes_of(reviews=False)
    lab.exporter.poll()
    act(lab, "approve_mr")
    lab.advance(50)
    act(lab, "merge_mr")
    lab.run(60, 30)
    assert NOTES not in lab.calls()
    assert times(lab, MERGE) == (1, 50)
    assert times(lab, APPROVAL) == (0, 0)


def test_notes_of_many_pages_are_read_as_far_as_needed(changes_of: Labs) -> None:
    lab = changes_of(per_page=2)
    for _ in range(5):
        act(lab, "comment_mr", user=0)
    lab.advance(10)
    act(lab, "approve_mr")
    for _ in range(9):
        act(lab, "comment_mr")
    lab.exporter.poll()
    assert times(lab, APPROVAL) == (1, 10)
    assert lab.calls()[NOTES] == 3 + 1


def test_projects_without_news_are_asked_less_and_less_often(lab: ChangesLab) -> None:
    (state,) = lab.exporter.rounds.states()
    for _ in range(6):
        lab.advance(200)
        visit = lab.exporter.rounds.visit(state)
    assert visit
    assert (visit.result, visit.wait) == (FetchResult.EMPTY, 300)
    act(lab, "draft_mr")
    lab.advance(300)
    visit = lab.exporter.rounds.visit(state)
    assert visit
    assert (visit.result, visit.wait) == (FetchResult.TASK, 60)


def test_another_process_may_have_gone_on_meanwhile(lab: ChangesLab) -> None:
    first = lab.exporter
    second = lab.start()
    act(lab, "close_mr", 1)
    lab.advance(30)
    second.poll()
    lab.advance(90)
    second.poll()
    first.poll()
    assert first.value(OPEN, state="open") == 1


def test_projects_without_merge_requests_are_left_out(lab: ChangesLab) -> None:
    lab.act("switch_off", project=PROJECT, feature="merge_requests")
    lab.exporter.poll()
    assert PROJECT not in lab.exporter.text, "403"
    lab.exporter.discover()
    assert lab.exporter.rounds.states() == []
    assert lab.exporter.rounds.troubles() == []


def test_projects_without_pipelines_are_watched_all_the_same(lab: ChangesLab) -> None:
    lab.act("disable_ci", project=PROJECT)
    lab.exporter.discover()
    lab.run(60, 30)
    assert opened(lab) == {"open": 2, "wip": 0}


def test_nothing_is_shown_of_open_ones_before_they_are_read(changes_of: Labs) -> None:
    lab = changes_of()
    lab.server.faults({"kind": "status", "status": 500, "path": "state=opened"})
    lab.exporter.poll()
    assert opened(lab) == {"open": None, "wip": None}
    lab.server.faults()
    lab.run(60, 30)
    assert opened(lab) == {"open": 2, "wip": 0}


def test_a_merge_request_whose_notes_cannot_be_read_holds_up_no_other(lab: ChangesLab) -> None:
    lab.server.faults({"kind": "status", "status": 500, "path": "merge_requests/1/notes"})
    lab.advance(100)
    act(lab, "approve_mr", 1)
    act(lab, "approve_mr", 2)
    lab.run(120, 30)
    (state,) = lab.exporter.rounds.states()
    assert state.trouble
    assert "merge request 1 is put off" in state.trouble.detail
    assert times(lab, APPROVAL) == (1, 100)
    act(lab, "close_mr", 1)
    lab.run(60, 30)
    assert opened(lab) == {"open": 1, "wip": 0}
    lab.server.faults()
    lab.restart().poll()
    assert times(lab, APPROVAL) == (2, 200)
    assert lab.exporter.rounds.states()[0].trouble is None


def test_a_deleted_project_vanishes(lab: ChangesLab) -> None:
    lab.act("delete_project", project=PROJECT)
    lab.exporter.poll()
    assert PROJECT not in lab.exporter.text


def test_a_refused_token_stops_everything(lab: ChangesLab) -> None:
    lab.act("set_token", token="another")
    lab.exporter.poll()
    assert "401" in (lab.exporter.rounds.halted or "")
    assert not lab.exporter.rounds.resume()
