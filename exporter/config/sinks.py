"""What may stand under ``sinks``: where events go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from exporter.config.redis import RedisSettings
from exporter.config.section import Section

_SERVER = re.compile(r"(?:[A-Za-z_]+://)?(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SECRET_OPTION = re.compile(r"password|secret|\.pem$|token", re.IGNORECASE)
_NO_OPTION = re.compile(r".*_cb|logger|on_delivery|default\.topic\.config")
_OWN_OPTIONS = {
    "bootstrap.servers": "bootstrap_servers",
    "metadata.broker.list": "bootstrap_servers",
    "client.id": "client_id",
    "security.protocol": "tls and login",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "login",
    "ssl.ca.location": "ca_file",
    "ssl.certificate.location": "certificate_file",
    "ssl.key.location": "key_file",
    "compression.type": "compression",
    "compression.codec": "compression",
    "linger.ms": "linger_milliseconds",
    "queue.buffering.max.ms": "linger_milliseconds",
    "message.max.bytes": "max_event_bytes",
    "request.timeout.ms": "request_timeout_seconds",
    "queue.buffering.max.messages": "in_flight_events",
    "queue.buffering.max.kbytes": "in_flight_bytes",
}
_FIXED_OPTIONS = (
    "enable.idempotence",
    "enable.gapless.guarantee",
    "acks",
    "request.required.acks",
    "retries",
    "message.send.max.retries",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "partitioner",
    "transactional.id",
    "delivery.report.only.error",
)


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
    format: Literal["binary", "structured", "cdevents"] = Field(
        default="binary",
        description="binary: the event as its source sent it, with CloudEvents headers; structured: a whole"
        " CloudEvent as JSON; cdevents: runs and jobs as CDEvents, all else binary",
    )
    key: Literal["project", "subject", "none"] = Field(
        default="project",
        description="the key of messages: what has the same one stays in order; none spreads them evenly",
    )
    login: str | None = Field(default=None, description="user name for SASL; without one there is no login")
    password: SecretStr | None = Field(default=None, description="password of the login")
    password_file: Path | None = Field(
        default=None, description="instead of password: a file that holds it, read again after a refusal"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", description="how to log in"
    )
    tls: bool = Field(default=False, description="whether to encrypt, and to check the brokers' certificates")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authorities to trust (default: the system's)"
    )
    certificate_file: Path | None = Field(default=None, description="PEM file of our own certificate")
    key_file: Path | None = Field(default=None, description="PEM file of its key")
    key_password: SecretStr | None = Field(default=None, description="password of the key")
    key_password_file: Path | None = Field(
        default=None, description="instead of key_password: a file that holds it"
    )
    client_id: str = Field(
        default="ci-exporter", min_length=1, description="our name in the brokers' logs and quotas"
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="none", description="how batches are compressed; every consumer must know it"
    )
    linger_milliseconds: int = Field(
        default=10, ge=0, le=10_000, description="how long an event waits for others to travel with it"
    )
    max_event_bytes: int = Field(
        default=1_000_000,
        ge=1_000,
        le=1_000_000_000,
        description="larger events become dead letters; at most what the topic takes",
    )
    in_flight_events: int = Field(
        default=10_000, ge=1, le=1_000_000, description="events sent and not yet acknowledged, at most"
    )
    in_flight_bytes: int = Field(
        default=33_554_432, ge=1_000, le=2_000_000_000, description="bytes of such events, at most"
    )
    request_timeout_seconds: float = Field(
        default=30, gt=0, le=900, description="how long a broker may take to acknowledge a batch"
    )
    redis: RedisSettings | None = Field(
        default=None, description="where several producers of the same events agree on who tells one"
    )
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="more options of librdkafka, by its names; nothing secret"
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _names_brokers(cls, value: str) -> str:
        servers = [server.strip() for server in value.split(",") if server.strip()]
        if not servers:
            raise ValueError("must name a broker, such as kafka.example.com:9092")
        for server in servers:
            found = _SERVER.fullmatch(server)
            if found is None or not 0 < int(found["port"] or 9092) <= 65535:
                raise ValueError("must be host:port, or several separated by commas")
        return ",".join(servers)

    @field_validator("topic")
    @classmethod
    def _is_a_topic(cls, value: str) -> str:
        if not _TOPIC.fullmatch(value) or value in (".", ".."):
            raise ValueError("must be the name of a topic: up to 249 letters, digits, dots, _ and -")
        return value

    @field_validator("options")
    @classmethod
    def _are_free(cls, value: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        for name in value:
            if _NO_OPTION.fullmatch(name):
                raise ValueError(f"{name} is no option that can be written in a file")
            if name in _OWN_OPTIONS:
                raise ValueError(f"{name} is what sinks.kafka.{_OWN_OPTIONS[name]} sets: use that")
            if name in _FIXED_OPTIONS:
                raise ValueError(f"{name} is fixed: without it events could be lost, doubled or reordered")
            if _SECRET_OPTION.search(name):
                raise ValueError(f"{name} is a secret, and options are shown as they are: use another way")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> KafkaSettings:
        if self.login is not None and self.password is None:
            raise ValueError("login needs password or password_file")
        if self.password is not None and self.login is None:
            raise ValueError("password needs login")
        if (self.certificate_file is None) is not (self.key_file is None):
            raise ValueError("certificate_file and key_file need each other")
        if not self.tls and (self.ca_file or self.certificate_file):
            raise ValueError("ca_file and certificate_file mean nothing without tls: true")
        return self


class SinksSettings(Section):
    """Where events go."""

    kafka: KafkaSettings | None = Field(default=None, description="Apache Kafka")
