"""A real Apache Kafka broker to use, to break, and to bring back; and what a consumer finds in its topics."""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography.hazmat.primitives import serialization

from tests.support.process import PATIENCE, ROOT, free_port, wait_until
from tests.support.tools import missing, require

JARS = ROOT / "build" / "kafka"
LOGIN, PASSWORD = "exporter", "kafka-pass-1"
_CLUSTER = "MkU3OEVBNTcwNTJENDM2Qk"  # any UUID, as Kafka writes them
_STARTED = b"Kafka Server started"
_JAVA = ("-Xms192m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def jars() -> str:
    """The class path of the broker; without it the test fails in CI and says elsewhere how to get it."""
    if not any(JARS.glob("kafka_2.13-*.jar")):
        missing("there is no Apache Kafka in build/kafka (.ci/kafka.py fetches it)")
    return f"{JARS}/*"


class Broker:
    """One node of Kafka that is broker and controller, on ports of the loopback that stay the same.

    Who comes to ``address`` needs no login, to ``plain`` one of SASL PLAIN, and to ``secure`` TLS and one of
    SCRAM-SHA-512; ``authority`` is the PEM file to trust there. ``LOGIN`` and ``PASSWORD`` are known to both.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._java = [require("java", "default-jre-headless"), *_JAVA, "-cp", jars()]
        self.home = Path(tempfile.mkdtemp(prefix="kafka-"))
        self.log_path = self.home / "log"
        self.authority = self.home / "authority.pem"
        self._process: subprocess.Popen[bytes] | None = None
        ports = {name: free_port() for name in ("OPEN", "PLAIN", "SECURE", "CONTROLLER")}
        self.address, self.plain, self.secure, _ = (f"127.0.0.1:{port}" for port in ports.values())
        self._write_settings(ports, settings or {})
        try:
            self._format()
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it where it was, with whatever is on its disk; waits until it serves."""
        assert not self.running
        before = self._log().count(_STARTED)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._settings)], stdout=log, stderr=log, cwd=self.home
            )
        wait_until(
            lambda: self._log().count(_STARTED) > before or not self.running,
            "the broker starts",
            3 * PATIENCE,
        )
        assert self.running, self._log()[-4000:].decode()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Stop it as its administrator does."""
        self.process.terminate()
        self.process.wait(2 * PATIENCE)

    def restart(self) -> None:
        self.kill()
        self.start()

    def remove(self) -> None:
        """End it for good, whatever state it is in."""
        if self.running:
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def fill_disk(self, topic: str, room: int = 50_000) -> None:
        """Have the disk full once *topic* has grown by *room* bytes.

        Nothing gets beyond the size that the topic's largest file has then: to a process, this limit of the
        kernel is what a full disk is, writes fail half-way. It needs no rights, and no file system to mount.
        What the broker is started with next has room again.
        """
        largest = max(file.stat().st_size for file in (self.home / "data").glob(f"{topic}-*/*.log"))
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (largest + room, resource.RLIM_INFINITY))

    def create_topic(self, name: str, partitions: int = 3, **config: str) -> None:
        """Make a topic; *config* are its settings with underscores for dots."""
        settings = {key.replace("_", "."): value for key, value in config.items()}
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        made = admin.create_topics(
            [NewTopic(name, partitions, 1, config=settings)], operation_timeout=PATIENCE
        )
        made[name].result(PATIENCE)

    def _log(self) -> bytes:
        return self.log_path.read_bytes() if self.log_path.exists() else b""

    def _write_settings(self, ports: Mapping[str, int], more: Mapping[str, str]) -> None:
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
            "listener.security.protocol.map": "OPEN:PLAINTEXT,PLAIN:SASL_PLAINTEXT,SECURE:SASL_SSL,"
            "CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "OPEN",
            "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.plain.plain.sasl.jaas.config": f'{plain} required user_{LOGIN}="{PASSWORD}";',
            "listener.name.secure.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.secure.scram-sha-512.sasl.jaas.config": f"{scram} required;",
            "listener.name.secure.ssl.keystore.type": "PEM",
            "listener.name.secure.ssl.keystore.location": str(self._certificate()),
            "log.dirs": str(self.home / "data"),
            # One that was killed may register again only when its last sign of life is so old.
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "3000",
            # Fewer and smaller files than a broker of many gigabytes wants.
            "log.index.size.max.bytes": "65536",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "auto.create.topics.enable": "false",
            "log.cleaner.dedupe.buffer.size": "4194304",
            "num.recovery.threads.per.data.dir": "2",
            **more,
        }
        self._settings = self.home / "server.properties"
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def _certificate(self) -> Path:
        """A file with our certificate for the loopback and its key, as Java reads them."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        leaf = authority.issue_cert("127.0.0.1")
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self.home / "server.pem"
        path.write_bytes(key + b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return path

    def _format(self) -> None:
        scram = f"SCRAM-SHA-512=[name={LOGIN},password={PASSWORD}]"
        tool = [*self._java, "kafka.tools.StorageTool", "format", "--cluster-id", _CLUSTER]
        subprocess.run(
            [*tool, "--config", str(self._settings), "--add-scram", scram],
            check=True, capture_output=True, timeout=2 * PATIENCE,
        )  # fmt: skip


# -- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """One message of a topic; *id* is ``(ce_source, ce_id)``."""

    partition: int
    offset: int
    key: str | None
    value: bytes
    headers: Mapping[str, str]

    @property
    def id(self) -> tuple[str, str]:
        return self.headers["ce_source"], self.headers["ce_id"]


class Listener:
    """A consumer of a whole topic, which survives the broker; a context manager that ends it.

    ``messages`` is everything that was read so far, repetitions included.
    """

    def __init__(self, broker: Broker, topic: str, partitions: int = 3) -> None:
        self.messages: list[Told] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker.address,
                "group.id": "nobody",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self) -> None:
        """Take what has come."""
        while batch := self._consumer.consume(2000, 0.05):
            for message in batch:
                error = message.error()
                if error is None:
                    self.messages.append(_told(message))
                elif error.code() not in _PASSES:
                    raise AssertionError(error)

    def distinct(self) -> list[Told]:
        """The messages without repetitions, each where it first came."""
        return list({message.id: message for message in reversed(self.messages)}.values())[::-1]

    def count(self) -> int:
        """How many different events have come by now."""
        self.read()
        return len({message.id for message in self.messages})

    def wait_for(self, events: int, what: str) -> None:
        """Wait until so many different events have come."""
        try:
            wait_until(lambda: self.count() >= events, what)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.count()} of {events} events") from None

    def by_key(self) -> dict[str, list[str]]:
        """``key -> ce_ids`` in their order, without repetitions; a key must be in one partition only."""
        found: dict[str, list[str]] = defaultdict(list)
        partitions: dict[str, set[int]] = defaultdict(set)
        for message in sorted(self.distinct(), key=lambda one: (one.partition, one.offset)):
            key = message.key or ""
            found[key].append(message.id[1])
            partitions[key].add(message.partition)
        assert all(len(where) == 1 for where in partitions.values()), partitions
        return dict(found)


# What a consumer gets over by itself once the broker is back.
_PASSES = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._PARTITION_EOF,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
    }
)


def _told(message: Any) -> Told:
    assert message.timestamp()[0] != TIMESTAMP_NOT_AVAILABLE
    key = message.key()
    return Told(
        partition=message.partition(),
        offset=message.offset(),
        key=None if key is None else key.decode(),
        value=message.value(),
        headers={name: value.decode() for name, value in message.headers() or ()},
    )
