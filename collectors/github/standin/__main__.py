"""``python -m collectors.github.standin``: serves a simulated GitHub on the loopback interface."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields

from collectors._standin.forge import Forge, Options
from collectors._standin.process import run
from collectors._standin.times import parse
from collectors.github.standin.site import GitHubSite


def _parser() -> argparse.ArgumentParser:
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m collectors.github.standin", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0, help="0 takes any free port")
    add("--token", default=usual.token, help="the one access token")
    add("--seed", type=int, default=usual.seed, help="equal seeds give equal worlds")
    add("--projects", type=int, default=usual.projects)
    add("--group", default=usual.group, help="the organisation")
    add("--start", type=parse, help="simulated time at the start, ISO 8601; default: now")
    add("--speed", type=float, default=usual.speed, help="simulated seconds per second")
    add("--history-days", type=float, default=usual.history_days)
    add("--runs-per-hour", type=float, default=usual.runs_per_hour)
    add("--history-runs-per-hour", type=float, default=usual.history_runs_per_hour)
    add("--runners", type=int, default=usual.runners)
    add("--latency-ms", type=int, default=usual.latency_ms, help="wait before each answer")
    add("--exit-with-parent", action="store_true", help="end when the parent process does")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    given = _parser().parse_args(arguments)
    options = Options(**{field.name: getattr(given, field.name) for field in fields(Options)})
    run(lambda url: GitHubSite(Forge(options), url), given.port, exit_with_parent=given.exit_with_parent)


if __name__ == "__main__":
    main()
