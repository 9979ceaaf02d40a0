"""The demo: a configuration made of the collectors' stand-ins, then the ordinary service."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from exporter.app import App, ConfigSource
from exporter.contract import Demonstrates, DemoSource
from exporter.errors import ConfigError
from exporter.web.hooks import PREFIX

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound
"""Where this machine reaches what listens everywhere."""
_ALERT_RULES: tuple[dict[str, Any], ...] = (
    {"name": "default-branch-broken", "kind": "branch_broken", "severity": "critical"},
    {"name": "job-failing", "kind": "job_failing", "times": 2},
    {"name": "stuck", "kind": "run_stuck", "longer_than_seconds": 300},
    {"name": "collector-failing", "kind": "collector_failing"},
)


def run_demo(directory: Path, classes: Mapping[str, Demonstrates], overrides: Mapping[str, Any]) -> None:
    """Start every stand-in that can be, then serve until told to stop; everything is in *directory*."""
    directory.mkdir(parents=True, exist_ok=True)
    sources: list[tuple[str, DemoSource]] = []
    missing: list[str] = []
    try:
        for name, cls in classes.items():
            try:
                sources.append((name, cls.start_demo(directory)))
            except ConfigError as error:  # an extra that is not installed
                missing.append(f"{name}: {error}")
        if not sources:
            raise ConfigError("there is nothing to show: " + "; ".join(missing))
        path = _write_config(directory, sources)
        # The visitor's own environment must not lead the demo to a real server.
        App(ConfigSource(path, {}, overrides)).run(lambda app: _begin(app, sources, missing, directory))
    finally:
        for _, source in sources:
            for process_id in source.process_ids:
                os.kill(process_id, signal.SIGTERM)


def _write_config(directory: Path, sources: Sequence[tuple[str, DemoSource]]) -> Path:
    """The demo's configuration file, which is worth a look by itself."""
    config = {
        "metrics": {"enabled": True, "addr": "127.0.0.1:9101", "lifecycle": True},
        "log": {"level": "info", "format": "text"},
        "hooks": {"enabled": any(source.send_hooks for _, source in sources)},
        "store": {"url": f"sqlite:///{directory / 'pipelines.db'}"},
        "engine": {"capacity": 4},
        "collectors": {name: dict(source.block) for name, source in sources},
        "alerts": {
            # Nobody outside is told: messages are lines of the demo's log.
            "channels": {"log": {"log": True}},
            "rules": [*_ALERT_RULES, *(dict(rule) for _, source in sources for rule in source.alert_rules)],
        },
    }
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    path.chmod(0o600)
    return path


def _begin(
    app: App, sources: Sequence[tuple[str, DemoSource]], missing: Sequence[str], directory: Path
) -> None:
    """Have webhooks sent to the service that runs, and welcome the visitor."""
    here = hooks_url(app.serving.addresses())
    for _, source in sources:
        if source.send_hooks and here:
            source.send_hooks(here)
    _welcome(app, sources, missing, directory)


def hooks_url(addresses: Sequence[str]) -> str:
    """Where a process of this machine sends webhooks to, of all *addresses*; empty if it cannot."""
    for address in addresses:
        parts = urlsplit(address)
        if parts.scheme == "http" and parts.hostname:
            host = _LOOPBACK.get(parts.hostname, parts.hostname)
            if host in _LOOPBACK.values():
                return f"http://{f'[{host}]' if ':' in host else host}:{parts.port}{PREFIX}"
    return ""


def _welcome(
    app: App, sources: Sequence[tuple[str, DemoSource]], missing: Sequence[str], directory: Path
) -> None:
    """Tell the visitor where to look."""
    lines = ["", "ci-exporter demo is running:"]
    for url in app.serving.addresses():
        if url.startswith("unix:"):
            lines.append(f"  metrics    /metrics, / and /-/ready on {url}")
            continue
        pages = {"metrics": "/metrics", "overview": "/", "status": "/status", "readiness": "/-/ready"}
        lines += [f"  {name:10} {url}{path}" for name, path in pages.items()]
    lines += [f"  source     {source.title}" for _, source in sources]
    lines += ["  alerts     are told here, as lines: message to people"]
    lines += [f"  missing    {reason}" for reason in missing]
    lines += [f"  files      {directory}", "Stop it with Ctrl-C.", ""]
    print("\n".join(lines), file=sys.stderr, flush=True)
