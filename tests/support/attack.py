"""The real program as the target of an attack, and a siege of connections that try to wear it down."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.support import wall
from tests.support.process import ExporterProcess, free_port, wait_until
from tests.support.wire import Reply, Wire

TOKEN, PASSWORD, STORE = "glpat-9d1Qx7vTq2", "dsn-pass-Zk83Lw", "vault-of-runs-5512"
LOGIN = ("prometheus", "web-login-Yq5t0D")
SECRETS = (TOKEN, PASSWORD, LOGIN[1])
BRICKS = 41_000
"""Series that make a body of a little more than 5 MB."""


class Target(ExporterProcess):
    """``ci-exporter serve`` with something to lose: sources with secrets (which do not answer), and 5 MB.

    While :attr:`gate` exists every scrape waits; :attr:`knocked` exists once one does. With a
    :attr:`context` honest clients speak TLS, and :attr:`fields` are what they add to their headers.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bricks: int = BRICKS,
        name: str = "target",
        measured: bool = False,
        **metrics: Any,
    ) -> None:
        self.folder = folder
        self.context: ssl.SSLContext | None = None
        self.fields: tuple[str, ...] = ()
        self.gate, self.knocked = folder / "closed", folder / "knocked"
        if not (folder / "installed").exists():
            wall.install(folder / "installed")
        config = {**_configuration(folder, bricks), "metrics": metrics}
        super().__init__(folder, config, name=name, import_from=(folder / "installed",), measured=measured)

    def configure(self, **metrics: Any) -> None:
        """Change the block ``metrics`` for the next start."""
        config = yaml.safe_load(self.config_path.read_text())
        config["metrics"].update(metrics)
        self.config_path.write_text(yaml.safe_dump(config))

    def wire(self, receive_buffer: int | None = None) -> Wire:
        """A new connection, by TLS if there is a context."""
        wire = self.tcp(receive_buffer)
        if self.context is not None:
            wire.secure(self.context)
        return wire

    def tcp(self, receive_buffer: int | None = None) -> Wire:
        """A new connection on which nothing was said yet."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        wire = Wire(sock)
        try:
            sock.connect(("127.0.0.1", self.port))
        except OSError:
            sock.close()
            raise
        return wire

    def ask(self, target: str = "/metrics", *fields: str, method: str = "GET", body: bytes = b"") -> Reply:
        """One request on a connection of its own."""
        with self.wire() as wire:
            return wire.ask(target, *self.fields, *fields, method=method, body=body)

    def _alive(self) -> bool:
        try:
            return self.ask("/healthz").status == 200
        except (OSError, EOFError):
            return False

    def wait_built(self) -> Self:
        """Wait until the wall is shown."""
        wait_until(lambda: self._alive() or self.process.poll() is not None, "alive")
        assert self.process.poll() is None, self.log_path.read_text()
        wait_until(lambda: b"\nwall_brick" in self.ask("/metrics?collect[]=wall").body, "the wall stands")
        return self

    # -- what the process costs

    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def unread(self) -> int:
        """Bytes that clients sent over IPv4 and that the process has not read yet."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ours = [row for row in rows if row[1].endswith(f":{self.port:04X}") and row[3] == "01"]
        return sum(int(row[4].partition(":")[2], 16) for row in ours)

    def threads(self) -> int:
        """Threads."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def megabytes(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1]) / 1024


def _configuration(folder: Path, bricks: int) -> dict[str, Any]:
    nobody = free_port()
    return {
        "store": {"url": f"sqlite:///{folder}/{STORE}.db"},
        "collectors": {
            "gitlab": {
                "url": f"http://127.0.0.1:{nobody}",
                "token": TOKEN,
                "projects": ["acme/anvil"],
                "poll_interval_seconds": 60,
            },
            "postgres": {"databases": {"main": {"dsn": f"postgresql://u:{PASSWORD}@127.0.0.1:{nobody}/ci"}}},
            "wall": {"bricks": bricks, "poll_interval_seconds": 300},
            "gate": {"folder": str(folder)},
        },
    }


@dataclass
class Attacker:
    """One connection of a siege; ``closed_after`` is in seconds, ``None`` while it is open."""

    wire: Wire
    drip: bytes
    reads: bool
    started: float = field(default_factory=time.monotonic)
    closed_after: float | None = None
    heard: bytes = b""


class Siege:
    """Slow connections of several kinds at once, and honest ones in between; a context manager."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.probes: list[float] = []
        self.before_megabytes = self.peak_megabytes = target.megabytes()
        self._kinds: dict[str, list[Attacker]] = {}
        self._open: dict[int, Attacker] = {}
        self._poll = select.poll()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="siege")
        self._failure: BaseException | None = None

    def add(self, kind: str, count: int, first: bytes, *, drip: bytes = b"", reads: bool = True) -> None:
        """Open *count* connections that send *first* and then *drip* each second; before the start only."""
        for _ in range(count):
            wire = self.target.wire(None if reads else 4096)
            attacker = Attacker(wire.send(first), drip, reads)
            self._kinds.setdefault(kind, []).append(attacker)
            self._open[wire.sock.fileno()] = attacker
            # Without POLLIN only the end is told, and no byte is read to learn of it.
            self._poll.register(wire.sock, select.POLLIN if reads else 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for attackers in self._kinds.values():
            for attacker in attackers:
                attacker.wire.sock.close()

    def repelled(self, kind: str, seconds: float) -> list[Attacker]:
        """The attackers of *kind*, once all of them are closed."""
        attackers = self._kinds[kind]
        wait_until(
            lambda: self._failure is not None or all(one.closed_after is not None for one in attackers),
            f"every {kind} is closed",
            seconds,
        )
        if self._failure is not None:
            raise self._failure
        return attackers

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                until = time.monotonic() + 1.0
                self._drip()
                self._probe()
                while (left := until - time.monotonic()) > 0:
                    for descriptor, _ in self._poll.poll(left * 1000):
                        self._hear(self._open[descriptor])
        except BaseException as failure:
            self._failure = failure

    def _hear(self, attacker: Attacker) -> None:
        data = b""
        if attacker.reads:
            with contextlib.suppress(ConnectionError):
                data = attacker.wire.sock.recv(65536)
        attacker.heard += data
        if not data:
            attacker.closed_after = time.monotonic() - attacker.started
            descriptor = attacker.wire.sock.fileno()
            self._poll.unregister(descriptor)
            del self._open[descriptor]

    def _drip(self) -> None:
        for attacker in self._open.values():
            if attacker.drip:
                try:
                    attacker.wire.sock.send(attacker.drip)
                except ConnectionError:
                    continue  # its end is noted where it is heard

    def _probe(self) -> None:
        """An honest scrape, and an honest look at the health, each on a connection of its own."""
        self.peak_megabytes = max(self.peak_megabytes, self.target.megabytes())
        for path in ("/healthz", "/metrics"):
            started = time.monotonic()
            reply = self.target.ask(path, "Accept-Encoding: gzip")
            assert reply.status == 200, reply
            self.probes.append(time.monotonic() - started)
