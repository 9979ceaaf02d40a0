"""The sinks that a configuration asks for; what one needs is imported only for it."""

from __future__ import annotations

import importlib.util

from exporter.config.alerts import AlertsSettings
from exporter.config.redis import RedisSettings
from exporter.config.schema import Settings
from exporter.config.sinks import KafkaSettings
from exporter.errors import ConfigError, Problem
from exporter.model.events import RUNS
from exporter.sinks.base import Claims, Sink, SinkContext


def build_sinks(settings: Settings, context: SinkContext, streams: frozenset[str]) -> list[Sink]:
    """New sinks as *settings* want them; none of them does anything yet.

    *streams* are those of the events that the configured collectors read.

    Raises:
        ConfigError: one cannot be built, or a package that it needs is not installed.
    """
    sinks: list[Sink] = []
    kafka = settings.sinks.kafka
    if kafka is not None and kafka.enabled:
        sinks.append(_kafka(kafka, context, streams))
    if settings.alerts is not None and settings.alerts.enabled:
        sinks.append(_alerts(settings.alerts, context))
    return sinks


def _kafka(settings: KafkaSettings, context: SinkContext, streams: frozenset[str]) -> Sink:
    chosen = _streams(settings, streams)
    _need("confluent_kafka", "sinks.kafka", "kafka")
    from exporter.sinks.kafka.producing import refuse_nonsense
    from exporter.sinks.kafka.sink import KafkaSink

    refuse_nonsense(settings)
    redis = settings.redis
    claims = _claims(redis, KafkaSink.name, settings.topic, context) if redis and redis.enabled else None
    return KafkaSink(settings, context, chosen, claims)


def _alerts(settings: AlertsSettings, context: SinkContext) -> Sink:
    from exporter.sinks.alerts.channels import build_channels
    from exporter.sinks.alerts.dispatching import Dispatcher
    from exporter.sinks.alerts.sink import AlertsSink

    channels = build_channels(settings.channels, context.version)
    return AlertsSink(settings, context, Dispatcher(channels, context))


def _claims(settings: RedisSettings, sink: str, topic: str, context: SinkContext) -> Claims:
    _need("redis", "sinks.kafka.redis", "redis")
    from exporter.sinks.claims import RedisClaims

    return RedisClaims(
        settings,
        sink=sink,
        topic=topic,
        identify=context.store.identity,
        metrics=context.metrics,
        clock=context.clock,
    )


def _need(package: str, key: str, extra: str) -> None:
    """Raises ``ConfigError`` if *package* is not installed, which *extra* brings and *key* needs."""
    if importlib.util.find_spec(package) is None:
        message = f'needs a package that is not here: pip install "ci-exporter[{extra}]"'
        raise ConfigError([Problem(key, message)])


def _streams(settings: KafkaSettings, known: frozenset[str]) -> frozenset[str]:
    """The streams that the topic is to have.

    Raises:
        ConfigError: there is none, or nobody reads one of those that are named.
    """
    chosen = known if settings.events is None else frozenset(settings.events)
    there = ", ".join([RUNS, *sorted(known - {RUNS})])
    if not chosen:
        message = f"no configured collector reads events; name what is to be produced, of: {there}"
        raise ConfigError([Problem("sinks.kafka.events", message)])
    unknown = sorted(chosen - known - {RUNS})
    if unknown:
        message = f"no configured collector reads {', '.join(unknown)}; there is: {there}"
        raise ConfigError([Problem("sinks.kafka.events", message)])
    return chosen
