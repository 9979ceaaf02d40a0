"""A stand-in GitHub in a thread, and a lab in which its Actions are watched."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from collectors._standin.forge import Forge, Options
from collectors._standin.times import parse
from collectors.github import GitHubActions
from collectors.github.standin.client import StandIn
from collectors.github.standin.site import GitHubSite
from exporter.hooks import Hook
from tests.support.harness import START, Lab
from tests.support.standins import InThread

HOOK_SECRET = "it-is-a-secret"


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

    def hook(self, event: str, payload: object, **headers: str) -> Hook:
        """A webhook as GitHub signs it with `HOOK_SECRET`."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signature = hmac.new(HOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
        known = {
            "x-github-event": event,
            "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            "x-hub-signature-256": f"sha256={signature}",
        }
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return Hook(known | given, body, self.clock.now())

    def deliver(self, run: int, *, attempt: int | None = None) -> None:
        """Have rounds take what GitHub would push of a run of ``acme/p`` and its jobs as they are now."""
        path = f"/repos/acme/p/actions/runs/{run}"
        shown = self.server.get(path if attempt is None else f"{path}/attempts/{attempt}")[1]
        jobs = self.server.get(f"{path}/jobs?filter=all&per_page=100")[1]["jobs"]
        repository = self.server.get("/repos/acme/p")[1]
        payloads = [("workflow_job", {"workflow_job": one}) for one in jobs]
        payloads += [("workflow_run", {"workflow_run": shown})]
        for event, payload in payloads:
            for news in self.exporter.collector.read_hook(
                self.hook(event, payload | {"repository": repository})
            ):
                self.exporter.rounds.receive(news.unit, news.batch)
