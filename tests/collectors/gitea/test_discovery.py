"""Which repositories are watched, and what is said of those that are not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.gitea.collector import Cursor
from collectors.gitea.discovery import Discoverer
from collectors.gitea.settings import GiteaConfig
from exporter.errors import ConfigError
from tests.support.giteas import GiteaLab, gitea

Recorded = Callable[[str], Any]


class Answers:
    """What a client would bring: the repositories that a real Gitea told."""

    def __init__(self, *repositories: Any) -> None:
        self._pages = [[repository] for repository in repositories]

    def all_repositories(self) -> list[list[Any]]:
        return self._pages


def found(config: dict[str, Any], *repositories: Any) -> tuple[list[str], list[tuple[str, str]]]:
    answers: Any = Answers(*repositories)
    discovery = Discoverer(answers, GiteaConfig(instance=True, **config)).run().discovery
    troubles = [(trouble.name, trouble.reason.value) for trouble in discovery.troubles]
    return [unit.name for unit in discovery.units], troubles


def test_a_repository_without_actions_is_told_and_not_watched(recorded: Recorded) -> None:
    both = (recorded("repo"), recorded("repo_without_actions"))
    assert found({}, *both) == (["acme/web"], [("acme/noci", "ci_disabled")])


def test_archived_and_excluded_ones_are_left_out(recorded: Recorded) -> None:
    old = recorded("repo") | {"id": 9, "full_name": "acme/old", "archived": True}
    assert found({}, recorded("repo"), old) == (["acme/web"], [])
    assert found({"archived": True, "exclude": ["acme/w*"]}, recorded("repo"), old) == (["acme/old"], [])


@pytest.mark.parametrize(
    "block",
    [
        {"instance": False},
        {"instance": False, "users": ["acme"]},
        {"instance": False, "organizations": ["/acme/"], "repositories": ["acme/p"]},
    ],
    ids=["everything", "user", "twice"],
)
def test_every_way_leads_to_the_same_repositories(lab: GiteaLab, block: dict[str, Any]) -> None:
    lab.restart(**block)
    assert [state.stored.unit.name for state in lab.exporter.rounds.states()] == ["acme/p", "acme/q"]
    lab.pipeline()
    lab.run(60, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 1


@pytest.mark.parametrize(("status", "reason"), [(403, "forbidden"), (404, "not_found")])
def test_a_list_that_is_refused_costs_only_itself(lab: GiteaLab, status: int, reason: str) -> None:
    lab.restart(instance=False, organizations=["acme"], repositories=["acme/p"])
    lab.server.faults({"kind": "status", "status": status, "path": "/orgs/acme/repos"})
    discovery = lab.exporter.collector.discover()
    assert [unit.name for unit in discovery.units] == ["acme/p"]
    assert [(trouble.name, trouble.reason.value) for trouble in discovery.troubles] == [("acme", reason)]


def test_a_renamed_repository_keeps_its_totals(lab: GiteaLab) -> None:
    lab.pipeline()
    lab.run(60, 30)
    lab.act("rename_project", project="acme/p", path="acme/renamed")
    lab.exporter.discover()
    lab.pipeline(project="acme/renamed")
    lab.run(60, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", project="acme/renamed", status="success") == 2
    assert 'project="acme/p"' not in lab.exporter.text


def test_the_token_is_read_again_once_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("standin-token\n")
    with gitea() as server:
        server.action("create_project", path="acme/p")
        lab = GiteaLab(server, tmp_path, token_file=str(file))
        lab.act("set_token", token="rotated")
        lab.exporter.poll()
        assert lab.exporter.rounds.halted
        file.write_text("rotated\n")
        assert lab.exporter.rounds.resume()
        lab.pipeline()
        lab.run(60, 30)
        assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 1
        lab.close()


def test_an_unusable_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="owner/name"):
        GiteaConfig(repositories=("alone",))
    with pytest.raises(ValidationError, match="must be an address"):
        GiteaConfig(url="gitea")
    with gitea() as server, pytest.raises(ConfigError, match="ca_file"):
        GiteaLab(server, tmp_path, ca_file=str(tmp_path / "none.pem"))


def test_the_address_may_name_the_api(lab: GiteaLab) -> None:
    before = lab.exporter.collector.target
    lab.restart(url=f"{lab.server.url}/api/v1/")
    assert lab.exporter.collector.target == before
    assert len(lab.exporter.rounds.states()) == 2


def test_a_spoilt_cursor_means_the_beginning(caplog: pytest.LogCaptureFixture) -> None:
    assert Cursor.parse('{"seen": "x"}') == Cursor.parse(None) == Cursor()
    assert "could not be read" in caplog.text
    looked_at = datetime(2026, 3, 2, 8, tzinfo=UTC)
    whole = Cursor(seen=7, kind="jobs", looked_at=looked_at, unread=(1, 2))
    assert Cursor.parse(str(whole)) == whole
