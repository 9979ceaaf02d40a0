"""What collectors of an API get from their base, and the targets by which their histories are found again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from collectors._api import ApiCollector, Client
from collectors._connection import Connection, api_client
from exporter.clock import EPOCH, FixedClock
from exporter.contract import Batch, Context, PolledConfig, Position, Unit
from exporter.exposition import Exposition
from exporter.families import gauge
from exporter.plugins import collector_classes
from exporter.selfmetrics import SelfMetrics
from tests.support.harness import Exporter

WATCHED = {
    "gitlab_runners": {"instance": True},
    "gitea_runners": {"instance": True},
    "github_runners": {"repositories": ["acme/app"]},
}
ASKING = {name: cls for name, cls in collector_classes().items() if issubclass(cls, ApiCollector)}


class PotConfig(Connection, PolledConfig):
    """The keys of the collector below."""


CUPS = gauge("coffee_cups", "Cups left in the pot.")


class Pot(Client):
    """The call to a pot of coffee."""

    def cups(self) -> float:
        return float(self._get("pot", "pot")["cups"])


class Coffee(ApiCollector[PotConfig, Pot]):
    """A whole collector, as somebody adds one."""

    name = "coffee"
    config_model = PotConfig
    families = (CUPS,)

    def __init__(self, config: PotConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = Pot(api_client(config, context, self.name))

    def poll(self, unit: Unit, position: Position) -> Batch:
        return Batch(samples={CUPS: [CUPS.sample(self._client.cups())]})


def test_a_collector_says_what_there_is_and_its_base_the_rest(tmp_path: Path, server: Any) -> None:
    server.token = "first"
    token = tmp_path / "token"
    token.write_text("first")
    server.answers = [lambda ask: ask.send({"cups": 4}), lambda ask: ask.send(status=401)]
    exporter = Exporter(server, tmp_path, FixedClock(EPOCH), {"token": None, "token_file": token}, Coffee)
    try:
        exporter.discover()
        exporter.poll()
        assert exporter.value("coffee_cups") == 4
        exporter.poll()
        assert exporter.rounds.halted
        assert not exporter.rounds.resume()
        token.write_text("second")
        assert exporter.rounds.resume()
    finally:
        exporter.close()


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
