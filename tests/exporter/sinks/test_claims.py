"""Claims in a real Redis: who asks first tells an event; without Redis, everybody does."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.clock import FixedClock
from exporter.config.redis import RedisSettings
from exporter.errors import SinkError
from exporter.model.events import Event
from exporter.sinkmetrics import SinkMetrics
from exporter.sinks.claims import RedisClaims
from tests.support.postgres import TlsDoor
from tests.support.process import free_port
from tests.support.redis import ClusterNode, RedisServer, Sentinel

TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(serial: int, source: str = "https://host/projects/7") -> Event:
    return Event("forge", f"host/{serial}", source, "com.host.pushed", "7", TIME, "7", b"{}", serial)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


class Producer:
    """Claims of one owner, with the clock and the metrics around them."""

    def __init__(
        self, server: RedisServer | TlsDoor, owner: str, topic: str = "events", **settings: Any
    ) -> None:
        self.clock = FixedClock(TIME)
        self.registry = CollectorRegistry()
        self.claims = RedisClaims(
            RedisSettings(**{"address": f"127.0.0.1:{server.port}"} | settings),
            sink="kafka",
            topic=topic,
            identify=lambda: owner,
            metrics=SinkMetrics(self.registry),
            clock=self.clock,
        )

    def claim(self, *serials: int) -> list[bool]:
        return self.claims.claim([event(serial) for serial in serials])

    def counted(self) -> dict[str, float]:
        """Events by result."""
        samples = (sample for family in self.registry.collect() for sample in family.samples)
        return {
            s.labels["result"]: s.value for s in samples if s.name == "ci_exporter_claims_total" and s.value
        }


@pytest.fixture
def producer(server: RedisServer) -> Iterator[Callable[..., Producer]]:
    made: list[Producer] = []

    def make(owner: str = "one", **settings: Any) -> Producer:
        made.append(Producer(server, owner, **settings))
        return made[-1]

    yield make
    for one in made:
        one.claims.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- who tells -----------------------------------------------------------------------------------


def test_the_first_that_asks_tells_an_event_and_is_told_so_again(producer: Callable[..., Producer]) -> None:
    one, two = producer("one"), producer("two")
    assert one.claim(1, 2) == [True, True]
    assert two.claim(2, 3, 1, 4) == [False, True, False, True]
    assert one.claim(4, 3, 2, 1) == [False, False, True, True]
    assert two.counted() == {"claimed": 2, "taken": 2}


def test_who_comes_back_after_a_crash_finds_its_own_claims(producer: Callable[..., Producer]) -> None:
    assert producer("one").claim(1) == [True]
    assert producer("two").claim(1) == [False]
    assert producer("one").claim(1, 2) == [True, True]


def test_thousands_of_events_come_back_in_their_order(producer: Callable[..., Producer]) -> None:
    producer("one").claim(*range(0, 2500, 2))
    assert producer("two").claim(*range(2500)) == [serial % 2 == 1 for serial in range(2500)]
    assert producer("two").claim() == []


def test_events_of_different_sources_are_different_ones(producer: Callable[..., Producer]) -> None:
    producer("one").claim(1)
    assert producer("two").claims.claim([event(1, "https://elsewhere/projects/7")]) == [True]


def test_each_topic_gets_every_event(producer: Callable[..., Producer]) -> None:
    """Two exporters that share a Redis and not a topic, with nothing else set."""
    assert producer("one", topic="events").claim(1) == [True]
    assert producer("two", topic="other").claim(1) == [True]
    assert producer("three", topic="other").claim(1) == [False]


def test_any_text_can_be_in_an_id(producer: Callable[..., Producer]) -> None:
    odd = Event("runs", "a\ud800\x00☃" * 400, "s", "t", "s", TIME, "7", b"")
    assert producer("one").claims.claim([odd]) == [True]
    assert producer("two").claims.claim([odd]) == [False]


def test_a_claim_ends_after_its_time_which_begins_anew_for_its_owner(
    server: RedisServer, producer: Callable[..., Producer]
) -> None:
    producer("one", ttl_minutes=2).claim(1)
    with server.client() as client:
        (key,) = client.keys("ci-exporter:told:*")
        assert 0 < client.ttl(key) <= 120
        producer("two", ttl_minutes=30).claim(1)
        assert 0 < client.ttl(key) <= 120
        producer("one", ttl_minutes=30).claim(1)
        assert 120 < client.ttl(key) <= 1800
        client.delete(key)
    assert producer("two").claim(1) == [True]


def test_producers_with_other_prefixes_or_databases_do_not_meet(producer: Callable[..., Producer]) -> None:
    producer("one").claim(1)
    assert producer("two", key_prefix="other:").claim(1) == [True]
    assert producer("two", database=3).claim(1) == [True]


# -- without Redis -------------------------------------------------------------------------------


def test_while_redis_is_away_all_is_ours_with_one_warning_until_it_is_back(
    server: RedisServer, producer: Callable[..., Producer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one, two = producer("one"), producer("two")
    two.claim(1)
    server.stop()
    for _ in range(3):
        assert one.claim(1, 2) == [True, True]
        one.clock.advance(10)
    assert one.counted() == {"failed_open": 6}
    assert len(warnings(caplog)) == 1
    server.start()
    assert one.claim(3) == [True]
    assert two.claim(3) == [False]
    assert [record.getMessage() for record in caplog.records][-1] == "Redis can be asked again"


def test_a_redis_that_failed_is_left_alone_for_seconds(
    server: RedisServer, producer: Callable[..., Producer], monkeypatch: pytest.MonkeyPatch
) -> None:
    producer("two").claim(1)
    one = producer("one")
    server.pause()
    with monkeypatch.context() as soon:
        soon.setattr("exporter.sinks.redisclients._TIMEOUT_SECONDS", 0.1)
        assert one.claim(1) == [True]
    one.clock.advance(4.9)
    assert one.claim(*range(1000)) == [True] * 1000
    assert one.counted() == {"failed_open": 1001}
    server.stop()
    server.start()
    assert one.claim(2) == [True]
    assert one.counted() == {"failed_open": 1002}
    one.clock.advance(0.2)
    assert one.claim(2) == [True]
    assert one.counted() == {"failed_open": 1002, "claimed": 1}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("maxmemory", "1", "OOM"),
        ("min-replicas-to-write", "1", "NOREPLICAS"),
        ("replicaof", "127.0.0.1 1", "READONLY"),
    ],
)
def test_a_redis_that_takes_no_writes_is_one_that_cannot_be_asked(
    server: RedisServer,
    producer: Callable[..., Producer],
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: str,
    says: str,
) -> None:
    with server.client() as client:
        if name == "replicaof":
            client.execute_command("REPLICAOF", *value.split())
        else:
            client.config_set(name, value)
    one = producer()
    assert one.claim(1) == [True]
    assert one.counted() == {"failed_open": 1}
    assert says in str(caplog.records[-1].__dict__["error"])


def test_something_that_is_no_redis_is_one_that_cannot_be_asked(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.sinks.redisclients._TIMEOUT_SECONDS", 0.1)
    server.stop()
    with socket.create_server(("127.0.0.1", server.port), reuse_port=False) as listener:
        listener.settimeout(30)
        one = Producer(server, "one")
        assert one.claim(1) == [True]  # nobody answers
        one.claims.close()


def test_a_key_that_others_use_is_no_claim(server: RedisServer, producer: Callable[..., Producer]) -> None:
    producer("two").claim(1)
    with server.client() as client:
        (key,) = client.keys()
        client.delete(key)
        client.rpush(key, "theirs")
    assert producer("one").claim(1) == [True]


# -- the password --------------------------------------------------------------------------------


@pytest.fixture
def guarded(server: RedisServer) -> RedisServer:
    with server.client() as client:
        client.config_set("requirepass", "opensesame")
    return server


def test_a_wrong_password_fails_open_and_is_told_to_nobody(
    guarded: RedisServer, producer: Callable[..., Producer], caplog: pytest.LogCaptureFixture
) -> None:
    one = producer("one", password="hunter22")
    assert one.claim(1) == [True]
    assert one.counted() == {"failed_open": 1}
    with pytest.raises(SinkError, match=guarded.address) as caught:
        list(one.claims.try_out())
    assert "hunter22" not in caplog.text + str(caplog.records[-1].__dict__) + str(caught.value)


def test_a_password_that_was_changed_in_its_file_is_read_again(
    guarded: RedisServer, producer: Callable[..., Producer], tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    one = producer("one", password="old", password_file=file)
    one.claim(1)
    file.write_text("opensesame\n")
    one.clock.advance(6)
    one.claim(1)
    assert one.counted() == {"failed_open": 1, "claimed": 1}


def test_a_login_is_used(server: RedisServer, producer: Callable[..., Producer]) -> None:
    with server.client() as client:
        client.acl_setuser("teller", enabled=True, passwords=["+s3cret"], keys=["*"], commands=["+@all"])
    one = producer("one", login="teller", password="s3cret")
    one.claim(1)
    assert one.counted() == {"claimed": 1}


def test_tls_is_spoken_and_the_certificate_checked(server: RedisServer, tmp_path: Path) -> None:
    door = TlsDoor(server, tmp_path, asked=False)
    trusting = Producer(door, "one", tls=True, ca_file=door.certificate)
    doubting = Producer(door, "two", tls=True)
    for one in (trusting, doubting):
        assert one.claim(1) == [True]
        one.claims.close()
    assert (trusting.counted(), doubting.counted()) == ({"claimed": 1}, {"failed_open": 1})
    door.close()


# -- before it is used ---------------------------------------------------------------------------


def test_trying_out_says_whether_redis_answers(
    server: RedisServer, producer: Callable[..., Producer]
) -> None:
    one = producer()
    assert list(one.claims.try_out()) == [f"Redis at {server.address} answers"]
    server.stop()
    with pytest.raises(SinkError, match="Connection refused"):
        list(one.claims.try_out())


@pytest.mark.parametrize("address", ["", "host:0", "host:70000", "host:x", "redis://host", "a b", "[::1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        RedisSettings(address=address)


@pytest.mark.parametrize(
    ("address", "places"),
    [
        ("redis", [("redis", 6379)]),
        ("10.0.0.1:7000", [("10.0.0.1", 7000)]),
        ("[::1]:7000, b", [("::1", 7000), ("b", 6379)]),
    ],
)
def test_an_address_names_hosts_and_ports(address: str, places: list[tuple[str, int]]) -> None:
    assert RedisSettings(address=address, cluster=True).places == places
    behind = [(host, 26379 if port == 6379 else port) for host, port in places]
    assert RedisSettings(address=address, sentinel_service="s").places == behind


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"address": "a,b"}, "names several: set sentinel_service or cluster"),
        ({"address": "a", "sentinel_password": "x"}, "mean nothing without sentinel_service"),
        ({"address": "a", "sentinel_service": "s", "cluster": True}, "are both set"),
        ({"address": "a", "cluster": True, "database": 2}, "a cluster has database 0 alone"),
        ({"address": "rediss://a"}, "not a URL; tls, login, password and database are keys of their own"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RedisSettings(**settings)


# -- several servers -----------------------------------------------------------------------------


@pytest.fixture
def sentinel(server: RedisServer, tmp_path: Path) -> Iterator[Sentinel]:
    sentinel = Sentinel(tmp_path, "told", server)
    sentinel.start()
    yield sentinel
    sentinel.stop()


def test_the_master_that_sentinels_name_is_asked_and_the_next_one_after_it(
    server: RedisServer, sentinel: Sentinel, tmp_path: Path
) -> None:
    away = f"127.0.0.1:{free_port()}"
    one = Producer(sentinel, "one", address=f"{away},{sentinel.address}", sentinel_service="told")
    assert list(one.claims.try_out()) == [f"Redis at {away},{sentinel.address} answers"]
    assert one.claim(1) == [True]
    with server.client() as client:
        assert len(client.keys("ci-exporter:told:events*")) >= 1
    (tmp_path / "other").mkdir()
    other = RedisServer(tmp_path / "other")
    other.start()
    server.stop()
    assert one.claim(2) == [True]
    sentinel.watch("told", other)
    one.clock.advance(6)
    assert one.claim(2) == [True]
    assert one.counted() == {"claimed": 2, "failed_open": 1}
    with other.client() as client:
        assert len(client.keys()) == 1
    one.claims.close()
    other.stop()


def test_without_a_master_all_is_ours_and_a_try_says_what_is_missing(sentinel: Sentinel) -> None:
    one = Producer(sentinel, "one", sentinel_service="others")
    assert one.claim(1) == [True]
    assert one.counted() == {"failed_open": 1}
    with pytest.raises(SinkError, match=r"No master found for 'others'; check sinks.kafka.redis"):
        list(one.claims.try_out())


def test_sentinels_that_cannot_be_asked_are_told_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """redis-py would show its clients with all their options."""
    away = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    one = Producer(RedisServer(tmp_path), "one", address=",".join(away), sentinel_service="told")
    with pytest.raises(SinkError) as refused:
        list(one.claims.try_out())
    why = "No master found for 'told', and 2 of the Sentinels could not be asked: ConnectionError"
    assert str(refused.value).startswith(f"Redis at {','.join(away)}: {why}")
    assert "<" not in str(refused.value)
    assert one.claim(1) == [True]
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "<" not in record.error  # type: ignore[attr-defined]


def test_sentinels_with_a_password_are_given_it(server: RedisServer, sentinel: Sentinel) -> None:
    with server.client() as client, sentinel.client() as asked:
        client.config_set("requirepass", "opensesame")
        asked.execute_command("SENTINEL SET told auth-pass opensesame")
        asked.acl_setuser("ci", enabled=True, passwords=["+watch22"], commands=["+@all"], keys=["*"])
        asked.acl_setuser("default", enabled=False)
    named = {"sentinel_service": "told", "password": "opensesame"}
    wrong = Producer(sentinel, "one", **named)
    right = Producer(sentinel, "two", **named, sentinel_login="ci", sentinel_password="watch22")
    assert [one.claim(1) for one in (wrong, right)] == [[True], [True]]
    assert (wrong.counted(), right.counted()) == ({"failed_open": 1}, {"claimed": 1})
    right.claims.close()


def test_a_cluster_is_asked_for_many_events_at_once(tmp_path: Path) -> None:
    node = ClusterNode(tmp_path)
    node.start()
    one, two = (Producer(node, owner, cluster=True) for owner in ("one", "two"))
    assert list(one.claims.try_out()) == [f"Redis at {node.address} answers"]
    assert one.claim(*range(0, 30, 2)) == [True] * 15
    assert two.claim(*range(30)) == [serial % 2 == 1 for serial in range(30)]
    node.stop()
    assert one.claim(1) == [True]
    assert one.counted() == {"claimed": 15, "failed_open": 1}
    with pytest.raises(SinkError, match=node.address):
        list(one.claims.try_out())
    for producer in (one, two):
        producer.claims.close()
