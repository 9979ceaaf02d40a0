"""The stand-in selects fields as Jenkins does, and refuses what Jenkins refuses."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.jenkins.client import nested
from collectors.jenkins.standin.tree import BadTree, parse, prune
from tests.support.harness import PROJECT
from tests.support.jenkins import jenkins

BEAN: dict[str, Any] = {
    "_class": "a.B",
    "name": "x",
    "last": {"_class": "a.C", "number": 3, "url": "u"},
    "jobs": lambda: [{"name": name, "color": "blue"} for name in "abcdef"],
    "nothing": None,
}


@pytest.mark.parametrize(
    ("tree", "left"),
    [
        ("name", {"_class": "a.B", "name": "x"}),
        ("name,unheard", {"_class": "a.B", "name": "x"}),
        ("last", {"_class": "a.B", "last": {"_class": "a.C"}}),
        ("last[number]", {"_class": "a.B", "last": {"_class": "a.C", "number": 3}}),
        ("nothing[number]", {"_class": "a.B", "nothing": None}),
        ("jobs[name]{1,3}", {"_class": "a.B", "jobs": [{"name": "b"}, {"name": "c"}]}),
        ("jobs[name]{,1}", {"_class": "a.B", "jobs": [{"name": "a"}]}),
        ("jobs[name]{4,}", {"_class": "a.B", "jobs": [{"name": "e"}, {"name": "f"}]}),
        ("jobs[name]{2}", {"_class": "a.B", "jobs": [{"name": "c"}]}),
        ("jobs{0,1}", {"_class": "a.B", "jobs": [{}]}),
        ("jobs[*]{5,9}", {"_class": "a.B", "jobs": [{"name": "f", "color": "blue"}]}),
    ],
)
def test_only_what_the_tree_names_is_left(tree: str, left: dict[str, Any]) -> None:
    assert prune(BEAN, parse(tree)) == left


@pytest.mark.parametrize(
    "tree",
    ["", ",", "name,", "jobs[", "jobs[]", "jobs[name", "jobs]", "jobs{a}", "jobs{1", "jobs{0,1}[name]"],
)
def test_a_tree_that_is_none_is_refused(tree: str) -> None:
    with pytest.raises(BadTree):
        parse(tree)


def test_what_the_collector_asks_for_is_a_tree() -> None:
    assert parse(nested(10)).children.keys() >= {"lastBuild", "jobs"}


def test_requests_are_answered_and_refused_as_jenkins_does() -> None:
    with jenkins() as server:
        server.action("create_project", path=PROJECT)
        server.action("new_pipeline", project=PROJECT, ref="feature/x")
        server.advance(300)
        status, body = server.get("/job/acme/job/p/job/feature%252Fx/1/api/json", "result,fullDisplayName")
        assert (status, body["result"]) == (200, "SUCCESS")
        assert server.get("/api/json", "jobs[")[0] == 500
        assert server.get("/job/acme/job/none/api/json")[0] == 404
        assert server.get("/job/acme/wfapi/describe")[0] == 404
        status, body = server.get("/job/acme/job/p/api/json")
        assert [job["name"] for job in body["jobs"]] == ["feature%2Fx", "main"]
        assert server.get("/job/acme/job/p/job/feature%252Fx/1/wfapi/describe")[1]["status"] == "SUCCESS"
