"""Every attempt counts once: histories made by chance, against the stand-in's own records."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

from exporter.contract import Batch
from tests.support.githubs import HOOK_SECRET, GitHubLab
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs

# Smaller tests go through the same code once; measuring all of it again would double the time.
pytestmark = pytest.mark.no_cover

FAULTS = (
    {"kind": "status", "status": 429, "retry_after": 0},
    {"kind": "status", "status": 500},
    {"kind": "cut"},
    {"kind": "drop"},
    {"kind": "wrong_shape", "shape": "string_ids"},
    {"kind": "status", "status": 500, "path": "/jobs|/attempts/"},
)


class History:
    """What happens to one repository, and to who watches it, by polls and by hooks that come late."""

    def __init__(self, lab: GitHubLab, seed: int) -> None:
        self._lab = lab
        self._dice = Random(seed)
        self._runs: list[int] = []

    def live(self, steps: int) -> None:
        """Let things happen, one after the other."""
        for _ in range(steps):
            self._happen()
            self._lab.advance(self._dice.choice((0, 0.4, 1, 5, 40, 130)))
            if self._dice.random() < 0.5:
                self._poll()

    def _happen(self) -> None:
        lab, dice = self._lab, self._dice
        what = dice.choices(("new", "rerun", "cancel", "push", "restart", "nothing"), (4, 4, 1, 3, 1, 1))[0]
        if what == "new" or not self._runs:
            self._runs.append(lab.pipeline(self._job("a"), self._job("b"), {"name": "c", "stage": "late"}))
        elif what == "restart":
            lab.restart()
        elif what == "push":
            run_id = dice.choice(self._runs)
            shown = lab.server.get(f"/repos/acme/p/actions/runs/{run_id}")[1]["run_attempt"]
            lab.deliver(run_id, attempt=dice.randint(1, shown))
        elif what != "nothing":
            run = {"project": "acme/p", "pipeline_id": dice.choice(self._runs)}
            with suppress(ValueError):  # it is under way
                lab.act(what, **run, **({"failed_only": dice.random() < 0.5} if what == "rerun" else {}))

    def _job(self, name: str) -> dict[str, object]:
        seconds, queue = self._dice.choice((0, 0.2, 20, 90)), self._dice.choice((0, 0.3, 2))
        status = self._dice.choice(("success", "failed"))
        return {"name": name, "seconds": seconds, "queue": queue, "status": status}

    def _poll(self) -> None:
        lab, dice = self._lab, self._dice
        if dice.random() < 0.3:
            lab.server.faults({**dice.choice(FAULTS), "probability": 0.4})
        if dice.random() < 0.15:
            self._die_before_saving()
        lab.exporter.poll()
        lab.server.faults()

    def _die_before_saving(self) -> None:
        """A process that is killed once it has read everything, and before anything is saved."""

        def killed(_unit_id: int, _batch: Batch, _now: object) -> None:
            raise KeyboardInterrupt

        self._lab.exporter.store.save = killed  # type: ignore[method-assign, assignment]
        with suppress(KeyboardInterrupt):
            self._lab.exporter.poll()
        self._lab.server.faults()
        self._lab.restart()


@pytest.mark.parametrize(("seed", "per_page"), [(1, 100), (2, 5), (3, 5)])
def test_totals_are_the_truth(make_lab: Callable[..., GitHubLab], seed: int, per_page: int) -> None:
    lab = make_lab(per_page=per_page, rediscover_interval_seconds=600, hooks={"secret": HOOK_SECRET})
    History(lab, seed).live(40)
    lab.run(2_400, 120, tries=3)
    truth = lab.server.truth()
    assert difference(expected_runs(truth), counted_runs(lab.exporter.text)) == {}
    assert difference(expected_jobs(truth), counted_jobs(lab.exporter.text)) == {}
    runs = sum(entry["kind"] == "pipeline" for entry in truth["executions"])
    assert lab.exporter.value("ci_pipeline_run_duration_seconds_count") == runs
    assert any(entry["execution"] > 2 for entry in truth["executions"])
