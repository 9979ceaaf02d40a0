"""The metrics server as a program of its own would use it, over real sockets."""

from __future__ import annotations

import gzip
import http.client
import socket

import pytest
from ci_exporter import MetricsServer, RunnerMetrics
from prometheus_client import REGISTRY

from exporter.errors import ExporterError


def get(address: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): text for name, text in answer.getheaders()}, body


@pytest.fixture
def metrics() -> RunnerMetrics:
    return RunnerMetrics("act_runner", version="1", name="here", capacity=2)


def test_it_serves_what_it_is_given_with_the_process_beside(metrics: RunnerMetrics) -> None:
    with MetricsServer(metrics, addr="127.0.0.1:0") as server:
        status, headers, body = get(server.addresses[0], "/metrics")
        assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert b'act_runner_info{name="here",version="1"} 1.0\n' in body
        assert b"process_start_time_seconds" in body
        assert b"python_info" in body
        assert b"ci_exporter" not in body
        assert get(server.addresses[0], "/healthz")[::2] == (200, b"ok\n")
        assert get(server.addresses[0], "/")[0] == 200
        for absent in ("/-/reload", "/log_level", "/-/config", "/nothing"):
            assert get(server.addresses[0], absent)[0] == 404


def test_the_registry_of_prometheus_client_can_be_a_source(metrics: RunnerMetrics) -> None:
    with MetricsServer(metrics, REGISTRY, addr="127.0.0.1:0") as server:
        body = get(server.addresses[0], "/metrics")[2]
        assert body.count(b"\npython_info{") == 1
        assert body.count(b"\nprocess_start_time_seconds ") == 1
        named = get(server.addresses[0], "/metrics?name[]=python_info&name[]=act_runner_capacity")[2]
        assert {line.split(b"{")[0].split()[0] for line in named.splitlines() if line[:1] != b"#"} == {
            b"python_info",
            b"act_runner_capacity",
        }


def test_it_speaks_openmetrics_and_gzip_and_takes_names(metrics: RunnerMetrics) -> None:
    with MetricsServer(metrics, addr="127.0.0.1:0", path="/runner") as server:
        _, headers, body = get(
            server.addresses[0],
            "/runner?name[]=act_runner_capacity",
            Accept="application/openmetrics-text; version=1.0.0",
            Accept_Encoding="gzip",
        )
        assert headers["content-encoding"] == "gzip"
        lines = gzip.decompress(body).decode().splitlines()
        assert lines[-2:] == ["act_runner_capacity 2.0", "# EOF"]
        assert len(lines) == 4
        assert get(server.addresses[0], "/runner?collect[]=x")[::2] == (
            400,
            b"there are no collectors to choose from here; leave out collect[]\n",
        )
        assert get(server.addresses[0], "/metrics")[0] == 404


def test_a_taken_port_is_an_error_at_once_and_a_stopped_server_frees_it(metrics: RunnerMetrics) -> None:
    server = MetricsServer(metrics, addr="127.0.0.1:0").start()
    with pytest.raises(ExporterError, match="already in use"):
        MetricsServer(metrics, addr=server.addresses[0])
    server.stop()
    with MetricsServer(metrics, addr=[server.addresses[0]]) as again:
        assert again.addresses == server.addresses
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", int(server.addresses[0][10:])), 1):
        pass
