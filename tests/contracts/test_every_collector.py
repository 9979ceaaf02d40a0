"""What every collector of a CI system promises, whichever it is.

A new one joins with a function that makes a `Lab` of its stand-in, in `LABS`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from exporter.plugins import collector_classes
from exporter.rounds.visits import Visit
from exporter.runnermetrics import FetchResult
from tests.support.giteas import GiteaLab, gitea
from tests.support.githubs import GitHubLab, github
from tests.support.harness import Lab, gitlab
from tests.support.jenkins import JenkinsLab, jenkins
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs

PROJECTS = ("acme/p", "acme/q")
FAULTS = (
    {"kind": "status", "status": 500, "probability": 0.3},
    {"kind": "cut", "probability": 0.3},
    {"kind": "truncated_json", "probability": 0.3},
    {"kind": "drop", "probability": 0.3},
)


@contextmanager
def _gitlab(folder: Path) -> Iterator[Lab]:
    with gitlab() as server:
        for path in PROJECTS:
            server.action("create_project", path=path)
        lab = Lab(server, folder)
        yield lab
        lab.close()


@contextmanager
def _gitea(folder: Path) -> Iterator[Lab]:
    with gitea() as server:
        for path in PROJECTS:
            server.action("create_project", path=path)
        lab = GiteaLab(server, folder)
        yield lab
        lab.close()


@contextmanager
def _github(folder: Path) -> Iterator[Lab]:
    with github() as server:
        for path in PROJECTS:
            server.action("create_project", path=path)
        lab = GitHubLab(server, folder)
        yield lab
        lab.close()


@contextmanager
def _jenkins(folder: Path) -> Iterator[Lab]:
    with jenkins() as server:
        for path, kind in zip(PROJECTS, ("multibranch", "pipeline"), strict=True):
            server.action("create_project", path=path, kind=kind)
        lab = JenkinsLab(server, folder)
        yield lab
        lab.close()


LABS = {"gitea": _gitea, "github_actions": _github, "gitlab": _gitlab, "jenkins": _jenkins}
# What is only told of runs asks no source that could fail: tests/collectors/reports holds it to the rest.
TOLD = {"reports"}
POLLED = sorted(name for name, cls in collector_classes().items() if cls.provider and name not in TOLD)


def test_every_collector_of_a_ci_system_is_held_to_these_promises() -> None:
    assert sorted(LABS) == POLLED
    assert {name for name, cls in collector_classes().items() if getattr(cls, "adopts", False)} == TOLD


@pytest.fixture(params=POLLED)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    with ExitStack() as stack:
        made = stack.enter_context(LABS[request.param](tmp_path))
        made.exporter.poll()
        yield made


def settled(lab: Lab) -> None:
    lab.server.faults()
    lab.run(600, 30, tries=3)


@pytest.mark.no_cover  # long, through code that smaller tests cover
def test_counts_every_execution_once(lab: Lab) -> None:
    for fault in (*FAULTS, None):
        for project in PROJECTS:
            lab.pipeline(project=project, story="failing")
            lab.pipeline(project=project)
        lab.server.faults(*([fault] if fault else []))
        lab.run(60, 20)
        lab.server.faults()
        lab.restart()
    settled(lab)
    truth = lab.server.truth()
    assert difference(expected_runs(truth), counted_runs(lab.exporter.text)) == {}
    assert difference(expected_jobs(truth), counted_jobs(lab.exporter.text)) == {}


def test_waits_longer_and_longer_while_the_source_fails(lab: Lab) -> None:
    lab.server.faults({"kind": "status", "status": 500})
    waits: list[float] = []
    for _ in range(6):
        visits = lab.exporter.poll()
        assert {visit.result for visit in visits if visit} == {FetchResult.ERROR}
        waits.append(next(visit.wait for visit in visits if visit))
    assert waits == [30, 60, 120, 240, 300, 300]
    lab.server.faults()
    lab.pipeline()
    lab.advance(60)
    visits = lab.exporter.poll()
    assert visits[0] == Visit(FetchResult.TASK, 30)


def test_shows_what_it_had_while_the_source_fails(lab: Lab) -> None:
    lab.pipeline()
    lab.run(60, 30)
    before = lab.exporter.text
    lab.server.faults({"kind": "status", "status": 500})
    lab.run(60, 30)
    assert lab.exporter.text == before


def test_no_log_line_shows_the_token(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for fault in (
        *FAULTS,
        {"kind": "html"},
        {"kind": "status", "status": 403},
        {"kind": "status", "status": 401},
    ):
        lab.server.faults({**fault, "probability": 1.0})
        lab.exporter.poll()
    lab.server.faults()
    assert caplog.records
    written = [record.getMessage() + repr(vars(record)) for record in caplog.records]
    assert [text for text in written if lab.server.token in text] == []


def test_refused_credentials_stop_everything_and_say_so(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.act("set_token", token="another")
    lab.calls()
    lab.exporter.poll()
    assert sum(lab.calls().values()) == 1
    assert "401" in (lab.exporter.rounds.halted or "")
    assert "polling stopped until the credentials change" in caplog.text
    assert not lab.exporter.rounds.resume()
    lab.exporter.poll()
    assert sum(lab.calls().values()) == 0
    lab.server.token = "another"  # the next process is configured with it
    lab.pipeline()
    lab.restart()
    lab.run(60, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 1


def test_series_vanish_with_their_project(lab: Lab) -> None:
    assert all(f'project="{project}"' in lab.exporter.text for project in PROJECTS)
    lab.act("delete_project", project=PROJECTS[0])
    lab.exporter.poll()
    lab.exporter.discover()
    assert f'project="{PROJECTS[0]}"' not in lab.exporter.text
    assert f'project="{PROJECTS[1]}"' in lab.exporter.text


def test_one_broken_project_does_not_stop_the_others(lab: Lab) -> None:
    lab.server.faults({"kind": "status", "status": 500, "path": lab.first_project})
    for project in PROJECTS:
        lab.pipeline(project=project)
    lab.run(60, 30)
    assert {key[0] for key in counted_runs(lab.exporter.text)} == {PROJECTS[1]}
    settled(lab)
    assert {key[0] for key in counted_runs(lab.exporter.text)} == set(PROJECTS)


@pytest.mark.parametrize("wrong", ["object", "null", "string", "string_ids"])
def test_an_answer_of_another_shape_is_a_failed_poll_and_no_bug(
    lab: Lab, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    lab.pipeline()
    lab.advance(60)
    lab.server.faults({"kind": "wrong_shape", "shape": wrong})
    lab.exporter.poll()
    assert "poll raised" not in caplog.text


def test_history_goes_on_when_the_source_moves_to_another_host(lab: Lab) -> None:
    lab.pipeline()
    lab.run(60, 30)
    before = counted_runs(lab.exporter.text)
    old = lab.exporter.collector.target.partition(":")[2]
    # Where `instance` is whether all of it is watched, the name has a key of its own.
    key = (
        "instance_name" if "instance_name" in lab.exporter.collector.config_model.model_fields else "instance"
    )
    lab.restart(url=lab.server.url.replace("127.0.0.1", "localhost"))
    lab.exporter.poll()
    assert counted_runs(lab.exporter.text) == {}, "another host is another history"
    lab.restart(**{key: old})
    lab.exporter.poll()
    assert counted_runs(lab.exporter.text) == before != {}
