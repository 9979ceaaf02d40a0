"""``ci-exporter notify test``: sends a sample over channels, and says how that went."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

from exporter import __version__, logs
from exporter.app import ConfigSource
from exporter.cli.parser import overrides
from exporter.clock import SystemClock
from exporter.config.channels import ChannelSettings
from exporter.config.load import Config
from exporter.config.messages import unknown
from exporter.errors import ConfigError, SinkError
from exporter.sinks.alerts.attempts import Attempts
from exporter.sinks.alerts.channels import Channel, build_channels, sample_notice


def notify(options: argparse.Namespace) -> int:
    """Send a sample over the chosen channels; 1 if one of them did not take it."""
    config = ConfigSource(options.config, os.environ, overrides(options)).load()
    logs.configure(config.settings.log.level, config.settings.log.format, sys.stderr)
    sent = [_send(channel) for channel in _built(config, _chosen(config, options.channel)).values()]
    return 0 if all(sent) else 1


def check_channels(config: Config) -> None:
    """Refuse channels that cannot work as they are written; nothing is sent.

    Raises:
        ConfigError: with every one of them.
    """
    if config.settings.alerts:
        _built(config, config.settings.alerts.channels)


def _built(config: Config, chosen: Mapping[str, ChannelSettings]) -> dict[str, Channel]:
    try:
        return build_channels(chosen, __version__)
    except ConfigError as error:
        raise ConfigError([config.located(problem) for problem in error.problems]) from error


def _chosen(config: Config, name: str | None) -> dict[str, ChannelSettings]:
    """The channel *name*, or all of them.

    Raises:
        ConfigError: there is none.
    """
    known = config.settings.alerts.channels if config.settings.alerts else {}
    if not known:
        raise ConfigError("no channel is configured: write one under alerts.channels")
    if name is not None and name not in known:
        raise ConfigError(unknown("channel", name, sorted(known)))
    return {one: settings for one, settings in known.items() if name in (None, one)}


def _send(channel: Channel) -> bool:
    clock = SystemClock()
    began = clock.monotonic()
    try:
        Attempts(channel, clock, lambda: False).send(sample_notice(channel.name, clock.now()))
    except SinkError as error:
        print(f"ci-exporter: {channel.name}: {logs.redact(str(error))}", file=sys.stderr)
        return False
    print(f"{channel.name}: sent in {clock.monotonic() - began:.2f} s", flush=True)
    return True
