"""What nobody reckoned with: odd entries of lists, stores that fail, lists of which nobody knows the kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collectors.gitea import collector, mapping
from exporter.errors import BadAnswer, ExporterError
from tests.support.giteas import GiteaLab, gitea

NAMED: dict[str, Any] = {"instance": False, "repositories": ["acme/p"]}
RUNS = "ci_pipeline_runs_total"


def test_what_was_not_saved_is_read_again_though_nothing_is_new(
    lab: GiteaLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_given: object) -> None:
        raise ExporterError("the database is gone")

    lab.run(60, 30)
    lab.pipeline()
    lab.advance(60)
    with monkeypatch.context() as patch:
        patch.setattr(lab.exporter.store, "save", broken)
        lab.exporter.poll()
    lab.run(60, 30)
    assert lab.exporter.value(RUNS, project="acme/p", status="success") == 1


@pytest.mark.parametrize("block", [{}, NAMED], ids=["instance", "named"])
def test_an_entry_of_a_list_that_nobody_understands_hides_no_other(
    lab: GiteaLab, monkeypatch: pytest.MonkeyPatch, block: dict[str, Any]
) -> None:
    lab.restart(**block)
    lab.exporter.poll()
    client = lab.exporter.collector._client
    lists = client._lists

    def odd(path: str, *given: Any, **params: Any) -> Any:
        for page in lists(path, *given, **params):
            yield [{**page[0], "status": None}, *page[1:]] if "/actions/" in path else page

    lab.pipeline({"name": "one"}, {"name": "two"})
    lab.advance(20)
    lab.pipeline({"name": "three", "seconds": 600})
    lab.advance(40)
    monkeypatch.setattr(client, "_lists", odd)
    monkeypatch.setattr(client, "run_jobs", lambda *_: [])
    lab.run(60, 30)
    assert lab.exporter.value(RUNS, project="acme/p", status="success") == 1


def test_labels_of_another_shape_are_a_bad_answer() -> None:
    entry = {"id": 1, "name": "runner", "status": "online", "labels": 5}
    with pytest.raises(BadAnswer):
        mapping.runner(entry, "instance_type")


def test_runs_that_can_never_be_read_keep_none_from_being_read_again(
    lab: GiteaLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "_UNREAD_PER_POLL", 2)
    runs = [lab.pipeline() for _ in range(4)]
    lab.server.faults({"kind": "wrong_shape", "shape": "null", "path": r"/runs/\d+$"})
    lab.run(450, 30)
    never = "|".join(map(str, runs[:3]))
    lab.server.faults({"kind": "wrong_shape", "shape": "null", "path": f"/runs/({never})$"})
    lab.run(300, 30)
    assert lab.exporter.value(RUNS, project="acme/p", status="success") == 1


@pytest.mark.parametrize("attempts", [True, False])
def test_a_restart_reads_the_lists_no_further_than_a_poll(tmp_path: Path, attempts: bool) -> None:
    with gitea(attempts=attempts) as server:
        server.action("create_project", path="acme/p")
        lab = GiteaLab(server, tmp_path, **NAMED, per_page=5)
        lab.exporter.poll()
        for _ in range(20):
            lab.pipeline({"name": "one"}, {"name": "two"})
            lab.advance(120)
        lab.run(60, 30)
        lab.restart()
        lab.calls()
        lab.exporter.poll()
        calls = lab.calls()
        lab.close()
    assert calls.get("GET /runs", 0) + calls["GET /jobs"] <= 4


@pytest.mark.parametrize("status", [403, 404])
def test_a_token_that_may_not_see_the_branches_costs_no_further_calls(lab: GiteaLab, status: int) -> None:
    lab.server.faults({"kind": "status", "status": status, "path": "/branches"})
    lab.restart()
    lab.pipeline()
    lab.run(90, 30)
    lab.calls()
    lab.run(60, 60)
    assert lab.calls() == {"GET /jobs": 1}
    assert lab.exporter.value("ci_pipeline_status", project="acme/p") == 1
    lab.run(1860, 60)
    assert lab.exporter.value("ci_pipeline_status", project="acme/p") == 1
    assert lab.exporter.rounds.troubles() == []
