"""Jenkins' nodes and queue as a fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest

from collectors.jenkins import JenkinsNodes
from collectors.jenkins.nodes import _tags
from collectors.jenkins.standin.site import USER
from exporter.runnermetrics import FetchResult
from tests.support.harness import PROJECT, Lab, Watcher
from tests.support.jenkins import jenkins


class NodesLab(Lab):
    """A lab in which the nodes are watched."""

    cls: Watcher = JenkinsNodes
    watched: ClassVar[Mapping[str, Any]] = {"user": USER}


@pytest.fixture
def nodes_of(tmp_path: Path) -> Iterator[Callable[..., NodesLab]]:
    with ExitStack() as stack:

        def make(runners: int = 2, **block: Any) -> NodesLab:
            server = stack.enter_context(jenkins(world={"runners": runners}))
            server.action("create_project", path=PROJECT)
            lab = NodesLab(server, tmp_path, **block)
            stack.callback(lab.close)
            return lab

        yield make


def test_nodes_are_shown_with_what_is_known_of_them(nodes_of: Callable[..., NodesLab]) -> None:
    lab = nodes_of()
    lab.act("set_node", name="runner-2", offline=True)
    lab.exporter.poll()
    info = lab.exporter.lines("ci_runner_info", runner="runner-1")
    assert len(info) == 1
    for label in (
        'runner_type="instance"',
        'platform="Linux"',
        'architecture="amd64"',
        'tags="linux,runner-1"',
    ):
        assert label in info[0]
    assert lab.exporter.value("ci_runner_online", runner="runner-1") == 1
    assert lab.exporter.value("ci_runner_online", runner="runner-2") == 0
    assert lab.exporter.value("ci_runner_jobs_running", runner="runner-2") is None
    assert lab.exporter.value("ci_runners", runner_type="instance", status="online") == 2
    assert lab.exporter.value("ci_runners", runner_type="instance", status="offline") == 1


def test_a_node_that_somebody_took_out_of_service_is_paused(nodes_of: Callable[..., NodesLab]) -> None:
    lab = nodes_of()
    lab.act("set_node", name="runner-1", temporarily=True)
    lab.exporter.poll()
    assert lab.exporter.value("ci_runner_paused", runner="runner-1") == 1
    assert lab.exporter.value("ci_runner_online", runner="runner-1") == 0


def test_executors_are_told_by_whether_they_work(nodes_of: Callable[..., NodesLab]) -> None:
    lab = nodes_of(runners=1)
    lab.pipeline({"name": "build", "seconds": 100})
    lab.run(30, 30)
    assert lab.exporter.value("ci_runner_jobs_running", runner="runner-1") == 1
    assert lab.exporter.value("ci_runner_executors", runner="runner-1", state="busy") == 1
    assert lab.exporter.value("ci_runner_executors", runner="runner-1", state="idle") == 3
    assert lab.exporter.value("ci_runner_executors", runner="Built-In Node", state="idle") == 0


def test_what_waits_is_told_by_label_with_the_longest_wait(nodes_of: Callable[..., NodesLab]) -> None:
    lab = nodes_of()
    lab.pipeline({"name": "a", "queue": 900})
    lab.advance(60)
    lab.pipeline(
        {"name": "a", "queue": 900},
        {"name": "b", "queue": 900, "labels": ["arm", "linux"]},
        {"name": "c", "queue": 900, "labels": ["linux || arm"]},
    )
    lab.run(60, 60)
    value = lab.exporter.value
    assert value("ci_runner_queue_jobs", tags="linux", runner_type="instance") == 2
    assert value("ci_runner_queue_jobs", tags="arm,linux", runner_type="none") == 1
    assert value("ci_runner_queue_jobs", tags="linux || arm") == 1
    oldest = value("ci_runner_queue_oldest_timestamp_seconds", tags="linux")
    newer = value("ci_runner_queue_oldest_timestamp_seconds", tags="arm,linux")
    assert oldest is not None
    assert newer == oldest + 60


def test_a_build_in_its_quiet_period_waits_for_no_executor(nodes_of: Callable[..., NodesLab]) -> None:
    lab = nodes_of()
    lab.pipeline()
    lab.exporter.poll()
    assert lab.exporter.value("ci_runner_queue_jobs") is None


def test_a_poll_is_two_calls_and_nodes_beyond_the_limit_are_only_counted(
    nodes_of: Callable[..., NodesLab],
) -> None:
    lab = nodes_of(runners=20, max_nodes=5)
    lab.calls()
    lab.exporter.poll()
    assert lab.calls() == {"GET /computer/api/json": 1, "GET /queue/api/json": 1}
    assert len(lab.exporter.lines("ci_runner_info")) == 5
    assert lab.exporter.value("ci_runners", status="online") == 21


@pytest.mark.parametrize("shape", ["object", "null", "string"])
def test_an_answer_of_another_shape_is_a_failed_poll(
    nodes_of: Callable[..., NodesLab], shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    lab = nodes_of()
    lab.server.faults({"kind": "wrong_shape", "shape": shape})
    (visit,) = lab.exporter.poll()
    assert visit is not None
    assert visit.result is FetchResult.ERROR
    assert "poll raised" not in caplog.text


def test_a_user_who_may_not_see_the_nodes_is_told(nodes_of: Callable[..., NodesLab]) -> None:
    lab = nodes_of()
    lab.server.faults({"kind": "status", "status": 403})
    lab.exporter.poll()
    assert [one.reason for one in lab.exporter.rounds.troubles()] == ["forbidden"]


def test_a_changed_token_is_noticed(nodes_of: Callable[..., NodesLab], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("standin-token")
    lab = nodes_of(token_file=file)
    lab.act("set_token", token="another")
    lab.exporter.poll()
    assert lab.exporter.rounds.halted
    assert not lab.exporter.rounds.resume()
    file.write_text("another")
    assert lab.exporter.rounds.resume()


@pytest.mark.parametrize(
    ("why", "tags"),
    [
        ("Waiting for next available executor", set()),
        ("Waiting for next available executor on ‘linux && arm’", {"linux", "arm"}),
        ("There are no nodes with the label ‘windows’", {"windows"}),
        ("All nodes of label 'windows&&mac' are offline", {"windows", "mac"}),
        ("‘Built-In Node’ doesn’t have label ‘linux’", {"linux"}),
        ("‘old’ is reserved for jobs; ‘Built-In Node’ doesn’t have label ‘linux’; ‘x’ is offline", {"linux"}),
        ("'node' doesn't have label 'linux'", {"linux"}),
        ("agent-1 doesn't answer", set()),
        ("", set()),
    ],
)
def test_the_label_is_found_in_the_sentence_that_says_why(why: str, tags: set[str]) -> None:
    assert _tags({"why": why}) == tags
