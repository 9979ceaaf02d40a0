"""The variables of the replaced system alone: events go from GitLab to Kafka, each at least once, as sent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

from collectors.gitlab.standin.client import StandIn
from tests.support.kafka import Cluster, Reader, ce_id, headers_of
from tests.support.process import PATIENCE, ROOT, free_port, wait_until

TOPIC = "data-bus.gitlab.events"


@contextmanager
def program(folder: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """``ci-exporter serve`` in *folder*, without a file, and with no variables but *env* and the path."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", "serve"],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **env},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=10).status_code == 200
    except requests.RequestException:
        return False


def read_by(reader: Reader) -> dict[int, Any]:
    """``GitLab's id -> message`` of what came so far, the first of each."""
    found: dict[int, Any] = {}
    for message in reader.messages:
        found.setdefault(int(ce_id(message).rpartition("/")[2]), message)
    return found


def test_variables_alone_bring_every_event_to_kafka_over_a_kill(
    stack: ExitStack, start_standin: Callable[..., StandIn], tmp_path: Path
) -> None:
    cluster, port = Cluster(), free_port()
    cluster.topic(TOPIC)
    standin = start_standin(projects=0, speed=1, admin=True)
    standin.action("create_project", path="acme/p")
    env = {
        "GITLAB_BASE_URL": f"{standin.url}/api/v4",
        "GITLAB_PRIVATE_TOKEN": standin.token,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.servers,
        "KAFKA_TOPIC": TOPIC,
        "METRICS_PORT": str(port),
        "METRICS_URL": "metrics",
        "SCHEDULING_POLL_INTERVAL": "0.3",
        "OPERATIONS_PER_SECOND": "100",
    }
    reader = stack.enter_context(cluster.reader(TOPIC))

    def happen(**given: Any) -> int:
        return int(standin.action("event", **given)["event_id"])

    def arrives(number: int) -> None:
        reader.until(lambda _: number in read_by(reader))

    first = stack.enter_context(program(tmp_path, env))
    wait_until(lambda: is_ready(port) or first.poll() is not None, "ready")
    assert first.poll() is None, (tmp_path / "log").read_text()
    arrives(happen(project="acme/p", action_name="pushed to"))
    arrives(happen(user=3, action_name="opened"))
    standin.action("create_project", path="acme/new")
    arrives(happen(project="acme/new"))
    first.kill()
    missed = happen(project="acme/p")
    second = stack.enter_context(program(tmp_path, env))
    arrives(missed)
    arrives(happen(project="acme/p", late=1))
    wanted = {event["id"]: event["text"].encode() for event in standin.events()}
    reader.until(lambda _: read_by(reader).keys() >= wanted.keys())
    came = read_by(reader)
    assert {number: message.value() for number, message in came.items()} == wanted
    assert headers_of(came[missed])["ce_source"] == f"{standin.url}/projects/101"
    assert (came[missed].key(), came[missed].partition()) == (b"101", came[min(came)].partition())
    counted = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    assert 'ci_exporter_events_total{collector="gitlab_events",result="new"}' in counted
    assert standin.token not in (tmp_path / "log").read_text()
    assert second.poll() is None
