"""Events on their way to a real Apache Kafka broker: whoever dies meanwhile, each arrives, in its order."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from collectors.gitlab.standin.client import StandIn
from exporter.config.sinks import KafkaSettings
from exporter.errors import SinkError
from exporter.sinks.kafka.trying import try_out
from tests.acceptance.conftest import StartStandIn, exporter_config
from tests.support.broker import LOGIN, PASSWORD, Broker, Listener
from tests.support.feed import Feed
from tests.support.process import SOON, ExporterProcess, wait_until
from tests.support.redis import RedisServer
from tests.support.witness import Witness

# Smaller tests go through the same code once; here it is killed, and could not tell what it ran.

STORIES = ("normal", "failing", "auto_retry", "cancel_running")
WAITING = 'ci_exporter_outbox_events{sink="kafka"}'
SUCCESS = 'ci_exporter_sink_success{sink="kafka"}'
DEAD = 'ci_exporter_dead_letters{sink="kafka"}'
_topics = itertools.count(1)


@pytest.fixture(scope="session")
def shared_broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.remove()


@pytest.fixture
def broker(shared_broker: Broker) -> Broker:
    """The broker of all these tests, running."""
    if not shared_broker.running:
        shared_broker.start()
    return shared_broker


class Scene:
    """A stand-in GitLab, the exporter, a topic of its own on the broker, and who looks at both ends."""

    def __init__(
        self, stack: ExitStack, folder: Path, broker: Broker, standin: StandIn, **topic: str
    ) -> None:
        self.broker, self.standin = broker, standin
        self.topic = f"events-{next(_topics)}"
        broker.create_topic(self.topic, **topic)
        self.listener = stack.enter_context(Listener(broker, self.topic))
        self.store_path = folder / "store.db"
        self._store = f"sqlite:///{self.store_path}"
        self.witness = Witness(self.store_path)
        self._stack = stack
        self._feed: Feed | None = None
        self._chance = random.Random(6)
        listed = standin.get("/groups/acme/projects?include_subgroups=true&per_page=100")[1]
        self._projects = [one["id"] for one in listed if one["jobs_enabled"] and not one["archived"]]
        self.past = len(standin.truth()["executions"])
        self.exporter = stack.enter_context(ExporterProcess(folder, self.config()))

    def config(self, **kafka: Any) -> dict[str, Any]:
        """A configuration in which *kafka* overrides what is fit for most tests."""
        sink = {"bootstrap_servers": self.broker.address, "topic": self.topic, "events": ["runs"], **kafka}
        return exporter_config(self.standin, self._store, {}) | {"sinks": {"kafka": sink}}

    @property
    def feed(self) -> Feed:
        """More load than a stand-in makes; the exporter must have been ready once."""
        if self._feed is None:
            self._feed = self._stack.enter_context(Feed(self._store))
        return self._feed

    def work(self, pipelines: int) -> None:
        """Start some pipelines, and let time pass."""
        for _ in range(pipelines):
            self.standin.action(
                "new_pipeline",
                project=self._chance.choice(self._projects),
                story=self._chance.choice(STORIES),
            )
            self.standin.advance(self._chance.choice((5, 20, 60)))

    def come_to_rest(self) -> None:
        """Let everything that was started end, and wait until the exporter has read of it."""
        for _ in range(30):
            self.standin.advance(120)
        wait_until(lambda: not self.missing(), "the exporter hears of every end")

    def missing(self) -> set[tuple[str, str]]:
        """Ends of pipelines and jobs that the stand-in knows and no event tells: ``(subject, status)``."""
        ends = {
            (
                f"runs/{one['pipeline_id']}" if one["kind"] == "pipeline" else f"jobs/{one['job_id']}",
                one["status"],
            )
            for one in self.standin.truth()["executions"][self.past :]
            if one["kind"] != "bridge" and one["project"].startswith("acme/")
        }
        return ends - self.witness.states()

    def assert_everything_told(self) -> None:
        """Every event that was saved arrives, unchanged, once for who knows ids, and in order per key."""
        self.listener.wait_for(self.witness.count(), "what was saved arrives")
        with suppress(AssertionError):  # the last ones may be saved only now
            wait_until(self._is_told, "all keys are the same", SOON)
        assert self.listener.by_key() == self.witness.by_key()
        values = self.witness.values()
        assert {one.id: one.value for one in self.listener.messages} == values

    def _is_told(self) -> bool:
        self.listener.read()
        return self.listener.by_key() == self.witness.by_key()

    def value(self, sample: str) -> float:
        """What the exporter says of itself; -1 if it does not say."""
        for line in self.exporter.scrape().splitlines():
            if line.startswith(f"{sample} "):
                return float(line.rsplit(" ", 1)[1])
        return -1

    def dead_letters(self) -> dict[str, str]:
        """``event id -> reason``."""
        connection = sqlite3.connect(self.store_path, timeout=60)
        try:
            return dict(connection.execute("SELECT event_id, reason FROM dead_letters").fetchall())
        finally:
            connection.close()

    def logged(self, text: str) -> bool:
        return text in self.exporter.log_path.read_text()

    def memory(self) -> int:
        """Resident bytes of the exporter."""
        status = Path(f"/proc/{self.exporter.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


MakeScene = Callable[..., Scene]


@pytest.fixture
def make_scene(stack: ExitStack, tmp_path: Path, broker: Broker, start_standin: StartStandIn) -> MakeScene:
    """Makes a scene; the options are the topic's."""

    def make(**topic: str) -> Scene:
        standin = start_standin(projects=6, history_days=1, history_pipelines=20, seed=3)
        return Scene(stack, tmp_path, broker, standin, **topic)

    return make


@pytest.fixture
def scene(make_scene: MakeScene) -> Scene:
    """One whose exporter delivers, so little at a time that load lasts long enough to die in it."""
    scene = make_scene()
    scene.exporter.write_config(scene.config(in_flight_events=50))
    scene.exporter.start().wait_ready()
    return scene


# -- while all is well ---------------------------------------------------------------------------


def test_every_change_arrives_once_and_in_order_with_what_a_consumer_needs(scene: Scene) -> None:
    scene.work(20)
    scene.come_to_rest()
    scene.assert_everything_told()
    messages = scene.listener.messages
    assert len(messages) == scene.witness.count(), "nobody died: nothing came twice"
    for message in messages:
        value = json.loads(message.value)
        assert message.key == value["project"]["id"]
        assert message.headers["ce_specversion"] == "1.0"
        assert message.headers["content-type"] == "application/json"
    wait_until(lambda: scene.value(WAITING) == 0, "nothing waits")
    assert scene.value('ci_exporter_sink_deliveries_total{result="success",sink="kafka"}') == len(messages)
    assert scene.value(SUCCESS) == 1


def test_what_people_do_arrives_as_gitlab_told_it_whoever_is_killed(
    stack: ExitStack, tmp_path: Path, broker: Broker, start_standin: StartStandIn
) -> None:
    standin = start_standin(projects=0, admin=True)
    projects = ["acme/p", "acme/q"]
    for path in projects:
        standin.action("create_project", path=path)
    scene = Scene(stack, tmp_path, broker, standin)
    config = scene.config(events=None)
    config["collectors"] = {
        "gitlab_events": {
            "url": standin.url,
            "token": standin.token,
            "poll_interval_seconds": 0.3,
            "operations_per_second": 1000,
        }
    }
    scene.exporter.write_config(config)
    scene.exporter.start().wait_ready()
    made: set[int] = set()

    def happen(**given: Any) -> None:
        made.add(standin.action("event", late=0, **given)["event_id"])

    for kill in (scene.exporter.kill, broker.kill):
        for number in range(20):
            happen(project=projects[number % 2], action_name="pushed to")
            happen(user=3, action_name="opened")
        kill()
        happen(project=projects[0])
        (broker if scene.exporter.process.poll() is None else scene.exporter).start()

    def came() -> dict[int, bytes]:
        scene.listener.read()
        return {int(one.id[1].rpartition("/")[2]): one.value for one in scene.listener.messages}

    wait_until(lambda: came().keys() >= made, "what happened arrives")
    arrived = came()
    happened = {event["id"]: event["text"].encode() for event in standin.events()}
    assert arrived == {number: happened[number] for number in arrived}
    scene.assert_everything_told()


# -- who dies meanwhile --------------------------------------------------------------------------


def test_the_broker_is_killed_under_load(scene: Scene) -> None:
    for _ in range(2):
        scene.feed.tell(2_000)
        scene.listener.wait_for(scene.listener.count() + 200, "some of the load arrives")
        scene.broker.kill()
        scene.work(5)
        scene.feed.tell(500)
        scene.broker.start()
    scene.come_to_rest()
    scene.assert_everything_told()


def test_the_exporter_is_killed_again_and_again_under_load(scene: Scene) -> None:
    for _ in range(4):
        scene.feed.tell(2_000)
        scene.work(3)
        scene.listener.wait_for(scene.listener.count() + 200, "some of the load arrives")
        scene.exporter.kill()
        scene.work(3)
        scene.exporter.start()
    scene.exporter.wait_ready()
    scene.come_to_rest()
    scene.assert_everything_told()


def test_both_are_killed_with_events_between_them(scene: Scene) -> None:
    scene.feed.tell(200)
    scene.listener.wait_for(200, "the exporter delivers")
    wait_until(lambda: scene.value(WAITING) == 0, "nothing waits")
    scene.broker.kill()
    scene.feed.tell(1_000)
    # What was sent while nobody took it must not count as delivered.
    wait_until(lambda: scene.logged("sink cannot deliver"), "the exporter tries, in vain")
    scene.exporter.kill()
    scene.broker.start()
    scene.exporter.start().wait_ready()
    scene.feed.tell(1_000)
    scene.listener.wait_for(400, "some of the load arrives")
    scene.exporter.kill()
    scene.broker.kill()
    scene.work(3)
    scene.exporter.start()
    scene.broker.start()
    scene.exporter.wait_ready()
    scene.come_to_rest()
    scene.assert_everything_told()


def test_the_exporter_is_killed_between_its_claims_in_redis_and_the_delivery(
    stack: ExitStack, make_scene: MakeScene, tmp_path: Path
) -> None:
    scene = make_scene()
    redis = RedisServer(tmp_path)
    stack.callback(redis.stop)
    redis.start()
    scene.exporter.write_config(scene.config(redis={"address": redis.address}))
    scene.exporter.start().wait_ready()
    scene.broker.kill()
    scene.feed.tell(1_000)
    wait_until(lambda: scene.logged("sink cannot deliver"), "the exporter has claimed, and tries in vain")
    scene.exporter.kill()
    scene.exporter.start().wait_ready()
    redis.stop()
    scene.broker.start()
    scene.feed.tell(200)
    scene.assert_everything_told()


def test_the_disk_of_the_broker_is_full_and_has_room_again(scene: Scene) -> None:
    scene.feed.tell(200)
    scene.listener.wait_for(200, "what fits arrives")
    scene.broker.fill_disk(scene.topic)
    scene.feed.tell(2_000)
    wait_until(lambda: not scene.broker.running, "the broker gives up, as it does without a disk")
    scene.work(5)
    scene.broker.start()
    scene.come_to_rest()
    scene.assert_everything_told()


def test_a_long_absence_of_the_broker_costs_no_memory_and_no_round(make_scene: MakeScene) -> None:
    scene = make_scene()
    window = {"in_flight_events": 2_000, "in_flight_bytes": 8_000_000}
    scene.exporter.write_config(scene.config(**window))
    scene.exporter.start().wait_ready()
    scene.feed.tell(4_000, size=4_000)
    scene.listener.wait_for(4_000, "the exporter has worked")
    before = scene.memory()
    scene.broker.kill()
    # At 33 events each second, ten minutes have so many: 80 MB.
    for _ in range(10):
        scene.feed.tell(2_000, size=4_000, batch=1_000)
        scene.work(1)
    scene.come_to_rest()
    wait_until(lambda: scene.logged("sink cannot deliver"), "the exporter says that it cannot deliver")
    wait_until(lambda: scene.value(WAITING) >= 20_000, "and what waits")
    assert scene.value(SUCCESS) == 0
    assert scene.exporter.answers("/-/ready"), "rounds go on"
    meanwhile = scene.memory()
    scene.broker.start()
    scene.assert_everything_told()
    wait_until(lambda: scene.value(WAITING) == 0, "nothing waits")
    after = scene.memory()
    assert max(meanwhile, after) - before < 60 << 20, (before, meanwhile, after)


def test_two_replicas_on_one_postgresql_of_which_the_polling_one_dies(
    stack: ExitStack, tmp_path: Path, broker: Broker, start_standin: StartStandIn, postgres_database: str
) -> None:
    standin = start_standin(projects=6, history_days=1, history_pipelines=20, seed=3)
    topic = f"events-{next(_topics)}"
    broker.create_topic(topic)
    listener = stack.enter_context(Listener(broker, topic))
    sink = {"bootstrap_servers": broker.address, "topic": topic, "events": ["runs"], "in_flight_events": 50}
    config = exporter_config(standin, postgres_database, {}) | {"sinks": {"kafka": sink}}
    first, second = (
        stack.enter_context(ExporterProcess(tmp_path, config, name=name)).start().wait_ready()
        for name in ("first", "second")
    )
    feed = stack.enter_context(Feed(postgres_database))
    told = feed.tell(2_000)
    listener.wait_for(200, "some of the load arrives")
    first.kill()
    told += feed.tell(2_000)
    wait_until(lambda: "ci_exporter_leader 1" in second.scrape(), "the other takes over")
    first.start().wait_ready()
    second.kill()
    told += feed.tell(500)
    listener.wait_for(len(told), "what was saved arrives")
    numbers = lambda ids: [int(one.partition("/")[2]) for one in ids]  # noqa: E731
    arrived = listener.by_key()
    assert sorted(itertools.chain(*arrived.values())) == sorted(told)
    assert all(numbers(ids) == sorted(numbers(ids)) for ids in arrived.values())


# -- logins --------------------------------------------------------------------------------------


def test_what_would_keep_events_from_a_broker_is_said_beforehand(broker: Broker) -> None:
    def refusal(**kafka: Any) -> str:
        with pytest.raises(SinkError) as raised:
            list(try_out(KafkaSettings(topic="nobody-made-it", **kafka)))
        return str(raised.value)

    assert refusal(bootstrap_servers=broker.address) == (
        "topic nobody-made-it does not exist, and the brokers make none by themselves: create it, or correct"
        " sinks.kafka.topic"
    )
    said = refusal(bootstrap_servers=broker.plain, login=LOGIN, password="another")
    assert said.startswith("Kafka refuses us: ")
    assert "Invalid username or password" in said
    assert "check login, password" in said


def test_a_wrong_password_is_said_and_the_right_one_after_a_reload_loses_nothing(
    make_scene: MakeScene,
) -> None:
    scene = make_scene()
    login = {"bootstrap_servers": scene.broker.plain, "login": LOGIN}
    scene.exporter.write_config(scene.config(**login, password="not-this-one"))
    scene.exporter.start().wait_ready()
    scene.feed.tell(300)
    wait_until(lambda: scene.logged("sink cannot deliver"), "the exporter says so")
    assert scene.logged("uthentication failed")
    assert scene.listener.count() == 0
    scene.exporter.write_config(scene.config(**login, password=PASSWORD))
    assert scene.exporter.session.post(f"{scene.exporter.url}/-/reload").status_code == 200
    scene.work(2)
    scene.come_to_rest()
    scene.assert_everything_told()
    assert not scene.logged("not-this-one")
    assert not scene.logged(PASSWORD)


def test_scram_over_tls_with_a_password_that_changes_in_its_file(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    scene = make_scene()
    file = tmp_path / "password"
    file.write_text("an-old-one")
    scene.exporter.write_config(
        scene.config(
            bootstrap_servers=scene.broker.secure,
            tls=True,
            ca_file=str(scene.broker.authority),
            login=LOGIN,
            password_file=str(file),
            sasl_mechanism="SCRAM-SHA-512",
        )
    )
    scene.exporter.start().wait_ready()
    scene.feed.tell(300)
    wait_until(lambda: scene.logged("sink cannot deliver"), "the exporter says so")
    assert scene.logged("uthentication failed")
    file.write_text(f"{PASSWORD}\n")
    scene.listener.wait_for(300, "the new password is used")
    assert scene.exporter.terminate(SOON) == 0
    scene.assert_everything_told()
    assert not scene.logged(PASSWORD)


# -- what no broker takes ------------------------------------------------------------------------


def test_what_is_larger_than_the_topic_takes_is_kept_apart_and_all_else_flows(make_scene: MakeScene) -> None:
    scene = make_scene(max_message_bytes="20000")
    scene.exporter.write_config(scene.config(linger_milliseconds=0))
    scene.exporter.start().wait_ready()
    small = scene.feed.tell(100)
    too_large = scene.feed.tell(2, size=50_000, batch=1)
    small += scene.feed.tell(100)
    too_large += scene.feed.tell(1, size=2_000_000)
    small += scene.feed.tell(100)
    scene.listener.wait_for(len(small), "the small ones arrive")
    wait_until(lambda: scene.value(DEAD) == len(too_large), "the large ones are counted")
    assert scene.dead_letters().keys() == set(too_large)
    assert all("large" in reason for reason in scene.dead_letters().values())
    told = scene.listener.by_key()
    expected = {
        key: [one for one in ids if one not in too_large] for key, ids in scene.witness.by_key().items()
    }
    assert told == expected
    wait_until(lambda: scene.value(WAITING) == 0, "nothing waits")
