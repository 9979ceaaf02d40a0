"""Questions to the API that are meant to be expensive, or to reach the database behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import yaml

from collectors.gitlab.pipelines import GitLabConfig
from exporter.store.sql import SqlStore
from tests.support.attack import Target
from tests.support.runs import fill

RUNS = 2000


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The program on a store with runs."""
    folder = tmp_path_factory.mktemp("stocked")
    with Target(folder, bricks=10) as target:
        config = yaml.safe_load(target.config_path.read_text())
        store = SqlStore(config["store"]["url"])
        fill(store, RUNS, f"gitlab:{GitLabConfig(**config['collectors']['gitlab']).host_and_path}")
        store.close()
        target.start().wait_built()
        assert _total(target, "") == RUNS
        yield target


def _total(target: Target, query: str) -> int:
    reply = target.ask(f"/api/stats/summary?{query}")
    assert reply.status == 200, reply.body
    total = json.loads(reply.body)["total_count"]
    assert isinstance(total, int)
    return total


@pytest.mark.parametrize("name", ["project", "ref", "source", "provider"])
@pytest.mark.parametrize(
    "text",
    [
        "' OR '1'='1",
        "'; DROP TABLE runs; --",
        "%",
        "_____",
        '" OR 1=1 --',
        "\\",
        "1) OR (1=1",
        ":a",
        "$1",
        "%s",
    ],
)
def test_what_looks_like_sql_is_only_a_name(stocked: Target, name: str, text: str) -> None:
    assert _total(stocked, f"{name}={quote(text)}") == 0
    assert _total(stocked, "") == RUNS


@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        ("*" * 255, 200),
        ("*a" * 10 + "!", 200),
        ("[!x]*" * 10 + "!", 200),
        ("*a?" * 10 + "[!a]" * 50, 200),
        ("*" + "?" * 250 + "!", 200),
        ("*a" * 11, 400),
        (",".join(["*a*a*a*a*a!"] * 20), 200),
        (",".join(["*[!b]*[!b]*[!b]*!"] * 20), 200),
        (",".join(["*a"] * 21), 400),
        ("[" * 255, 200),
        ("[!" * 100 + "]" * 50, 200),
    ],
    ids=range(11),
)
@pytest.mark.parametrize("name", ["project", "ref"])
def test_patterns_that_are_much_work_are_refused_or_cheap(
    stocked: Target, name: str, pattern: str, status: int
) -> None:
    assert stocked.ask(f"/api/stats/summary?{name}={quote(pattern)}").status == status
    assert stocked.ask("/metrics?collect[]=gate").status == 200


def test_as_many_parameters_as_an_address_can_hold_are_refused(stocked: Target) -> None:
    assert stocked.ask("/api/pipelines?" + "&".join(["ref=a"] * 10_000)).status == 414
    assert stocked.ask("/api/pipelines?" + "&".join(["ref=a"] * 1000)).status == 400
    assert stocked.ask("/api/pipelines?" + "&" * 7000).status == 400


@pytest.mark.parametrize(
    "query",
    [
        *("limit=1000000000", "limit=-1", "limit=1e9", "limit=0x10", "limit=" + "9" * 5000, "limit=NaN"),
        *("from=" + "9" * 400, "from=-99999999999999999", "to=now-99999999999d", "from=%00"),
        *("sort=id;DROP", "after=%00", "after=" + "A" * 5000, "after=eyJ9", "status=success%00", "step=1"),
    ],
)
def test_a_value_out_of_bounds_is_refused(stocked: Target, query: str) -> None:
    reply = stocked.ask(f"/api/pipelines?{query}")
    assert reply.status == 400
    assert set(json.loads(reply.body)) == {"error"}
    assert len(reply.body) < 500


@pytest.mark.parametrize("step", ["1", "1s", "59"])
def test_a_time_series_of_millions_of_steps_is_refused(stocked: Target, step: str) -> None:
    query = f"from=0&to=4102444800000&step={step}"
    assert stocked.ask(f"/api/stats/timeseries?{query}").status == 400


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a\r\nX-Injected: yes"])
def test_a_wrong_name_reaches_neither_headers_nor_markup(stocked: Target, name: str) -> None:
    for path in (f"/api/projects?{quote(name)}=1", f"/api/pipelines/gitlab/{quote(name)}/1"):
        reply = stocked.ask(path)
        assert reply.status in (400, 404)
        assert reply.headers["content-type"] in ("application/json", "text/plain; charset=utf-8")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "x-injected" not in reply.headers


@pytest.mark.parametrize(
    "path", ["gitlab/%2e%2e/%2e%2e/1", "gitlab/..%2f..%2fetc/1", "%00/a/1", "gitlab/a/%ff"]
)
def test_a_path_to_elsewhere_finds_nothing(stocked: Target, path: str) -> None:
    assert stocked.ask(f"/api/pipelines/{path}").status in (400, 404)
