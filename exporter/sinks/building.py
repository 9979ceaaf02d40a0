"""The sinks that a configuration asks for; what one needs is imported only for it."""

from __future__ import annotations

from exporter.config.schema import Settings
from exporter.sinks.base import Sink, SinkContext


def build_sinks(settings: Settings, context: SinkContext, streams: frozenset[str]) -> list[Sink]:
    """New sinks as *settings* want them; none of them does anything yet.

    *streams* are those of the events that the configured collectors read.

    Raises:
        ConfigError: one cannot be built, or a package that it needs is not installed.
    """
    found: list[Sink] = []
    if settings.alerts and settings.alerts.enabled:
        from exporter.sinks.alerts.channels import build_channels
        from exporter.sinks.alerts.dispatching import Dispatcher
        from exporter.sinks.alerts.sink import AlertsSink

        channels = build_channels(settings.alerts.channels, context.version)
        found.append(AlertsSink(settings.alerts, context, Dispatcher(channels, context)))
    return found
