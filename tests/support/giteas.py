"""A collector of Gitea on a stand-in whose time only the test moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from collectors._standin.forge import Options
from collectors._standin.times import parse
from collectors.gitea import Gitea, GiteaRunners
from collectors.gitea.standin.client import StandIn
from collectors.gitea.standin.forgejo import ForgejoSite
from collectors.gitea.standin.site import Site
from collectors.gitea.standin.world import GiteaForge
from tests.support.harness import START, Lab, Watcher
from tests.support.standins import InThread


class LocalGitea(InThread, StandIn):
    """A stand-in Gitea in a thread of this process."""


@contextmanager
def gitea(*, attempts: bool = True, **options: Any) -> Iterator[StandIn]:
    """A stand-in without repositories of its own that stands still at `START`."""
    known: dict[str, Any] = {"start": parse(START), **options}
    with LocalGitea(lambda url: Site(GiteaForge(Options(**known), attempts=attempts), url)) as server:
        yield server


@contextmanager
def forgejo(**options: Any) -> Iterator[StandIn]:
    """The same as Forgejo."""
    known: dict[str, Any] = {"start": parse(START), **options}
    with LocalGitea(lambda url: ForgejoSite(GiteaForge(Options(**known), attempts=False), url)) as server:
        yield server


class GiteaLab(Lab):
    """A lab in which all repositories of a Gitea are watched."""

    cls: Watcher = Gitea
    watched: ClassVar[Mapping[str, Any]] = {"instance": True}
    first_project: ClassVar[str] = "/repos/acme/p/"


class GiteaFleetLab(Lab):
    """A lab in which all runners of a Gitea are watched."""

    cls: Watcher = GiteaRunners
    watched: ClassVar[Mapping[str, Any]] = {"instance": True}
