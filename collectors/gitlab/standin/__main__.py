"""``python -m collectors.gitlab.standin``: serves a simulated GitLab on the loopback interface."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields

from collectors._standin.process import run
from collectors._standin.times import parse
from collectors.gitlab.standin.options import Options
from collectors.gitlab.standin.site import Site
from collectors.gitlab.standin.stories import STORIES
from collectors.gitlab.standin.world import World


def _story(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    if name not in STORIES:
        raise argparse.ArgumentTypeError(f"stories: {', '.join(STORIES)}")
    return name, float(weight)


def _parser() -> argparse.ArgumentParser:
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m collectors.gitlab.standin", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0, help="0 takes any free port")
    add("--token", default=usual.token, help="the one access token")
    add("--seed", type=int, default=usual.seed, help="equal seeds give equal worlds")
    add("--projects", type=int, default=usual.projects)
    add("--users", type=int, default=usual.users)
    add("--group", default=usual.group, help="path of the top group")
    add("--start", type=parse, help="simulated time at the start, ISO 8601; default: now")
    add("--warm-up", type=float, default=usual.warm_up, help="seconds lived before the start")
    add(
        "--speed",
        type=float,
        default=usual.speed,
        help="simulated seconds per second; 0: advanced by request",
    )
    add("--history-days", type=float, default=usual.history_days, help="days of finished pipelines")
    add("--history-pipelines", type=int, help="how many; default: days times rate")
    add("--runners", type=int, help="that take jobs by tags and reach; default: four that take every job")
    add(
        "--pipelines-per-hour",
        type=float,
        default=usual.pipelines_per_hour,
        help="new ones, in simulated time",
    )
    add(
        "--changes-per-hour",
        type=float,
        default=usual.changes_per_hour,
        help="to refs, merge requests, projects",
    )
    add("--story", dest="stories", type=_story, action="append", default=[], help="NAME=WEIGHT, repeatable")
    add("--offset", default=usual.offset, help="of all timestamps: Z or like +02:00")
    add("--admin", action="store_true", help="the token is an administrator's")
    add("--no-graphql", action="store_true", help="there is no GraphQL")
    add(
        "--graphql-missing", action="append", default=[], help="TYPE.FIELD or TYPE.FIELD.ARGUMENT, repeatable"
    )
    add("--rate-limit", type=int, default=usual.rate_limit, help="requests per minute; 0: no limit")
    add("--rate-headers", action="store_true", help="send RateLimit-* headers")
    add("--latency-ms", type=int, default=usual.latency_ms, help="wait before each answer")
    add("--version", default=usual.version, help="the GitLab version it claims")
    add(
        "--exit-with-parent",
        action="store_true",
        help="end when the parent process or its pipe on stdin does",
    )
    return parser


def _options(given: argparse.Namespace) -> Options:
    values = {field.name: getattr(given, field.name) for field in fields(Options)}
    values["stories"] = dict(given.stories)
    values["graphql_missing"] = tuple(given.graphql_missing)
    return Options(**values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    given = _parser().parse_args(arguments)
    run(lambda url: Site(World(_options(given)), url), given.port, exit_with_parent=given.exit_with_parent)


if __name__ == "__main__":
    main()
