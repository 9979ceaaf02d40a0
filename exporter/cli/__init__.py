"""The command line: parse, call, print; errors are sentences on stderr, never tracebacks."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

from exporter.cli.parser import build_parser
from exporter.errors import ConfigError, ExporterError

OK, FAILED, USAGE = 0, 1, 2

Command = Callable[[argparse.Namespace], int]
_COMMANDS = {
    "serve": "exporter.cli.commands:serve",
    "demo": "exporter.cli.commands:demo",
    "check": "exporter.cli.commands:check",
    "once": "exporter.cli.commands:once",
    "backfill": "exporter.cli.commands:backfill_",
    "notify": "exporter.cli.notifying:notify",
    "report": "exporter.cli.report:report",
    "collectors": "exporter.cli.catalogue:collectors",
    "metrics": "exporter.cli.catalogue:metrics",
    "version": "exporter.cli.catalogue:version",
}


def _command(name: str) -> Command:
    """What *name* runs; loaded only now, since a listing needs no database and no web server."""
    module, _, function = _COMMANDS[name].partition(":")
    return cast(Command, getattr(import_module(module), function))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 ok, 1 runtime failure, 2 configuration or usage."""
    # One process, whatever the environment is for: prometheus_client would keep our numbers in its files.
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        os.environ.pop(name, None)
    options = build_parser().parse_args(argv)
    try:
        return _command(options.command)(options)
    except ConfigError as error:
        print(f"ci-exporter: {error}", file=sys.stderr)
        return USAGE
    except ExporterError as error:
        print(f"ci-exporter: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `ci-exporter metrics | head`: the reader has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
