"""The producer of librdkafka: its options, and the one that lives between two failures of it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from exporter import logs
from exporter.config.files import Unreadable
from exporter.config.secrets import read_secret
from exporter.config.sinks import KafkaSettings
from exporter.errors import ConfigError, Problem, SinkError
from exporter.sinks.kafka.envelopes import Message
from exporter.sinks.kafka.window import Flight

log = logging.getLogger(__name__)

MIN_BATCH_BYTES = 1_000
MAX_BATCH_BYTES = 1_000_000  # as librdkafka has it; within what brokers take unless told otherwise
_END_SECONDS = 0.2
_RECONNECT_MAX_MS = 5_000
_TRANSIENT = (KafkaError._TRANSPORT, KafkaError._PARTIAL, KafkaError._TIMED_OUT)
NEVER_TAKEN = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
    }
)
"""What a broker, or our side, says of a message, or of the batch that it is in, and will say again."""
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
"""What we did ourselves, after another failure."""


class Line:
    """A producer, up to the first failure that it does not get over by itself; then make another.

    Retries, reconnects and order are librdkafka's while it lives. A message never times out
    (``message.timeout.ms`` 0): one that was sent and then given up might be there all the same, and would be
    there twice when it is sent again, whereas a broker recognises librdkafka's own repetition.
    ``enable.gapless.guarantee`` has it stop for good when a batch is refused, so that what comes after is not
    acknowledged before it.

    ``trouble`` is the newest thing that stands in the way; whoever reads it sets it back to ``None``.
    """

    def __init__(self, settings: KafkaSettings, batch_bytes: int = MAX_BATCH_BYTES) -> None:
        self.trouble: str | None = None
        self.fatal: KafkaError | None = None
        self.refused_login = False
        self._closed = False
        self._topic = settings.topic
        self._settings = settings
        self._password = password_of(settings)
        self._detail = ""
        options = producer_options(settings, self._password)
        options["batch.size"] = min(batch_bytes, int(options.get("batch.size", batch_bytes)))
        try:
            self._producer = Producer(options | {"error_cb": self._note, "logger": Quiet()})
        except KafkaException as error:
            raise SinkError(f"cannot produce to Kafka: {error.args[0].str()}") from None

    def send(self, flight: Flight, message: Message) -> KafkaError | None:
        """Have *message* sent; the report goes to *flight*.

        Returns:
            Why it will not be: of :data:`NEVER_TAKEN`, or a failure of the producer; ``None`` if it will.

        Raises:
            BufferError: there is no room for it now.
        """
        try:
            self._producer.produce(
                self._topic, message.value, flight.key, on_delivery=flight, headers=message.headers
            )
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            return reason
        return None

    def serve(self, seconds: float) -> None:
        """Take reports, for which it waits up to *seconds*; a fatal error is in ``fatal`` afterwards."""
        try:
            self._producer.poll(seconds)
        except KafkaException as error:
            self.fatal = error.args[0]
        except SystemError:
            # A report came together with the exception for a fatal error, which the next call tells.
            self.fatal = self.fatal or KafkaError(KafkaError._FATAL)

    def log_in_again(self) -> bool:
        """Use the password that is in its file now; false if it is the one that was refused."""
        self.refused_login = False
        password = password_of(self._settings)
        if self._settings.login is None or password is None or password == self._password:
            return False
        self._password = password
        logs.register_secret(password)
        self._producer.set_sasl_credentials(self._settings.login, password)
        return True

    def close(self) -> None:
        """Give up what was not acknowledged; each event gets its report before this returns."""
        if self._closed:
            return
        self._closed = True
        self._producer.purge()
        for _ in range(3):  # each exception that is pending takes one
            try:
                if self._producer.flush(_END_SECONDS) == 0:
                    break
            except (KafkaException, SystemError):
                continue
        # Its end waits for its threads, and one of them may be waiting for a name server.
        retired = [self.__dict__.pop("_producer")]
        threading.Thread(target=retired.clear, name="sink-kafka-end", daemon=True).start()

    def _note(self, error: KafkaError) -> None:
        """librdkafka could not do something, and tries again by itself."""
        code = error.code()
        if code != KafkaError._ALL_BROKERS_DOWN:
            self._detail = error.str() or self._detail
        if code == KafkaError._AUTHENTICATION:
            self.refused_login = True
        if code == KafkaError._ALL_BROKERS_DOWN:
            # It may say so before it says of any of them what is wrong.
            detail = self._detail or f"{self._settings.bootstrap_servers}: {error.str()}"
            self.trouble = f"no broker can be reached: {detail}"
        elif code not in _TRANSIENT:
            self.trouble = error.str()


class Quiet:
    """Takes the log of librdkafka, which is for its developers; what matters comes as errors."""

    def log(self, _level: int, text: str, *values: Any) -> None:
        log.debug(text, *values)


def producer_options(settings: KafkaSettings, password: str | None) -> dict[str, Any]:
    """The options of a producer as *settings* want it."""
    # The window is the bound; these only must not be lower.
    room = settings.in_flight_bytes + 2 * settings.max_event_bytes
    return client_options(settings, password) | {
        "enable.idempotence": True,
        "enable.gapless.guarantee": True,
        "acks": "all",
        "message.timeout.ms": 0,
        "partitioner": "murmur2_random",
        "compression.type": settings.compression,
        "linger.ms": settings.linger_milliseconds,
        "message.max.bytes": settings.max_event_bytes,
        "request.timeout.ms": max(1, round(settings.request_timeout_seconds * 1000)),
        "queue.buffering.max.messages": settings.in_flight_events + 1,
        "queue.buffering.max.kbytes": room // 1024 + 1,
    }


def client_options(settings: KafkaSettings, password: str | None) -> dict[str, Any]:
    """The options of any client: where the brokers are, and as whom to ask."""
    secure = ("SASL_" if settings.login is not None else "") + ("SSL" if settings.tls else "PLAINTEXT")
    options: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": settings.client_id,
        "security.protocol": secure,
        "reconnect.backoff.max.ms": _RECONNECT_MAX_MS,
        "socket.keepalive.enable": True,
        **option_texts(settings),
    }
    if settings.login is not None:
        options |= {
            "sasl.mechanism": settings.sasl_mechanism,
            "sasl.username": settings.login,
            "sasl.password": password or "",
        }
    files = {
        "ssl.ca.location": settings.ca_file,
        "ssl.certificate.location": settings.certificate_file,
        "ssl.key.location": settings.key_file,
    }
    options |= {name: str(path) for name, path in files.items() if path is not None}
    if settings.key_password is not None:
        options["ssl.key.password"] = settings.key_password.get_secret_value()
    return options


def refuse_nonsense(settings: KafkaSettings) -> None:
    """Have librdkafka look at the options, without any broker.

    Raises:
        ConfigError: one is unknown, has a value that it cannot have, or names a file that cannot be used.
    """
    options = producer_options(settings, password_of(settings))
    del options["bootstrap.servers"]
    try:
        Producer(options | {"logger": Quiet()})
    except KafkaException as error:
        raise ConfigError([Problem("sinks.kafka", _told(error.args[0], settings))]) from None


def _told(error: KafkaError, settings: KafkaSettings) -> str:
    """What librdkafka has against its options, without anything secret."""
    text = error.str()
    for secret in (settings.password, settings.key_password):
        if secret is not None:
            text = text.replace(secret.get_secret_value(), "<secret>")
    where = [f"options.{name}: " for name in settings.options if f'"{name}"' in text]
    return "".join(where[:1]) + text


def password_of(settings: KafkaSettings) -> str | None:
    """The password as it is now: its file may hold another one than when the settings were read."""
    known = settings.password.get_secret_value() if settings.password else None
    return _read(settings.password_file) or known


def _read(path: Path | None) -> str | None:
    try:
        return read_secret(path) if path else None
    except Unreadable:
        return None


def option_texts(settings: KafkaSettings) -> dict[str, str]:
    """The operator's own options, as librdkafka reads them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in settings.options.items()
    }
