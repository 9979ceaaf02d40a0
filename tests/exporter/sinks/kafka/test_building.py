"""A Kafka sink is built as the configuration says, or the configuration is refused with a sentence."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from pydantic import ValidationError

from exporter.cli import main
from exporter.config.schema import Settings
from exporter.config.sinks import KafkaSettings
from exporter.errors import ConfigError, SinkError
from exporter.sinks.building import build_sinks
from exporter.sinks.kafka.producing import Line, producer_options
from exporter.sinks.kafka.trying import try_out
from tests.support.kafka import Cluster

FORGE = frozenset({"forge"})
TREE = Path(__file__).parents[4]


def settings(**kafka: Any) -> KafkaSettings:
    return KafkaSettings(**({"bootstrap_servers": "127.0.0.1:9", "topic": "t"} | kafka))


def build(streams: frozenset[str] = FORGE, **kafka: Any) -> Any:
    found: Any = SimpleNamespace(sinks=SimpleNamespace(kafka=settings(**kafka)), alerts=None)
    context: Any = None
    return build_sinks(found, context, streams)


def refusal(streams: frozenset[str] = FORGE, **kafka: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build(streams, **kafka)
    return str(caught.value)


# -- what is delivered ---------------------------------------------------------------------------


def test_without_a_block_or_disabled_there_is_no_sink():
    context: Any = None
    assert build_sinks(Settings(), context, FORGE) == []
    assert build(enabled=False) == []


@pytest.mark.parametrize(
    ("events", "streams"),
    [(None, {"forge", "weather"}), (("runs",), {"runs"}), (("forge", "runs"), {"forge", "runs"})],
)
def test_the_streams_are_those_of_the_collectors_and_runs_only_by_name(events, streams):
    (sink,) = build(frozenset({"forge", "weather"}), events=events)
    assert sink.streams == streams


def test_a_stream_that_nobody_reads_is_refused_with_those_that_there_are():
    assert refusal(events=("forgo", "runs")) == (
        "sinks.kafka.events: no configured collector reads forgo; there is: runs, forge"
    )
    assert refusal(frozenset()) == (
        "sinks.kafka.events: no configured collector reads events; name what is to be produced, of: runs"
    )


# -- what librdkafka is told ---------------------------------------------------------------------


def test_a_missing_package_is_told_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert refusal() == 'sinks.kafka: needs a package that is not here: pip install "ci-exporter[kafka]"'


def test_the_package_is_loaded_for_a_sink_alone():
    code = (
        "import sys, exporter.app; from exporter.sinks.building import build_sinks;"
        "from exporter.config.schema import Settings;"
        "build_sinks(Settings(), None, frozenset()); print('confluent_kafka' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_options_that_librdkafka_does_not_know_are_refused_by_its_words():
    assert refusal(options={"linger.mss": 1}) == (
        'sinks.kafka: options.linger.mss: No such configuration property: "linger.mss"'
    )
    assert "options.socket.timeout.ms: " in refusal(options={"socket.timeout.ms": "soon"})


def test_a_file_that_cannot_be_used_is_refused(tmp_path):
    assert "ssl.ca.location" in refusal(tls=True, ca_file=tmp_path / "none.pem")


def test_what_librdkafka_says_has_no_secret_in_it(tmp_path):
    key = tmp_path / "key.pem"
    key.write_text("no key")
    said = refusal(
        tls=True, certificate_file=key, key_file=key, key_password="hunter2", login="a", password="hunter3"
    )
    assert "hunter" not in said


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        ({"bootstrap_servers": " , "}, "must name a broker"),
        ({"bootstrap_servers": "a:0"}, "must be host:port"),
        ({"bootstrap_servers": "a b"}, "must be host:port"),
        ({"topic": "a b"}, "must be the name of a topic"),
        ({"topic": ".."}, "must be the name of a topic"),
        ({"login": "a"}, "login needs password or password_file"),
        ({"password": "a"}, "password needs login"),
        ({"tls": True, "key_file": "a"}, "certificate_file and key_file need each other"),
        ({"ca_file": "a"}, "mean nothing without tls: true"),
        ({"options": {"linger.ms": 1}}, "linger.ms is what sinks.kafka.linger_milliseconds sets: use that"),
        ({"options": {"acks": 1}}, "acks is fixed: without it events could be lost, doubled or reordered"),
        ({"options": {"ssl.key.password": "hunter2"}}, "ssl.key.password is a secret"),
        ({"options": {"error_cb": "x"}}, "error_cb is no option that can be written in a file"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(kafka, said):
    with pytest.raises(ValidationError, match=said.replace(".", r"\.")):
        settings(**kafka)


def test_the_options_are_those_that_lose_double_and_reorder_nothing(tmp_path):
    ca = tmp_path / "ca.pem"
    found = producer_options(
        settings(
            bootstrap_servers="a:1, b:2",
            login="me",
            password="pass",
            sasl_mechanism="SCRAM-SHA-512",
            tls=True,
            ca_file=ca,
            compression="zstd",
            options={"socket.nagle.disable": True},
        ),
        "pass",
    )
    expected = {
        "bootstrap.servers": "a:1,b:2",
        "enable.idempotence": True,
        "enable.gapless.guarantee": True,
        "acks": "all",
        "message.timeout.ms": 0,
        "partitioner": "murmur2_random",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "pass",
        "ssl.ca.location": str(ca),
        "compression.type": "zstd",
        "socket.nagle.disable": "true",
    }
    assert found.items() >= expected.items()
    assert producer_options(settings(), None)["security.protocol"] == "PLAINTEXT"


def test_a_refused_login_is_tried_with_the_password_that_is_in_the_file_now(tmp_path):
    file = tmp_path / "password"
    file.write_text("old\n")
    line = Line(settings(login="me", password="old", password_file=file))
    try:
        assert not line.log_in_again()
        file.write_text("new\n")
        assert line.log_in_again()
        assert not line.log_in_again()
        file.unlink()
        assert line.log_in_again()  # back to the one that was read at the start
    finally:
        line.close()


def test_brokers_that_are_down_are_named_though_nothing_was_said_of_them_yet():
    line = Line(settings(bootstrap_servers="127.0.0.1:9"))
    try:
        line._note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
        assert line.trouble == "no broker can be reached: 127.0.0.1:9: 1/1 brokers are down"
        line._note(KafkaError(KafkaError._TRANSPORT, "127.0.0.1:9/bootstrap: Connect failed"))
        line._note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
        assert line.trouble == "no broker can be reached: 127.0.0.1:9/bootstrap: Connect failed"
    finally:
        line.close()


# -- trying it out -------------------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch):
    """Waits less for an answer that the brokers in memory never give: what we may do."""
    monkeypatch.setattr("exporter.sinks.kafka.trying._DESCRIBE_SECONDS", 0.1)


def test_trying_out_tells_about_the_topic_and_makes_none(soon):
    cluster = Cluster()
    chosen = settings(bootstrap_servers=cluster.servers)
    for _ in range(2):
        with pytest.raises(
            SinkError, match="t does not exist, and the brokers do not tell whether they would"
        ):
            list(try_out(chosen))
    cluster.topic("t", 3)
    assert list(try_out(chosen)) == ["topic t, 3 partitions"]


@pytest.mark.parametrize(("makes", "fails"), [("true", False), ("false", True)])
def test_a_topic_that_does_not_exist_is_no_failure_if_brokers_make_topics(soon, monkeypatch, makes, fails):
    def answer(_client, resources, **_options):
        future = Future()
        future.set_result({"auto.create.topics.enable": SimpleNamespace(value=makes)})
        return {resources[0]: future}

    # The cluster in memory answers no question of this kind; a real broker is asked in an acceptance test.
    monkeypatch.setattr("exporter.sinks.kafka.trying.AdminClient.describe_configs", answer)
    cluster = Cluster()
    chosen = settings(bootstrap_servers=cluster.servers)
    if fails:
        with pytest.raises(SinkError, match="make none by themselves: create it, or correct"):
            list(try_out(chosen))
    else:
        assert list(try_out(chosen)) == [
            "topic t does not exist: the brokers make it with the first event, as they make any topic"
        ]


def test_trying_out_says_who_refuses_what():
    cluster = Cluster()
    with pytest.raises(SinkError, match=r"Kafka refuses us: .*SASL"):
        list(try_out(settings(bootstrap_servers=cluster.servers, login="me", password="pass")))


def test_check_online_tries_the_sink_and_fails_with_it(tmp_path, capsys, monkeypatch, soon):
    monkeypatch.setattr("exporter.sinks.kafka.trying._TRIES", 1)
    cluster = Cluster()
    file = tmp_path / "config.yaml"
    text = (
        f"store: {{url: 'sqlite:///{tmp_path}/s.db'}}\n"
        f"sinks:\n  kafka: {{bootstrap_servers: '{cluster.servers}', topic: t, events: [runs]}}\n"
    )
    file.write_text(text)
    assert main(["check", "--config", str(file), "--online"]) == 1
    assert "kafka: failed: topic t does not exist" in capsys.readouterr().out
    cluster.topic("t", 3)
    assert main(["check", "--config", str(file), "--online"]) == 0
    assert "kafka: topic t, 3 partitions" in capsys.readouterr().out
    cluster.stop()
    assert main(["check", "--config", str(file), "--online"]) == 1
    assert "kafka: failed: Kafka does not answer: " in capsys.readouterr().out
    file.write_text(text.replace("runs", "rums"))
    assert main(["check", "--config", str(file)]) == 2
    assert f"{file}:3: sinks.kafka.events: no configured collector reads rums" in capsys.readouterr().err
