"""A run in a list that nobody understands: its neighbours go on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.githubs import GitHubLab

RUNS = "ci_pipeline_runs_total"


def test_a_run_in_a_list_that_nobody_understands_holds_up_no_other(
    lab: GitHubLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = lab.exporter.collector._client._api
    get = api.get
    odd = lab.pipeline()
    lab.pipeline()

    def spoiled(*given: Any, **more: Any) -> Any:
        answer = get(*given, **more)
        if answer.status == 200 and isinstance(answer.body, dict):
            for run in (*answer.body.get("workflow_runs", ()), answer.body):
                if run.get("id") == odd and "run_number" in run:
                    run["created_at"] = None
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(api, "get", spoiled)
        lab.run(150, 30)
        assert lab.exporter.value(RUNS, project="acme/p", status="success") == 1
        assert [one.reason for one in lab.exporter.rounds.troubles()] == ["bad_data"]
        assert all(not state.error for state in lab.exporter.rounds.states())
    lab.run(150, 30)
    assert lab.exporter.value(RUNS, project="acme/p", status="success") == 2
    assert lab.exporter.rounds.troubles() == []
