"""Labs on a stand-in Jenkins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from collectors._standin.forge import Options
from collectors._standin.times import parse
from collectors.jenkins import Jenkins
from collectors.jenkins.standin.client import StandIn
from collectors.jenkins.standin.site import USER, Site
from tests.support.harness import START, Lab
from tests.support.standins import InThread


class LocalJenkins(InThread, StandIn):
    """A stand-in Jenkins in a thread of this process."""


@contextmanager
def jenkins(**given: Any) -> Iterator[StandIn]:
    """A stand-in that is empty and stands still at `START`; *given* are those of `Site`."""
    options = Options(**{"start": parse(START), **given.pop("world", {})})
    with LocalJenkins(lambda url: Site(options, url, **given)) as server:
        yield server


class JenkinsLab(Lab):
    """A lab in which the builds of Jenkins are watched."""

    cls = Jenkins
    watched: ClassVar[Mapping[str, Any]] = {"user": USER}
    first_project: ClassVar[str] = "/job/acme/job/p/"
