"""The variables of the replaced system alone: events go from GitLab to whoever stands where Kafka would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

from collectors.gitlab.standin.client import StandIn
from tests.support.process import PATIENCE, ROOT, _environment, free_port, wait_until


@contextmanager
def program(folder: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """``ci-exporter serve`` in *folder*, without a file; its events go into ``events.jsonl``."""
    sink = ROOT / "tests" / "support" / "filesink.py"
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(sink), str(folder / "events.jsonl"), "serve"],
            cwd=folder,
            env=_environment() | env,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def told(folder: Path) -> dict[str, Any]:
    """``id -> data`` of everything delivered so far, whole lines only."""
    file = folder / "events.jsonl"
    text = file.read_text() if file.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return {line["id"].rpartition("/")[2]: line["data"] for line in lines}


def is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=10).status_code == 200
    except requests.RequestException:
        return False


def test_variables_alone_make_every_event_arrive_over_a_kill(
    stack: ExitStack, start_standin: Callable[..., StandIn], tmp_path: Path
) -> None:
    port = free_port()
    standin = start_standin(projects=0, speed=1, admin=True)
    standin.action("create_project", path="acme/p")
    env = {
        "GITLAB_BASE_URL": f"{standin.url}/api/v4",
        "GITLAB_PRIVATE_TOKEN": standin.token,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "KAFKA_TOPIC": "data-bus.gitlab.events",
        "METRICS_PORT": str(port),
        "METRICS_URL": "metrics",
        "SCHEDULING_POLL_INTERVAL": "0.3",
        "OPERATIONS_PER_SECOND": "100",
    }

    def arrives(**given: Any) -> None:
        number = str(standin.action("event", **given)["event_id"])
        wait_until(lambda: number in told(tmp_path), f"event {number}")

    first = stack.enter_context(program(tmp_path, env))
    wait_until(lambda: is_ready(port) or first.poll() is not None, "ready")
    assert first.poll() is None, (tmp_path / "log").read_text()
    arrives(project="acme/p", action_name="pushed to")
    arrives(user=3, action_name="opened")
    standin.action("create_project", path="acme/new")
    arrives(project="acme/new")
    first.kill()
    missed = str(standin.action("event", project="acme/p")["event_id"])
    second = stack.enter_context(program(tmp_path, env))
    wait_until(lambda: missed in told(tmp_path), "what happened meanwhile")
    arrives(project="acme/p", late=1)
    wait_until(
        lambda: told(tmp_path) == {str(event["id"]): event["text"] for event in standin.events()},
        "exactly what happened",
    )
    counted = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    assert 'ci_exporter_events_total{collector="gitlab_events",result="new"}' in counted
    assert standin.token not in (tmp_path / "log").read_text()
    assert second.poll() is None
