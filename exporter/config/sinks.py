"""What may stand under ``sinks``: where events go."""

from __future__ import annotations

from pydantic import Field

from exporter.config.section import Section


class KafkaSettings(Section):
    """A topic of Apache Kafka that takes events."""

    enabled: bool = Field(default=True, description="whether events are produced")
    bootstrap_servers: str = Field(min_length=1, description="host:port of brokers, separated by commas")
    topic: str = Field(min_length=1, description="the topic that all events go to")
    events: tuple[str, ...] | None = Field(
        default=None,
        description="which streams: `runs` for changes of runs and jobs, and the words of collectors that"
        " read events; all of the latter if left out",
    )


class SinksSettings(Section):
    """Where events go."""

    kafka: KafkaSettings | None = Field(default=None, description="Apache Kafka")
