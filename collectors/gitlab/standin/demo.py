"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import base64
import secrets
from functools import partial
from pathlib import Path

from collectors._standin.demo import LIVELY, order, start
from collectors.gitlab.standin.client import MODULE
from exporter.contract import DemoSource

_GROUP = "acme"
# Time passes as it does outside: faster, and every timestamp would soon lie in the exporter's future.
_WORLD: dict[str, object] = {
    "projects": 30,
    "group": _GROUP,
    "runners": 14,
    "admin": True,
    "stories": {"no_runner": 1},
    "history_days": 7,
    "history_pipelines": 600,
    "warm_up": 900,
    "speed": 1,
    "pipelines_per_hour": 900,
    "changes_per_hour": 60,
}
# What its collector of pipelines reads.
_EVENTS = ("pipeline", "job", "push", "tag_push", "merge_request")


def demo_source(directory: Path) -> DemoSource:
    """A started demo world, its errors logged in *directory*; it ends with this process.

    A new pipeline begins every four seconds, and as often one finishes. Of its runners most work, one each
    is offline, stale, paused and new; now and then a job waits for a runner that is not there. Once it is
    told where to, it sends signed webhooks of all that.
    """
    token = f"glpat-{secrets.token_hex(10)}"
    process_id, url = start(MODULE, {**_WORLD, "token": token}, directory / "gitlab-standin.log")
    signing_token = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    block = {
        "url": url,
        "token": token,
        "groups": [{"path": _GROUP, "include_subgroups": True}],
        "backfill_days": 7,
        **LIVELY,
        "hooks": {"signing_token": signing_token},
    }
    return DemoSource(
        block, "stand-in GitLab", (process_id,), send_hooks=partial(_send_hooks, url, signing_token)
    )


def _send_hooks(standin: str, signing_token: str, to: str) -> None:
    order(standin, action="hooks", url=f"{to}gitlab", signing_token=signing_token, events=_EVENTS)
