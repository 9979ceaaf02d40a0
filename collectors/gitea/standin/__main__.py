"""``python -m collectors.gitea.standin``: serves a simulated Gitea on the loopback interface."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields

from collectors._standin.forge import Options
from collectors._standin.process import run
from collectors._standin.times import parse
from collectors.gitea.standin.site import Site
from collectors.gitea.standin.world import GiteaForge


def _parser() -> argparse.ArgumentParser:
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m collectors.gitea.standin", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0, help="0 takes any free port")
    add("--exit-with-parent", action="store_true", help="end when whoever started it ends")
    add("--no-attempts", action="store_true", help="as Gitea before 1.27: a re-run overwrites")
    add("--start", type=parse, help="simulated time at the start, ISO 8601; default: now")
    for field in fields(Options):
        if field.name != "start":
            value = getattr(usual, field.name)
            add(f"--{field.name.replace('_', '-')}", type=type(value), default=value)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    given = vars(_parser().parse_args(arguments))
    port, with_parent = given.pop("port"), given.pop("exit_with_parent")
    world = GiteaForge(attempts=not given.pop("no_attempts"), options=Options(**given))
    run(lambda url: Site(world, url), port, exit_with_parent=with_parent)


if __name__ == "__main__":
    main()
