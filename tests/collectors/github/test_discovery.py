"""Which repositories are watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collectors.github import GitHubActions
from exporter.contract import Trouble
from tests.support.githubs import GitHubLab


@pytest.fixture
def lab(make_lab: Callable[..., GitHubLab]) -> GitHubLab:
    lab = make_lab()
    for path in ("acme/q", "acme/old", "acme/off", "somebody/x"):
        lab.act("create_project", path=path)
    lab.act("archive", project="acme/old")
    lab.act("disable", project="acme/off")
    return lab


def found(lab: GitHubLab, **block: Any) -> tuple[list[str], dict[str, Trouble]]:
    lab.restart(**{"organizations": (), **block})
    discovery = lab.exporter.collector.discover()
    names = sorted(unit.name for unit in discovery.units)
    return names, {trouble.name: trouble.reason for trouble in discovery.troubles}


def test_by_organisation(lab: GitHubLab) -> None:
    names, troubles = found(lab, organizations=[{"name": "acme"}])
    assert (names, troubles) == (["acme/p", "acme/q"], {"acme/off": Trouble.CI_DISABLED})
    assert found(lab, organizations=[{"name": "acme", "exclude": ["*/q"]}])[0] == ["acme/p"]
    assert found(lab, organizations=[{"name": "acme"}], archived=True)[0] == ["acme/old", "acme/p", "acme/q"]


def test_by_name_and_user(lab: GitHubLab) -> None:
    names, troubles = found(lab, repositories=["acme/p", "acme/old", "acme/none"], users=["somebody"])
    assert names == ["acme/old", "acme/p", "somebody/x"]
    assert troubles == {"acme/none": Trouble.NOT_FOUND}


def test_without_names_everything_in_sight_but_what_is_excluded(lab: GitHubLab) -> None:
    assert found(lab, exclude=["acme/*"])[0] == ["somebody/x"]
    assert found(lab, per_page=1, exclude=[])[0] == ["acme/p", "acme/q", "somebody/x"]


def test_a_renamed_repository_is_found_and_told(lab: GitHubLab) -> None:
    lab.act("rename", project="acme/p", path="acme/new")
    names, troubles = found(lab, repositories=["acme/p"])
    assert (names, troubles) == (["acme/new"], {"acme/p": Trouble.MOVED})


def test_an_organisation_that_is_not_there_costs_only_itself(lab: GitHubLab) -> None:
    names, troubles = found(lab, organizations=[{"name": "none"}], repositories=["acme/p"])
    assert (names, troubles) == (["acme/p"], {"none": Trouble.NOT_FOUND})
    lab.server.faults({"kind": "status", "status": 403, "path": "/orgs/"})
    assert found(lab)[1] == {}
    assert found(lab, organizations=[{"name": "acme"}], repositories=["acme/p"])[1] == {
        "acme": Trouble.FORBIDDEN
    }


@pytest.mark.parametrize("name", ["p", "acme/p/q", "/p", "acme/"])
def test_a_repository_is_named_with_its_owner(name: str) -> None:
    with pytest.raises(ValueError, match="owner/name"):
        GitHubActions.config_model.model_validate({"repositories": [name]})
