"""Every merge, closing, first review and first approval counts once, whatever fails meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.delivered import (
    at,
    counted,
    expected_changes,
    open_changes,
    seconds_of,
    shown_open,
)
from tests.support.harness import PROJECT, ChangesLab
from tests.support.truth import difference

Labs = Callable[..., ChangesLab]
FAULTS = (
    {"kind": "status", "status": 500, "probability": 0.4},
    {"kind": "cut", "probability": 0.4},
    {"kind": "truncated_json", "probability": 0.4},
    {"kind": "drop", "probability": 0.4},
    {"kind": "wrong_shape", "shape": "null", "probability": 0.4},
    {"kind": "status", "status": 429, "retry_after": 0, "probability": 0.4},
)


def check(lab: ChangesLab, since: str) -> None:
    truth = lab.server.changes()
    text = lab.exporter.text
    assert difference(expected_changes(truth, since), counted(text, "project", "state")) == {}
    assert difference(open_changes(truth), shown_open(text)) == {}


def test_through_faults_and_restarts(changes_of: Labs) -> None:
    lab = changes_of(per_page=3)
    since = at(lab.clock.now())
    lab.exporter.poll()
    for fault in FAULTS:
        lab.server.faults(fault)
        numbers = [lab.act("open_mr", project=PROJECT)["iid"] for _ in range(6)]
        for place, iid in enumerate(numbers):
            lab.run(20, 20)
            if place % 2:
                lab.act("comment_mr", project=PROJECT, iid=iid)
            if place % 3:
                lab.act("approve_mr", project=PROJECT, iid=iid)
            if place > 1:
                lab.act("merge_mr" if place % 4 else "close_mr", project=PROJECT, iid=iid)
        lab.server.faults()
        lab.restart()
        lab.server.faults(fault)
        lab.exporter.poll()
    lab.server.faults()
    lab.run(300, 60, tries=3)
    check(lab, since)
    assert sum(counted(lab.exporter.text).values()) > 60


def test_a_whole_world(changes_of: Labs) -> None:
    world = {"projects": 4, "changes_per_hour": 200, "seed": 5}
    lab = changes_of(world=world, groups=[{"path": "acme"}], all_projects=None, per_page=20)
    since = at(lab.clock.now())
    lab.exporter.poll()
    for _ in range(3):
        lab.run(1200, 300)
        lab.exporter.discover()
    lab.act("pause")
    lab.run(7200, 1800)
    lab.exporter.discover()
    lab.exporter.poll()
    assert sum(counted(lab.exporter.text).values()) > 60
    check(lab, since)


@pytest.mark.parametrize("per_page", [1, 100])
def test_many_at_one_instant(changes_of: Labs, per_page: int) -> None:
    lab = changes_of(per_page=per_page)
    since = at(lab.clock.now())
    lab.exporter.poll()
    lab.advance(60)
    for _ in range(70):
        iid = lab.act("open_mr", project=PROJECT)["iid"]
        lab.act("comment_mr", project=PROJECT, iid=iid)
        lab.act("approve_mr", project=PROJECT, iid=iid)
    lab.run(60, 30)
    check(lab, since)


def test_times_are_those_of_the_truth(changes_of: Labs) -> None:
    lab = changes_of()
    for seconds, action in ((100, "comment_mr"), (50, "approve_mr"), (25, "merge_mr")):
        lab.run(seconds, 30)
        lab.act(action, project=PROJECT, iid=1)
    lab.run(60, 30)
    for family in ("first_review", "approval", "merge"):
        name = f"vcs_change_time_to_{family}_seconds"
        assert lab.exporter.value(f"{name}_sum") == seconds_of(lab.server.changes(), name) > 0
