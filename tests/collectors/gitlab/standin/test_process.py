"""The stand-in as a process: its socket, its end, and the helper that steers it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from collectors.gitlab.hooks import is_authentic
from collectors.gitlab.settings import GitLabConfig
from collectors.gitlab.standin.client import StandIn
from collectors.gitlab.standin.demo import demo_source
from exporter.hooks import Hook


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with StandIn.start(projects=4, seed=3, history_days=1, history_pipelines=40, token="secret") as running:
        yield running


def test_it_answers_over_http_with_the_time_of_its_world(server: StandIn) -> None:
    status, projects, head = server.get("/projects?order_by=id&sort=asc")
    assert (status, len(projects)) == (200, 4)
    assert head["connection"] == "keep-alive"
    assert head["link"].startswith(f"<{server.url}/api/v4/projects?")
    assert projects[0]["web_url"].startswith(server.url)


def test_helper_steers_it(server: StandIn) -> None:
    number = server.action("new_pipeline", project=101, story="failing")["pipeline_id"]
    server.advance(3600)
    recent = server.truth(past=False, kind="pipeline", project_id=101)["executions"]
    assert number in [entry["pipeline_id"] for entry in recent]
    assert len(server.truth()["executions"]) > len(recent)
    with pytest.raises(ValueError, match="actions"):
        server.action("nonsense")


def test_helper_tells_and_forgets_requests(server: StandIn) -> None:
    server.requests(reset=True)
    server.get("/user")
    assert server.requests(log=True, reset=True)["recent"] == ["GET /api/v4/user"]
    assert server.requests()["total"] == 0


def test_faults_reach_the_wire(server: StandIn) -> None:
    ask = {"headers": {"PRIVATE-TOKEN": "secret"}, "timeout": 5}
    server.faults({"kind": "cut", "count": 1})
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(f"{server.url}/api/v4/projects", **ask)
    server.faults({"kind": "drop", "count": 1})
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"{server.url}/api/v4/projects", **ask)
    server.faults({"kind": "hang", "seconds": 60, "count": 1})
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(f"{server.url}/api/v4/projects", **ask | {"timeout": 0.1})
    server.faults({"kind": "slow", "ms": 20})
    assert requests.get(f"{server.url}/api/v4/projects", **ask).elapsed.total_seconds() >= 0.02
    server.faults(latency_ms=0)
    assert requests.get(f"{server.url}/api/v4/projects", **ask).status_code == 200


def test_pipelined_requests_are_answered_in_order_even_when_one_is_slow(server: StandIn) -> None:
    server.faults({"kind": "slow", "ms": 30, "path": "/version"})
    one = "GET /api/v4/{} HTTP/1.1\r\nHost: x\r\nPRIVATE-TOKEN: secret\r\n{}\r\n"
    wanted = one.format("version", "") + one.format("user", "Connection: close\r\n")
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=60) as client:
        client.sendall(wanted.encode())
        got = b"".join(iter(lambda: client.recv(65536), b""))
    server.faults()
    assert got.index(b'"revision"') < got.index(b'"username"')


@pytest.mark.parametrize(
    "junk", [b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
def test_junk_is_400(server: StandIn, junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=60) as client:
        client.sendall(junk)
        assert client.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_head_and_http_1_0(server: StandIn) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.request("HEAD", "/api/v4/version", headers={"PRIVATE-TOKEN": "secret"})
    assert connection.getresponse().read() == b""
    connection.close()


def test_many_connections_at_once_are_served(server: StandIn) -> None:
    port = int(server.url.rpartition(":")[2])
    clients = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(300)]
    for client in clients:
        client.sendall(b"GET /api/v4/version HTTP/1.1\r\nHost: x\r\nPRIVATE-TOKEN: secret\r\n\r\n")
    assert all(client.recv(65536).startswith(b"HTTP/1.1 200 ") for client in clients)
    for client in clients:
        client.close()


def test_options_of_the_command_line_reach_the_world() -> None:
    with StandIn.start(
        projects=2, start="2026-01-02T03:04:05Z", offset="+02:00", stories={"ci_skip": 1}
    ) as running:
        assert running.advance(60) == "2026-01-02T03:05:05.000Z"
        running.action("create_project", path="acme/new")
        _, project, _ = running.get("/projects/acme%2Fnew")
        assert project["created_at"] == "2026-01-02T05:05:05.000+02:00"


def test_sigterm_ends_it_even_with_open_connections() -> None:
    running = StandIn.start(projects=1)
    running.get("/version")
    assert running.stop() == 0


def test_it_ends_when_its_parent_dies(tmp_path: Path) -> None:
    """The parent is killed, so that only the stand-in itself can notice; its end closes the pipe."""
    source = (
        "import os, signal, sys\n"
        "from collectors._standin.client import spawn\n"
        "import subprocess\n"
        "module = 'collectors.gitlab.standin'\n"
        "process, url = spawn(module, {'projects': 1}, subprocess.DEVNULL, sys.stdout.fileno())\n"
        "print(process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    known = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    ended = subprocess.run(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, env=known, timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert int(ended.stdout) > 0


def test_a_bad_option_is_told() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        StandIn.start(stories={"nonsense": 1})


def test_the_demo_source_is_alive_and_fits_its_block(tmp_path: Path) -> None:
    source = demo_source(tmp_path)
    try:
        block: dict[str, Any] = dict(source.block)
        group = block["groups"][0]["path"]
        url = f"{block['url']}/api/v4/groups/{group}/projects"
        asked = {"include_subgroups": "true", "per_page": "100"}
        answer = requests.get(url, asked, headers={"PRIVATE-TOKEN": block["token"]}, timeout=60)
        assert 20 < len(answer.json()) < 40
        assert block["poll_interval_seconds"] == 5
        assert source.send_hooks is not None
        with socket.create_server(("127.0.0.1", 0)) as receiver:
            receiver.settimeout(60)
            source.send_hooks(f"http://127.0.0.1:{receiver.getsockname()[1]}/hooks/")
            sender, _ = receiver.accept()
            with sender, sender.makefile("rb") as request:
                assert request.readline() == b"POST /hooks/gitlab HTTP/1.1\r\n"
                head = http.client.parse_headers(request)
                body = request.read(int(head["content-length"]))
        headers = {name.lower(): value for name, value in head.items()}
        assert is_authentic(Hook(headers, body, datetime.now(UTC)), GitLabConfig(**block).hooks)
    finally:
        for number in source.process_ids:
            os.kill(number, signal.SIGTERM)
            os.waitpid(number, 0)
