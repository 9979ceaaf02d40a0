"""How many calls a round over GitHub takes, and what GitHub charges for it.

    PYTHONPATH=. python tests/bench/bench_github.py

By the stand-in's own count; it charges every answer but a 304, as GitHub does. Baseline: without conditional
requests, every call of a round is charged.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.support.githubs import GitHubLab, github

REPOSITORIES = 200


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def measured(lab: GitHubLab, what: str) -> None:
    """One round: calls, what was charged, seconds."""
    lab.calls()
    used, began = lab.server.limits()["used"], time.monotonic()
    lab.exporter.poll()
    seconds = time.monotonic() - began
    known = lab.server.requests(reset=True)
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(known["by_status"].items()))
    charged = lab.server.limits()["used"] - used
    say(f"{what}: {known['total']} calls ({statuses}), {charged} charged, {seconds:.1f} s")


def main() -> None:
    """Steady rounds, after a restart too, and rounds with news."""
    with github() as server, tempfile.TemporaryDirectory() as folder:
        for number in range(REPOSITORIES):
            server.action("create_project", path=f"acme/r{number}")
        server.action("set_rate_limit", per_hour=1_000_000)
        lab = GitHubLab(server, Path(folder))
        lab.exporter.poll()
        for number in range(REPOSITORIES):
            lab.pipeline(project=f"acme/r{number}")
        lab.advance(120)
        measured(lab, f"{REPOSITORIES} repositories, a new run in each")
        measured(lab, "nothing changed")
        lab.restart()
        measured(lab, "nothing changed, after a restart")
        for number in range(10):
            lab.pipeline(project=f"acme/r{number}")
        lab.advance(120)
        measured(lab, "10 repositories with a new run")
        lab.close()


if __name__ == "__main__":
    main()
