"""What becomes of metrics that a Pushgateway does not take."""

from __future__ import annotations

import socket
import threading

import pytest

from exporter.cli.output import push
from exporter.errors import SinkError
from exporter.exposition import Exposition
from exporter.registry import Registry
from exporter.selfmetrics import SelfMetrics


def registry() -> Registry:
    return Registry(Exposition(), SelfMetrics("1"))


@pytest.mark.parametrize("url", ["http://host:1 2/", "http://user:opensesame@host"])
def test_an_address_that_is_none_is_told_without_showing_what_may_be_a_password(url: str) -> None:
    with pytest.raises(SinkError, match="write it as http://host:port") as refused:
        push(registry(), url)
    assert "opensesame" not in str(refused.value)


def test_a_server_that_speaks_no_http_is_told_as_one_that_does_not_take_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as client:
                client.recv(65536)
                client.sendall(b"SSH-2.0-server\r\n")
                while client.recv(65536):
                    pass

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(SinkError, match=r"did not take the metrics: .*SSH-2\.0"):
            push(registry(), f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
