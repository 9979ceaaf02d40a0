"""``python -m collectors.jenkins.standin``: serves a simulated Jenkins on the loopback interface."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields

from collectors._standin.forge import Options
from collectors._standin.process import run
from collectors._standin.times import parse
from collectors.jenkins.standin.site import Site


def _parser() -> argparse.ArgumentParser:
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m collectors.jenkins.standin", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0, help="0 takes any free port")
    add("--token", default=usual.token, help="the API token of the user `exporter`")
    add("--seed", type=int, default=usual.seed, help="equal seeds give equal worlds")
    add("--projects", type=int, default=usual.projects, help="multibranch projects, all in one folder")
    add("--group", default=usual.group, help="name of that folder")
    add("--start", type=parse, help="when the simulated time begins; default: now")
    add("--speed", type=float, default=usual.speed, help="simulated seconds per second; 0: by request")
    add("--history-days", type=float, default=usual.history_days, help="days of finished builds")
    add("--history-runs-per-hour", type=float, default=usual.history_runs_per_hour)
    add("--runs-per-hour", type=float, default=usual.runs_per_hour, help="new builds")
    add("--runners", type=int, default=usual.runners, help="nodes beside the built-in one")
    add("--latency-ms", type=int, default=usual.latency_ms, help="wait before each answer")
    add("--prefix", default="", help="the path below which Jenkins is, such as /jenkins")
    add("--no-metrics", action="store_true", help="the plugin `metrics` is not there")
    add("--no-stage-view", action="store_true", help="the plugin Pipeline: Stage View is not there")
    add("--exit-with-parent", action="store_true", help="end when the parent process or its pipe does")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    given = _parser().parse_args(arguments)
    options = Options(**{field.name: getattr(given, field.name) for field in fields(Options)})

    def site(url: str) -> Site:
        return Site(
            options,
            url,
            prefix=given.prefix,
            metrics=not given.no_metrics,
            stage_view=not given.no_stage_view,
        )

    run(site, given.port, exit_with_parent=given.exit_with_parent)


if __name__ == "__main__":
    main()
