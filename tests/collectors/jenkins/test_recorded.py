"""What a real server answered to the collector's requests, as records, and beside the stand-in's answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from collectors import _fleet
from collectors.jenkins import mapping, nodes
from collectors.jenkins.client import job_path, nested
from collectors.jenkins.standin.tree import BadTree, Table, parse, prune
from exporter.model.runs import RefKind, Status
from tests.support.jenkins import jenkins

RECORDED = Path(__file__).parent / "recorded"
HUDSON = RECORDED / "hudson-3.3.2"
BUILDS = sorted(path.stem for path in HUDSON.glob("builds_*.json"))
# What Hudson 3.3 does not have: the plugins metrics and git, classes, and labels of nodes.
NEWER = {"_class", "queuingDurationMillis", "lastBuiltRevision", "assignedLabels"}
STATUSES = {
    "SUCCESS": Status.SUCCESS,
    "FAILURE": Status.FAILED,
    "UNSTABLE": Status.FAILED,
    "ABORTED": Status.CANCELED,
    "NOT_BUILT": Status.SKIPPED,
}
_WINDOWS = "All nodes of label 'windows&&nobody-has-it' are offline"
_EITHER = "All nodes of label 'solaris||aix' are offline"


def recorded(name: str) -> Any:
    return json.loads((HUDSON / f"{name}.json").read_text(encoding="utf-8"))


def nothing_unknown(kind: str) -> None:
    assert kind == "source"  # Hudson does not tell the class of a cause


def on_disk(job: str) -> dict[int, dict[str, Any]]:
    """What the server itself wrote of the builds of *job*, by number."""
    return {one["number"]: one for one in recorded("build_xml") if one["job"] == job}


def job_of(answer: dict[str, Any]) -> str:
    return unquote(answer["request"].split("/job/")[1].split("/")[0])


# -- as records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILDS)
def test_builds_are_what_the_server_wrote_of_them(name: str) -> None:
    answer = recorded(name)
    if answer["status"] == 404:
        assert name == "builds_of_no_job"
        return
    listed = answer["body"].get("builds") or answer["body"].get("allBuilds") or []
    builds = [mapping.build(body, nothing_unknown) for body in listed]
    assert [one.number for one in builds] == sorted((one.number for one in builds), reverse=True)
    written = on_disk(job_of(answer))
    for one in builds:
        run = run_of(one)
        if one.number not in written:
            assert run.status is Status.RUNNING
            continue
        truth = written.pop(one.number)
        assert run.status is STATUSES[truth["result"]]
        assert run.duration_seconds == truth["duration"] / 1000
        began = datetime.strptime(truth["id"], "%Y-%m-%d_%H-%M-%S").replace(tzinfo=UTC)
        assert run.started_at is not None
        assert timedelta() <= run.started_at - began < timedelta(seconds=1)
    if name != "builds_second_page":
        assert not written


def run_of(build: mapping.Build) -> Any:
    return mapping.run(
        build,
        ref=None,
        kind=RefKind.BRANCH,
        url="https://ci.example.com/job/x/",
        unstable="failed",
        selects=lambda *_: True,
        unknown=nothing_unknown,
    )


def test_a_look_shows_every_job_with_its_newest_build() -> None:
    root = mapping.item(recorded("items")["body"], "", nothing_unknown, full_name="")
    assert root.jobs is not None
    jobs = {job.full_name: job for job in root.jobs}
    written = {one["job"] for one in recorded("build_xml")}
    assert written <= jobs.keys()
    assert {"Bücher Straße", "emoji 🚀", "it's 'quoted'", 'double "quoted"', "a+b=c,d"} <= jobs.keys()
    for name, job in jobs.items():
        assert job.jobs is None
        assert (job.last is not None) == (name in written), name
        if job.last is not None:
            truth = on_disk(name)
            assert job.last.running == (job.last.number not in truth)
            if name != "renamed again":  # Hudson lost the newest of its builds when it was started again
                assert job.last.number >= max(truth)


def test_paths_of_jobs_are_found_by_the_server() -> None:
    for name in BUILDS:
        answer = recorded(name)
        path = answer["request"].removeprefix("GET ").partition("api/json")[0]
        assert path == f"/{job_path(job_of(answer))}"
        assert answer["status"] == (404 if name == "builds_of_no_job" else 200)


def test_what_is_not_there_is_a_404() -> None:
    for name in ("build_gone", "builds_of_no_job", "stages_of_no_pipeline"):
        assert recorded(name)["status"] == 404


def test_nodes_without_labels_and_monitors_are_a_fleet() -> None:
    answers = recorded("computers")["body"]["computer"]
    runners = [nodes._runner(node, place) for place, node in enumerate(answers)]
    assert [
        (one.named, one.status, one.paused, one.platform, one.architecture, one.tags) for one in runners
    ] == [
        ("master", _fleet.ONLINE, False, "Linux", "amd64", ()),
        ("never-there", _fleet.OFFLINE, False, "", "", ()),
        ("taken-out", _fleet.OFFLINE, True, "", "", ()),
    ]
    assert [one.jobs_running for one in runners] == [1, None, None]


def test_what_waits_for_a_label_that_nobody_has_is_shown_with_it() -> None:
    items = recorded("queue")["body"]["items"]
    assert [item["why"] for item in items if item["buildable"]] == [_WINDOWS, _EITHER]
    waiting = nodes._waiting(items)  # the third is behind another build of its job
    assert [one.tags for one in waiting] == [{"windows", "nobody-has-it"}, {"solaris||aix"}]


# -- beside the stand-in -----------------------------------------------------------------------------


def shape(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Where something is, and of which type; all entries of a list are at one place."""
    if isinstance(value, dict):
        yield path, "object"
        for name, inner in value.items():
            yield from shape(inner, f"{path}.{name}")
    elif isinstance(value, list):
        yield path, "list"
        for inner in value:
            yield from shape(inner, f"{path}[]")
    else:
        yield path, type(value).__name__


def shapes(*bodies: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for body in bodies:
        for path, kind in shape(body):
            if not NEWER & set(path.replace("[]", "").split(".")):
                found.setdefault(path, set()).add(kind)
    return found


def assert_alike(real: list[Any], standin: list[Any]) -> None:
    """Whether the stand-in tells the same names, and of each the same types; what is null tells no type."""
    ours, theirs = shapes(*standin), shapes(*real)
    assert ours.keys() == theirs.keys()
    for path, kinds in ours.items():
        told = kinds - {"NoneType"}, theirs[path] - {"NoneType"}
        assert told[0] == told[1] or not all(told), path


def tree_of(name: str) -> str:
    return str(recorded(name)["request"].partition("?tree=")[2])


def test_the_stand_in_answers_the_same_requests_with_the_same_names_and_types() -> None:
    with jenkins(world={"runners": 2}) as server:
        for path in ("p", "done", "empty"):
            server.action("create_project", path=path, kind="freestyle")
        for project in ("p", "done"):
            server.action("new_pipeline", project=project, source="user")
        server.advance(600)
        server.action("new_pipeline", project="p", source="user", jobs=[{"name": "waits", "queue": 1000}])
        server.advance(5)
        server.action("new_pipeline", project="p", source="user")  # in its quiet period
        server.action("set_node", name="runner-2", offline=True)

        def compare(path: str, *names: str) -> None:
            answers = [server.get(path, tree_of(name)) for name in names[:1]]
            assert [status for status, _ in answers] == [200]
            assert_alike([recorded(name)["body"] for name in names], [body for _, body in answers])

        compare("/api/json", "items")
        compare("/job/done/api/json", "items_of_one_job")
        compare("/job/p/api/json", "builds_ok", "builds_long")
        compare("/job/p/1/api/json", "build")
        compare("/job/p/2/api/json", "build_running")
        compare("/computer/api/json", "computers")
        compare("/queue/api/json", "queue")
        assert server.get("/job/empty/api/json", tree_of("builds_disabled"))[1]["builds"] == []
        assert recorded("builds_disabled")["body"]["builds"] == []
        for path, name in (
            ("/job/p/9/api/json", "build_gone"),
            ("/job/none/api/json", "builds_of_no_job"),
            ("/job/p/1/wfapi/describe", "stages_of_no_pipeline"),
        ):
            assert server.get(path)[0] == recorded(name)["status"]


def test_the_collector_still_asks_what_was_recorded() -> None:
    assert tree_of("items") == nested(2)


# -- Stapler's trees ---------------------------------------------------------------------------------

BEAN: dict[str, Any] = {
    "_class": "Root",
    "name": "x",
    "last": {"number": 3, "url": "u"},
    "nothing": None,
    "jobs": lambda: [{"name": name, "color": "blue"} for name in "abcdef"],
    "actions": [{"_class": "Action"}, None, {"_class": "Last", "number": 3, "url": "u"}],
    "timestamp": 1795316252762,
    "monitorData": Table(
        {"hudson.node_monitors.ArchitectureMonitor": "Linux (amd64)", "hudson.node_monitors.Null": None}
    ),
    "text": 'quo"te \\ / tab\t new\n ü 🚀 \u2028 <b> \x01',
}
TREES = json.loads((RECORDED / "stapler-1.263" / "trees.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", TREES, ids=lambda case: repr(case["tree"]))
def test_the_stand_in_selects_by_a_tree_as_stapler_does(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(BadTree):
            parse(case["tree"])
    else:
        assert prune(BEAN, parse(case["tree"])) == case["answer"]
