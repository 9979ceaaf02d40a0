"""Whether the brokers can be reached, know us, and let us produce: for ``check --online``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclOperation,
    AdminClient,
    ConfigResource,
    ResourceType,
)

from exporter.config.sinks import KafkaSettings
from exporter.errors import SinkError
from exporter.sinks.kafka.producing import Quiet, client_options, password_of

_TRIES = 10
_TRY_SECONDS = 1.0
_DESCRIBE_SECONDS = 3.0
_HOPELESS = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED})


def try_out(settings: KafkaSettings) -> Iterator[str]:
    """Lines about the topic and what we may do with it; creates nothing.

    Raises:
        SinkError: no event could be produced now.
    """
    topic = settings.topic
    client, partitions = _connect(settings)
    described, refused = _describe(client, topic)
    if refused == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        raise SinkError(f"topic {topic} may not be seen by us: have its ACLs allow DESCRIBE and WRITE")
    # Not all brokers tell; then only producing would show it.
    allowed = set(getattr(described, "authorized_operations", None) or ())
    if allowed and not allowed & {AclOperation.WRITE, AclOperation.ALL}:
        who = f"user {settings.login}" if settings.login else "this client"
        raise SinkError(f"{who} may not write to topic {topic}: have its ACLs allow WRITE")
    if partitions is not None:
        yield f"topic {topic}, {partitions} partitions"
        return
    makes = _makes_topics(client)
    if not makes:
        why = "do not tell whether they would make it" if makes is None else "make none by themselves"
        raise SinkError(
            f"topic {topic} does not exist, and the brokers {why}: create it, or correct sinks.kafka.topic"
        )
    yield f"topic {topic} does not exist: the brokers make it with the first event, as they make any topic"


def _connect(settings: KafkaSettings) -> tuple[AdminClient, int | None]:
    """A client that has got an answer, and how many partitions the topic has; ``None`` if there is none."""
    troubles: list[KafkaError] = []
    options = client_options(settings, password_of(settings))
    try:
        client = AdminClient(options | {"error_cb": troubles.append, "logger": Quiet()})
    except KafkaException as error:
        raise SinkError(f"cannot talk to Kafka: {error.args[0].str()}") from None
    for _ in range(_TRIES):
        try:
            # All topics: asking for one by its name may make it.
            found = client.list_topics(timeout=_TRY_SECONDS).topics.get(settings.topic)
        except KafkaException as error:
            reason = error.args[0].str()
        else:
            return client, len(found.partitions) if found else None
        client.poll(0)
        if any(error.code() in _HOPELESS for error in troubles):
            raise SinkError(
                f"Kafka refuses us: {_newest(troubles)}; check login, password, sasl_mechanism and the"
                " certificates in sinks.kafka"
            )
    raise SinkError(
        f"Kafka does not answer: {_newest(troubles) or reason}; check sinks.kafka.bootstrap_servers and tls,"
        " and that it runs"
    )


def _describe(client: AdminClient, topic: str) -> tuple[Any, int | None]:
    """The topic with what we may do to it, or the code of the error that says we may not even see it."""
    try:
        future: Future[Any] = client.describe_topics(
            TopicCollection([topic]), include_authorized_operations=True, request_timeout=_DESCRIBE_SECONDS
        )[topic]
        return future.result(), None
    except KafkaException as error:
        code: int = error.args[0].code()
        return None, code


def _makes_topics(client: AdminClient) -> bool | None:
    """Whether brokers make a topic when somebody produces to it; ``None`` if they do not tell."""
    try:
        broker = next(iter(client.list_topics(timeout=_DESCRIBE_SECONDS).brokers))
        asked = ConfigResource(ResourceType.BROKER, str(broker))
        future: Future[Any] = client.describe_configs([asked], request_timeout=_DESCRIBE_SECONDS)[asked]
        found = future.result().get("auto.create.topics.enable")
    except KafkaException:
        return None
    return found.value == "true" if found else None


def _newest(troubles: list[KafkaError]) -> str:
    """What went wrong, in the words of the newest error that has some of its own."""
    told = [error.str() for error in troubles if error.code() != KafkaError._ALL_BROKERS_DOWN]
    return told[-1] if told else ""
