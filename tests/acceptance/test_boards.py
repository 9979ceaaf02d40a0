"""Every question of every Grafana board has an answer from a real Prometheus that scrapes the demo."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import yaml

from tests.support import boards
from tests.support.demo import started_demo
from tests.support.process import wait_until
from tests.support.prometheus import Prometheus

# Each with the reason why the demo may have nothing to show.
MAY_BE_EMPTY = {
    "overview 14A: Alerts firing": "no rules are loaded here",
    "runners 23A: Jobs waiting, by tags": "no job may wait at the moment",
    "runners 23B: Jobs waiting, by tags": "no job may wait at the moment",
    "runners 17A: Longest wait now": "no job may wait at the moment",
    "reports 22A: Missing reports, by state": "no report may be missing at the moment",
    "health 16A: Calls left": "the stand-in GitLab sends no rate limit",
    "health 34A: Calls left, by collector": "the stand-in GitLab sends no rate limit",
    "health 35A: Failed calls per second, by operation": "no call fails",
    "health 63A: Dropped series, by family and reason": "no series is dropped",
    "health 64A: Unknown values, by kind": "the stand-in says nothing unknown",
    "health 75F: Instances": "the demo has no certificate",
    "health 81D: Sinks": "no event may wait at the moment",
    "health 82A: Events read per second, by result": "the demo reads no events",
    "health 85A: Age of the oldest event that waits, by sink": "no event may wait at the moment",
    "health 89A: Claims per second, by sink and result": "the demo asks no Redis",
    "health 91C: Webhooks": "no webhook may wait at the moment",
}
# Labels that no series may have: Prometheus drops those that are the empty text.
OPTIONAL = {"pipeline", "tags", "failure_reason"}
PERIOD = 300.0
PATIENCE = 180.0
# Short jobs: one succeeds, one is tried again, one fails.
JOBS: list[dict[str, Any]] = [
    {"name": "compile", "stage": "build", "queue": 0.2, "run": 0.5, "coverage": 81.5},
    {
        "name": "unit",
        "stage": "test",
        "auto_retry": True,
        "attempts": [
            {"queue": 0.2, "run": 0.5, "outcome": "failed", "reason": "runner_system_failure"},
            {"queue": 0.2, "run": 0.5},
        ],
    },
    {
        "name": "check",
        "stage": "test",
        "queue": 0.2,
        "run": 0.5,
        "outcome": "failed",
        "reason": "script_failure",
        "tests": {"success": 5, "failed": ["one"]},
    },
]
DEPLOY = {"name": "ship", "stage": "ship", "queue": 0.2, "run": 0.5, "environment": "production"}
# The test that fails above does not here: it is flaky.
GOOD: list[dict[str, Any]] = [
    {"name": "check", "stage": "test", "queue": 0.2, "run": 0.5, "tests": {"success": 6}}
]

_ONE = "SELECT id FROM pull_requests WHERE state = 'open' AND first_review_at IS"
REVIEW = f"UPDATE pull_requests SET first_review_at = now() WHERE id = ({_ONE} NULL ORDER BY id DESC LIMIT 1)"
MERGE = f"""UPDATE pull_requests SET state = 'merged', closed_at = now()
            WHERE id = ({_ONE} NOT NULL ORDER BY id DESC LIMIT 1)"""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[str]:
    """The address of a demo that shows the state of jobs, too."""
    with started_demo(tmp_path) as (_, url):
        wait_until(lambda: _status(f"{url}/-/ready") == 200, "the demo is ready", PATIENCE)
        file = tmp_path / "demo" / "config.yaml"
        config = yaml.safe_load(file.read_text())
        config["collectors"]["gitlab"]["jobs"] = {"status": True}
        file.write_text(yaml.safe_dump(config))
        assert requests.post(f"{url}/-/reload", timeout=30).status_code == 200
        yield url


def test_every_board_answers_on_the_demo(demo: str, tmp_path: Path) -> None:
    world = World(yaml.safe_load((tmp_path / "demo" / "config.yaml").read_text())["collectors"])
    missing = {one.name: one for one in boards.asked(boards.PROMETHEUS)}
    lacking: dict[str, set[str]] = {}
    assert set(MAY_BE_EMPTY) <= set(missing), "these are no panels any more"
    with Prometheus(tmp_path, demo.removeprefix("http://")) as prometheus:
        prometheus.wait_scrapes()

        def answered() -> bool:
            world.live()
            for name, one in list(missing.items()):
                found, lacking[name] = _answers(prometheus, one)
                if found and not lacking[name]:
                    del missing[name]
            return not set(missing) - set(MAY_BE_EMPTY)

        try:
            wait_until(answered, "every panel has an answer", PATIENCE)
        except AssertionError:
            nothing = {
                name: (one.expr, "lacks", lacking.get(name))
                for name, one in missing.items()
                if name not in MAY_BE_EMPTY
            }
            assert nothing == {}
            raise  # Prometheus refused a question
        for values in boards.prometheus_variables():
            selector = boards.filled(values.selector, values.chosen)
            assert prometheus.label_values(values.label, selector), values
    _ask_the_api(demo)


def _answers(prometheus: Prometheus, one: boards.Asked) -> tuple[bool, set[str]]:
    """Whether there is a number, and the labels that the panel shows and that no series has so far."""
    expr = boards.filled(one.expr, {**one.chosen, **boards.BUILTIN})
    found: list[tuple[dict[str, str], list[float]]]
    if one.over_time:
        found = prometheus.series(expr, PERIOD)
    else:
        found = [(labels, [value]) for labels, value in prometheus.query(expr)]
    shown = [labels for labels, values in found if not all(map(math.isnan, values))]
    wanted = set(re.findall(r"{{(\w+)}}", one.target.get("legendFormat", ""))) - OPTIONAL
    if one.panel["type"] == "table":
        options = one.panel["transformations"][-1]["options"]
        fields = {field for field in options["renameByName"] if not field.startswith("Value")}
        # Of several queries the first says which rows there are; the others may know less of each.
        wanted = fields - OPTIONAL if one.target["refId"] == "A" else set()
        if any(set(labels) - fields for labels in shown):
            pytest.fail(f"{one.name}: a column has no title: {shown[0]}")
    elif one.panel["type"] == "stat" and len(shown) > 1:
        pytest.fail(f"{one.name}: {len(shown)} numbers where one is to be shown")
    return bool(shown), wanted - set().union(*shown)


class World:
    """The stand-ins of a demo, in which things happen oftener than by themselves."""

    def __init__(self, collectors: dict[str, Any]) -> None:
        gitlab, databases = collectors["gitlab"], collectors["postgres"]["databases"]
        self._url = gitlab["url"]
        self._dsn = databases["main"]["dsn"].replace("//exporter@", "//postgres@")
        listed = requests.get(
            f"{self._url}/api/v4/projects?per_page=100",
            headers={"PRIVATE-TOKEN": gitlab["token"]},
            timeout=30,
        ).json()
        usable = [entry for entry in listed if entry["default_branch"] and not entry["archived"]]
        self._projects = [entry["path_with_namespace"] for entry in usable][:3]
        self._next = 0.0

    def live(self) -> None:
        """Let pipelines begin and pull requests move, if nothing did for three seconds."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 3
        for project in self._projects:
            self._begin(project=project, jobs=JOBS)
            self._begin(project=project, jobs=[*JOBS[:1], DEPLOY])
            number = self._act("open_mr", project=project)["iid"]
            for action in ("comment_mr", "approve_mr", "merge_mr"):
                self._act(action, project=project, iid=number)
            self._begin(project=project, jobs=GOOD)
        self._begin(project=self._projects[0], story="no_runner")
        with psycopg.connect(self._dsn) as connection:
            for statement in (REVIEW, MERGE):
                connection.execute(statement.encode())

    def _begin(self, **given: Any) -> None:
        self._act("new_pipeline", **given)

    def _act(self, action: str, **given: Any) -> dict[str, Any]:
        url = f"{self._url}/__standin__/action"
        response = requests.post(url, json={"action": action, **given}, timeout=30)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


def _ask_the_api(demo: str) -> None:
    """Every question to the JSON API has an answer that holds what the panel shows."""
    now = time.time()
    chosen = {"__from": f"{(now - 86400) * 1000:.0f}", "__to": f"{now * 1000:.0f}"}
    for name, target in boards.api_questions():
        params = {
            one["key"]: boards.filled(one["value"], {**chosen, **target["chosen"]})
            for one in target["url_options"]["params"]
        }
        response = requests.get(f"{demo}{target['url']}", params=params, timeout=30)
        assert response.status_code == 200, (name, response.text)
        rows = response.json()
        first = rows if isinstance(rows, dict) else rows[0]
        assert {column["selector"] for column in target["columns"]} <= set(first), name


def _status(url: str) -> int:
    try:
        return requests.get(url, timeout=5).status_code
    except requests.RequestException:
        return 0
