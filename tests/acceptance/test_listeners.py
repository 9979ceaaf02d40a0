"""The running service on Unix sockets, sockets of systemd, several addresses, and separate ones."""

from __future__ import annotations

import http.client
import json
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import PATIENCE, ROOT, ExporterProcess, free_port, run_cli, wait_until
from tests.support.tools import require

Make = Callable[..., ExporterProcess]
ACTIVATE = [sys.executable, str(ROOT / "tests" / "support" / "activate.py")]
PATHS = {
    "metrics": ("/", "/metrics"),
    "health": ("/healthz", "/-/healthy", "/-/ready"),
    "admin": ("/-/config", "/-/reload", "/log_level"),
}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _get(where: str, path: str) -> tuple[int, str]:
    """Status and text of a GET; 0 when nobody listens at *where*, written as in the configuration."""
    if where.startswith("unix:"):
        connection: http.client.HTTPConnection = UnixConnection(Path(where.removeprefix("unix:")))
    else:
        connection = http.client.HTTPConnection(where, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (ConnectionError, FileNotFoundError):
        return 0, ""
    finally:
        connection.close()


def _ask_unix(path: Path, method: str, target: str) -> str:
    """The text of an answer that is a 200."""
    connection = UnixConnection(path)
    connection.request(method, target)
    response = connection.getresponse()
    assert response.status == 200
    told = response.read().decode()
    connection.close()
    return told


def _groups(where: str) -> set[str]:
    """The groups of endpoints that *where* answers, each as a whole or not at all."""
    found = {path: _get(where, path)[0] not in (0, 404) for paths in PATHS.values() for path in paths}
    answered = {group for group, paths in PATHS.items() if found[paths[0]]}
    assert found == {path: group in answered for group, paths in PATHS.items() for path in paths}
    return answered


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for sockets, whose paths must be short."""
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def make(tmp_path: Path, stack: ExitStack) -> Make:
    """Makes exporters with one source that is down, which is enough to serve."""

    def make(name: str = "exporter", **metrics: Any) -> ExporterProcess:
        config = {
            "store": {"url": f"sqlite:///{tmp_path / name}.db"},
            "collectors": {
                "gitlab": {"url": f"http://127.0.0.1:{free_port()}", "token": "t", "projects": ["a/b"]}
            },
            "metrics": metrics,
        }
        return stack.enter_context(ExporterProcess(tmp_path, config, name=name))

    return make


def _wait(exporter: ExporterProcess, where: str) -> None:
    wait_until(lambda: _get(where, "/healthz")[0] == 200 or exporter.process.poll() is not None, where)
    assert exporter.process.poll() is None, exporter.log_path.read_text()


def _log(exporter: ExporterProcess, message: str) -> dict[str, Any]:
    """The last log line with that message, once there is one: who serves may still be about to say so."""
    found: list[dict[str, Any]] = []

    def logged() -> bool:
        lines = [json.loads(line) for line in exporter.log_path.read_text().splitlines()]
        found.extend(line for line in lines if line["message"] == message)
        return bool(found)

    wait_until(logged, message)
    return found[-1]


def _refused(exporter: ExporterProcess) -> str:
    """The one line that a start ends with, exit code 1."""
    done = run_cli("serve", "--config", str(exporter.config_path))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    [line] = done.stderr.strip().splitlines()
    return line.removeprefix("ci-exporter: ")


# -- Unix sockets


def test_a_unix_socket_is_scraped_and_its_file_goes_at_the_stop(make: Make, folder: Path) -> None:
    path = folder / "m.sock"
    exporter = make(addr=f"unix:{path}").start()
    _wait(exporter, f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    status, text = _get(f"unix:{path}", "/metrics")
    assert status == 200
    assert "\nci_exporter_build_info{" in text
    # Two requests on one connection, and one that is malformed: all as over TCP.
    connection = UnixConnection(path)
    for _ in range(2):
        connection.request("GET", "/-/healthy")
        assert connection.getresponse().read() == b"ci-exporter is healthy\n"
    connection.close()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE)
        raw.connect(str(path))
        raw.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")
    assert exporter.terminate() == 0
    assert not path.exists()


def test_a_socket_left_by_kill_9_is_taken_over_and_a_live_one_is_not(make: Make, folder: Path) -> None:
    where = f"unix:{folder / 'm.sock'}"
    first = make("first", addr=where).start()
    _wait(first, where)
    assert _refused(make("second", addr=where)) == f"cannot listen on {where}: another process listens there"
    assert _get(where, "/healthz")[0] == 200
    first.kill()
    assert (folder / "m.sock").is_socket()
    first.start()
    _wait(first, where)
    assert first.terminate() == 0
    assert list(folder.iterdir()) == []


def test_a_start_that_fails_later_leaves_no_socket(make: Make, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "exporter.db").mkdir()
    _refused(make(addr=f"unix:{folder / 'm.sock'}"))
    assert list(folder.iterdir()) == []


# -- ports


def test_a_port_in_use_is_one_line_whoever_has_it(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for key in ("addr", "health_addr"):
            exporter = make(**{key: f"127.0.0.1:{port}"})
            assert _refused(exporter) == f"cannot listen on 127.0.0.1:{port}: the port is already in use"
    ours = f"it overlaps with 127.0.0.1:{port}, where this program listens already"
    assert _refused(make(addr=[f"127.0.0.1:{port}", f":{port}"])) == f"cannot listen on :{port}: {ours}"
    exporter = make(addr=f"127.0.0.1:{port}")
    exporter.config_path.write_text(exporter.config_path.read_text() + f"log: {{port: {port}}}\n")
    assert _refused(exporter) == f"cannot listen on 127.0.0.1:{port}: {ours}"


def test_an_address_that_cannot_be_is_found_by_check(make: Make) -> None:
    exporter = make(health_addr="unix:run/h.sock")
    for command in ("check", "serve"):
        done = run_cli(command, "--config", str(exporter.config_path))
        assert done.returncode == 2
        assert "metrics.health_addr: must have an absolute path, such as unix:/run/" in done.stderr
    done = run_cli("check", "--config", str(make(addr=[":1", "unix:/a"], admin_addr="[::1]:2").config_path))
    assert done.returncode == 0, done.stderr
    assert "- unix:/a\n" in done.stdout
    assert "- '[::1]:2'\n" in done.stdout


def _spread(folder: Path) -> list[str]:
    return [f"127.0.0.1:{free_port()}", f"[::1]:{free_port()}", f"unix:{folder / 'm.sock'}"]


def test_several_addresses_all_answer_and_are_all_free_at_once(make: Make, folder: Path) -> None:
    addresses = _spread(folder)
    exporter = make(addr=addresses).start()
    for _ in range(2):
        for where in addresses:
            _wait(exporter, where)
            assert _groups(where) == set(PATHS)
        # An idle client on each must not hold up the stop.
        idle = [socket.create_connection(("127.0.0.1", int(addresses[0].rpartition(":")[2])))]
        idle.append(socket.socket(socket.AF_UNIX))
        idle[1].connect(str(folder / "m.sock"))
        assert exporter.terminate() == 0
        for one in idle:
            one.close()
        assert [_get(where, "/healthz")[0] for where in addresses] == [0, 0, 0]
        assert list(folder.iterdir()) == []
        exporter.start()
    listening = _log(exporter, "started")["listening"]
    assert listening == ", ".join(
        f"{'' if where.startswith('unix:') else 'http://'}{where} (metrics, health, admin, api)"
        for where in addresses
    )


def test_addresses_can_be_flags(make: Make, folder: Path) -> None:
    addresses = _spread(folder)
    exporter = make(enabled=False)
    exporter.start(*(f"--web.listen-address={where}" for where in addresses))
    for where in addresses:
        _wait(exporter, where)
    assert exporter.terminate() == 0


# -- separation


def test_health_and_admin_have_addresses_of_their_own(make: Make, folder: Path) -> None:
    metrics, health, admin = (f"127.0.0.1:{free_port()}" for _ in range(3))
    unix = f"unix:{folder / 'admin.sock'}"
    log_port = free_port()
    exporter = make(addr=metrics, health_addr=health, admin_addr=[admin, unix])
    config = exporter.config_path.read_text() + f"log: {{port: {log_port}}}\n"
    exporter.config_path.write_text(config)
    exporter.start()
    _wait(exporter, metrics)
    assert [_groups(where) for where in (metrics, health, admin, unix)] == [
        {"metrics", "health"},
        {"health"},
        {"admin", "health"},
        {"admin", "health"},
    ]
    assert _get(f"127.0.0.1:{log_port}", "/log_level")[0] == 405
    assert _log(exporter, "started")["listening"] == (
        f"http://{metrics} (metrics, health, api), http://{health} (health), http://{admin} (health, admin), "
        f"{unix} (health, admin), http://127.0.0.1:{log_port} (log level)"
    )
    page = _get(metrics, "/")[1]
    assert 'href="/metrics"' in page
    assert "/-/config" not in page

    # A change of an address needs a restart, and the reload that finds it says so.
    exporter.config_path.write_text(config.replace(health, f"127.0.0.1:{free_port()}"))
    _ask_unix(folder / "admin.sock", "POST", "/-/reload")
    assert _log(exporter, "a change needs a restart to take effect")["section"] == "metrics"
    assert _groups(health) == {"health"}
    assert health in _ask_unix(folder / "admin.sock", "GET", "/-/config"), "what is in force is shown"

    # With the same file, so that the next start needs the very same addresses; nothing waits for it then.
    exporter.config_path.write_text(config)
    _ask_unix(folder / "admin.sock", "POST", "/-/reload")
    assert exporter.log_path.read_text().count("a change needs a restart") == 1
    assert exporter.terminate() == 0
    everywhere = (metrics, health, admin, unix)
    assert [_get(where, "/healthz")[0] for where in everywhere] == [0] * 4
    # A start binds at once or ends: that it serves is proof that every address was free again.
    exporter.start()
    for where in everywhere:
        _wait(exporter, where)
    assert exporter.terminate() == 0


# -- systemd


def _pass(names: str, sockets: Sequence[socket.socket]) -> dict[str, Any]:
    descriptors = [one.fileno() for one in sockets]
    return {"launcher": [*ACTIVATE, names, *map(str, descriptors), "--"], "pass_fds": descriptors}


def _where(one: socket.socket) -> str:
    name = one.getsockname()
    return f"unix:{name}" if isinstance(name, str) else f"127.0.0.1:{name[1]}"


@pytest.mark.parametrize("by_flag", [False, True], ids=["key", "flag"])
def test_sockets_of_systemd_are_served_and_outlive_us(make: Make, folder: Path, by_flag: bool) -> None:
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(folder / "m.sock"))
        unix.listen()
        admin = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        sockets = [tcp, unix, admin]
        options = _pass("metrics:ci-exporter.socket:admin", sockets)
        health = f"127.0.0.1:{free_port()}"
        if by_flag:
            exporter = make(health_addr=health, enabled=False).start("--web.systemd-socket", **options)
        else:
            exporter = make(health_addr=health, systemd_socket=True).start(**options)
        _wait(exporter, health)
        assert [_groups(_where(one)) for one in sockets] == [
            {"metrics", "health"},
            {"metrics", "health"},
            {"admin", "health"},
        ]
        assert not exporter.answers("/healthz"), "metrics.addr is not used then"
        assert exporter.terminate() == 0
        # Who comes while nobody runs waits in systemd's socket, and is answered by the next process.
        client = http.client.HTTPConnection(_where(tcp), timeout=60)
        client.request("GET", "/healthz")
        flags = ["--web.systemd-socket"] if by_flag else []
        exporter.start(*flags, **options)
        assert client.getresponse().read() == b"ok\n"
        client.close()
        assert (folder / "m.sock").is_socket()
        assert exporter.terminate() == 0


def test_without_a_socket_of_systemd_it_does_not_start(make: Make) -> None:
    assert _refused(make(systemd_socket=True)).startswith("systemd passed no socket: start the socket unit")


def test_sockets_of_systemd_that_nobody_asked_for_are_told(make: Make) -> None:
    exporter = make()
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        exporter.start(**_pass("metrics", [tcp]))
        _wait(exporter, f"127.0.0.1:{exporter.port}")
    assert exporter.terminate() == 0
    assert "set metrics.systemd_socket: true" in exporter.log_path.read_text()


def test_systemds_own_launcher_starts_it_with_the_first_client(make: Make) -> None:
    launcher = require("systemd-socket-activate", "systemd")
    exporter = make(systemd_socket=True)
    where = f"127.0.0.1:{exporter.port}"
    exporter.start(launcher=[launcher, f"--listen={where}", "--fdname=metrics"])
    wait_until(lambda: "Listening on" in exporter.log_path.read_text(), "systemd listens")
    status, text = _get(where, "/metrics")
    assert status == 200, exporter.log_path.read_text()
    assert "ci_exporter_build_info" in text
    assert exporter.terminate() == 0


UNITS = ROOT / "deploy" / "systemd"


def test_the_socket_unit_holds_the_default_address_for_the_metrics() -> None:
    unit = (UNITS / "ci-exporter.socket").read_text()
    assert "\nListenStream=127.0.0.1:9101\n" in unit
    assert "\nFileDescriptorName=metrics\n" in unit
    assert "Accept=yes" not in unit


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    analyze = require("systemd-analyze", "systemd")
    for name in ("ci-exporter.service", "ci-exporter.socket"):
        text = (UNITS / name).read_text().replace("/opt/ci-exporter/bin/ci-exporter", "/bin/true")
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no"]
        + [str(tmp_path / name) for name in ("ci-exporter.service", "ci-exporter.socket")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
