"""The command line: parse, call, print; errors are sentences on stderr, never tracebacks."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from exporter.cli.commands import COMMANDS
from exporter.cli.parser import build_parser
from exporter.errors import ConfigError, ExporterError

OK, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 ok, 1 runtime failure, 2 configuration or usage."""
    options = build_parser().parse_args(argv)
    try:
        return COMMANDS[options.command](options)
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
