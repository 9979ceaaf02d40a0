"""A lively stand-in for ``ci-exporter demo``."""

from __future__ import annotations

import base64
import secrets
import subprocess
from pathlib import Path

from collectors._standin.client import spawn
from collectors.gitlab.standin.client import MODULE, StandIn
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
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "gitlab-standin.log").open("ab") as log:
        process, url = spawn(MODULE, {**_WORLD, "token": token}, subprocess.DEVNULL, log.fileno())
    # Whoever ends it does so by its id; without this Popen would warn of a process that still runs.
    process.returncode = 0
    standin = StandIn(process, url, token)
    signing_token = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"

    def send_hooks(to: str) -> None:
        standin.action("hooks", url=f"{to}gitlab", signing_token=signing_token, events=_EVENTS)
        standin.close()

    block = {
        "url": url,
        "token": token,
        "groups": [{"path": _GROUP, "include_subgroups": True}],
        "poll_interval_seconds": 5,
        "poll_interval_max_seconds": 15,
        "backfill_days": 7,
        "operations_per_second": 200,
        "hooks": {"signing_token": signing_token},
    }
    return DemoSource(block, "stand-in GitLab", (process.pid,), send_hooks=send_hooks)
