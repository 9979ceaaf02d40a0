"""A stand-in GitHub in a thread, and a lab in which its Actions are watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from collectors._standin.forge import Forge, Options
from collectors._standin.times import parse
from collectors.github import GitHubActions
from collectors.github.standin.client import StandIn
from collectors.github.standin.site import GitHubSite
from tests.support.harness import START, Lab
from tests.support.standins import InThread


class LocalGitHub(InThread, StandIn):
    """A stand-in GitHub in a thread of this process."""


@contextmanager
def github(**options: Any) -> Iterator[LocalGitHub]:
    """A stand-in without repositories of its own that stands still at `START`."""
    known: dict[str, Any] = {"start": parse(START), **options}
    with LocalGitHub(lambda url: GitHubSite(Forge(Options(**known)), url)) as server:
        yield server


class GitHubLab(Lab):
    """A lab in which the repositories of an organisation are watched."""

    cls = GitHubActions
    watched: ClassVar[Mapping[str, Any]] = {"organizations": [{"name": "acme"}]}
    first_project: ClassVar[str] = "/repos/acme/p/"
    server: LocalGitHub
