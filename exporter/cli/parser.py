"""What may be written on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from exporter import __version__
from exporter.cli.reportflags import add_report


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``ci-exporter``."""
    parser = argparse.ArgumentParser(
        prog="ci-exporter",
        description="Prometheus exporter for CI that counts every finished run exactly once.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ci-exporter {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _with_config(commands.add_parser("serve", help="run the exporter"))
    _demo(commands.add_parser("demo", help="run it on built-in sources, to look around"))
    check = _with_config(commands.add_parser("check", help="check the configuration, every problem at once"))
    check.add_argument("--online", action="store_true", help="also ask every source, and count its series")
    _once(_with_config(commands.add_parser("once", help="one round of every collector, then exit")))
    _backfill(_with_config(commands.add_parser("backfill", help="fill in history; safe to interrupt")))
    _notify(commands.add_parser("notify", help="try the channels of alerts"))
    add_report(commands.add_parser("report", help="report a run from inside a job, where nothing can poll"))
    commands.add_parser("collectors", help="list the collectors there are")
    metrics = commands.add_parser("metrics", help="list every metric family")
    metrics.add_argument("--format", choices=("table", "markdown", "json"), default="table")
    commands.add_parser("version", help="print the version")
    return parser


def _with_config(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the configuration file and the flags that override it."""
    parser.add_argument(
        "--config",
        "--config.file",
        type=Path,
        metavar="FILE",
        help="YAML file; without it, the environment and defaults are all",
    )
    _with_flags(parser)
    return parser


def _with_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that other Prometheus exporters have too."""
    parser.add_argument("--log.level", choices=("debug", "info", "warn", "warning", "error"))
    parser.add_argument("--log.format", choices=("json", "text"))
    parser.add_argument(
        "--web.listen-address",
        action="append",
        metavar="ADDRESS",
        help="serve metrics on this host:port or unix:/path (repeatable); switches the server on",
    )
    parser.add_argument(
        "--web.systemd-socket",
        action="store_true",
        default=None,
        help="serve metrics on the sockets of a systemd socket unit instead; switches the server on",
    )
    parser.add_argument("--web.config.file", type=Path, metavar="FILE", help="Prometheus web configuration")
    parser.add_argument("--web.telemetry-path", metavar="PATH", help="where metrics are (/metrics)")
    parser.add_argument(
        "--web.enable-lifecycle",
        action="store_true",
        default=None,
        help="allow POST /-/reload and PUT /log_level",
    )


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--directory", type=Path, metavar="DIR", help="keep the demo's files here")
    _with_flags(parser)


def _once(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "openmetrics", "json"), default="text")
    parser.add_argument("--push", metavar="URL", help="push to this Pushgateway")
    parser.add_argument("--textfile", type=Path, metavar="FILE", help="write a node_exporter textfile")


def _backfill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=_positive, required=True, metavar="N", help="how far back to read")
    parser.add_argument("--collector", metavar="NAME", help="only this collector")


def _notify(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    test = _with_config(actions.add_parser("test", help="send a sample message now"))
    which = test.add_mutually_exclusive_group(required=True)
    which.add_argument("--channel", metavar="NAME", help="over this channel of alerts.channels")
    which.add_argument("--all", action="store_true", help="over all of them, one after the other")


def _positive(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 3650:
        raise argparse.ArgumentTypeError("must be from 1 to 3650")
    return value


def overrides(options: argparse.Namespace) -> dict[str, Any]:
    """``dotted key -> value`` of the flags that were given."""
    given = vars(options)
    found = {
        "log.level": given.get("log.level"),
        "log.format": given.get("log.format"),
        "metrics.addr": given.get("web.listen_address"),
        "metrics.systemd_socket": given.get("web.systemd_socket"),
        "metrics.web_config_file": given.get("web.config.file"),
        "metrics.path": given.get("web.telemetry_path"),
        "metrics.lifecycle": given.get("web.enable_lifecycle"),
    }
    if found["metrics.addr"] or found["metrics.systemd_socket"]:
        found["metrics.enabled"] = True
    return {key: value for key, value in found.items() if value is not None}
