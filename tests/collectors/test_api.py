"""What follows from the connection of a collector alone: the target, by which its history is found again."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from collectors._api import ApiCollector
from exporter.clock import EPOCH, FixedClock
from exporter.contract import Context
from exporter.exposition import Exposition
from exporter.plugins import collector_classes
from exporter.selfmetrics import SelfMetrics

WATCHED = {
    "gitlab_runners": {"instance": True},
    "gitea_runners": {"instance": True},
    "github_runners": {"repositories": ["acme/app"]},
}
ASKING = {name: cls for name, cls in collector_classes().items() if issubclass(cls, ApiCollector)}


def _target(name: str, **block: Any) -> str:
    cls = ASKING[name]
    context = Context(
        page=Exposition().page(name, cls.families),
        clock=FixedClock(EPOCH),
        api=SelfMetrics("0").observer(name),
        stopping=threading.Event(),
    )
    collector = cls(cls.config_model.model_validate(WATCHED.get(name, {}) | block), context)
    try:
        return collector.target
    finally:
        collector.close()


def test_every_collector_of_an_api_is_found() -> None:
    assert {name.partition("_")[0] for name in ASKING} == {"gitlab", "gitea", "github", "jenkins"}


@pytest.mark.parametrize("name", sorted(ASKING))
def test_the_history_is_found_again_whatever_the_scheme(name: str) -> None:
    # As stores have it: github_actions began as the only collector of GitHub.
    kept = "github" if name == "github_actions" else name
    for scheme in ("http", "https"):
        assert _target(name, url=f"{scheme}://CI.example.com") == f"{kept}:ci.example.com"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("gitlab", "instance"),
        ("gitlab_changes", "instance"),
        ("gitlab_deployments", "instance"),
        ("gitlab_events", "instance"),
        ("gitlab_tests", "instance"),
        ("gitea", "instance_name"),
    ],
)
def test_a_given_name_of_the_instance_outlives_a_move(name: str, key: str) -> None:
    assert (
        _target(name, url="https://new.example.com", **{key: "old.example.com"}) == f"{name}:old.example.com"
    )
