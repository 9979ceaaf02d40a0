"""GitHub's limits: the calls of an hour, and the secondary ones that nobody can see coming."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from collectors.github.settings import Connection
from exporter.rounds.visits import Visit
from exporter.runnermetrics import FetchResult
from tests.support.githubs import GitHubLab
from tests.support.truth import counted_runs

SECONDARY = {
    "message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
    "documentation_url": "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api",
}


def polled(lab: GitHubLab) -> Visit:
    (visit,) = lab.exporter.poll()
    assert visit is not None
    return visit


def limited(lab: GitHubLab, **fault: Any) -> Visit:
    lab.server.faults({"kind": "status", "status": 403, **fault})
    return polled(lab)


def test_a_used_up_hour_is_waited_out(lab: GitHubLab) -> None:
    lab.advance(600)
    lab.act("set_rate_limit", per_hour=0)
    visit = polled(lab)
    assert visit.result is FetchResult.ERROR
    assert visit.at_least == pytest.approx(3000, abs=2)


def test_what_is_left_is_reported(lab: GitHubLab) -> None:
    lab.exporter.poll()
    left = lab.server.limits()["limit"] - lab.server.limits()["used"]
    samples = [
        sample.value
        for family in lab.exporter.metrics.collect()
        for sample in family.samples
        if sample.name == "ci_exporter_api_rate_limit_remaining"
    ]
    assert samples == [left]


def test_a_named_wait_is_obeyed(lab: GitHubLab) -> None:
    visit = limited(lab, retry_after=90, body=json.dumps(SECONDARY))
    assert (visit.result, visit.at_least) == (FetchResult.ERROR, 90)


def test_a_secondary_limit_that_names_no_wait_costs_a_minute(lab: GitHubLab) -> None:
    visit = limited(lab, body=json.dumps(SECONDARY))
    assert visit.result is FetchResult.ERROR
    assert 60 <= visit.at_least <= 70
    # Nobody asks meanwhile, not even for another repository.
    lab.calls()
    polled(lab)
    assert lab.calls() == {}


def test_a_403_that_is_none_of_this_is_about_the_repository(lab: GitHubLab) -> None:
    visit = limited(lab, body='{"message": "Resource not accessible by personal access token"}')
    assert visit.result is FetchResult.ERROR
    lab.calls()
    lab.server.faults()
    lab.exporter.poll()
    assert lab.calls()


def test_what_was_read_before_the_limit_is_saved(make_lab: Callable[..., GitHubLab]) -> None:
    lab = make_lab()
    for _ in range(5):
        lab.pipeline()
    lab.advance(120)
    lab.act("set_rate_limit", per_hour=lab.server.limits()["used"] + 3)
    visit = polled(lab)
    assert visit.result is FetchResult.ERROR
    lab.act("set_rate_limit", per_hour=5000)
    lab.restart()  # without the memory of the limit
    lab.calls()
    polled(lab)
    assert lab.calls()["GET /repos/:repo/actions/runs/:id/jobs"] == 3
    assert sum(counted_runs(lab.exporter.text).values()) == 5


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("https://github.com", "https://api.github.com"),
        ("https://api.github.com", "https://api.github.com"),
        ("https://ghe.example.com", "https://ghe.example.com/api/v3"),
        ("https://ghe.example.com/api/v3/", "https://ghe.example.com/api/v3"),
        ("https://acme.ghe.com", "https://api.acme.ghe.com"),
        ("https://api.acme.ghe.com", "https://api.acme.ghe.com"),
    ],
)
def test_the_api_is_found_from_any_address(url: str, root: str) -> None:
    assert Connection(url=url).api_url == root


def test_an_instance_is_the_same_however_its_address_is_written() -> None:
    assert Connection(url="https://github.com").host_and_path == Connection().host_and_path
    server = Connection(url="https://ghe.example.com")
    assert server.host_and_path == Connection(url="http://ghe.example.com/api/v3").host_and_path
