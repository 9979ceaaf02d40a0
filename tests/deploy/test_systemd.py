"""The units: what systemd says of them, and that the program lives with what they forbid."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployment import DEPLOY, check_config
from tests.support.notified import Manager
from tests.support.process import ExporterProcess
from tests.support.tools import missing, require

UNITS = DEPLOY / "systemd"
SERVICE = (UNITS / "ci-exporter.service").read_text()
EXPOSURE = 12
"""The most that `systemd-analyze security` may give, in tenths."""
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
SEALED = f"""
import ctypes, os, sys
assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, {REFUSE_EXEC_GAIN}, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
EXTENSIONS = """
import mmap
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    pass
else:
    raise SystemExit("nothing is forbidden")
import bcrypt, isal.isal_zlib, psycopg, psycopg_binary, pydantic_core, sqlalchemy.util, yaml._yaml
assert psycopg.pq.__impl__ == "binary"
assert bcrypt.checkpw(b"x", bcrypt.hashpw(b"x", bcrypt.gensalt(4)))
"""


def _analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = require("systemd-analyze", "systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def _directives(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", SERVICE, re.MULTILINE)


@pytest.mark.parametrize("name", ["ci-exporter.service", "ci-exporter.socket"])
def test_systemd_takes_the_unit(name: str, tmp_path: Path) -> None:
    # Both units, since one names the other; and a program that is there, which systemd looks for.
    (tmp_path / "ci-exporter.service").write_text(
        re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", SERVICE, flags=re.MULTILINE)
    )
    (tmp_path / "ci-exporter.socket").write_text((UNITS / "ci-exporter.socket").read_text())
    done = _analyze("verify", "--man=no", "--recursive-errors=no", tmp_path / name)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_unit_with_a_mistake_would_be_told(tmp_path: Path) -> None:
    (tmp_path / "ci-exporter.service").write_text(SERVICE + "\n[Service]\nWatchdogSecs=60s\n")
    assert "WatchdogSecs" in _analyze("verify", "--man=no", tmp_path / "ci-exporter.service").stderr


def test_the_service_is_as_little_exposed_as_it_can_be() -> None:
    done = _analyze(
        "security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager", UNITS / "ci-exporter.service"
    )
    assert done.returncode == 0, done.stdout


def test_systemd_is_told_how_the_service_stands() -> None:
    assert _directives("Type") == ["notify"]
    assert _directives("NotifyAccess") == ["main"]
    assert _directives("WatchdogSec") == ["60s"]
    assert "AF_UNIX" in _directives("RestrictAddressFamilies")[0]


def test_the_keys_that_the_unit_asks_for_are_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "token_file: ${CREDENTIALS_DIRECTORY}/token" in SERVICE
    (state,) = re.findall(r"store: (\{url: sqlite:////var/lib/ci-exporter/.*\})", SERVICE)
    assert _directives("StateDirectory") == ["ci-exporter"]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "token").write_text("glpat-x")
    text = (
        "collectors: {gitlab: {url: https://gitlab.com, token_file: '${CREDENTIALS_DIRECTORY}/token'}}\n"
        f"store: {state}\n"
    )
    check_config(text, tmp_path, monkeypatch, {})


def test_the_program_makes_no_code_at_run_time(tmp_path: Path) -> None:
    """Where the kernel forbids what MemoryDenyWriteExecute= does, C extensions load and it serves."""
    if ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0:  # PR_GET_MDWE
        missing("this kernel (before 6.3) cannot forbid it")
    sealed = [sys.executable, "-c", SEALED]
    done = subprocess.run(
        [*sealed, sys.executable, "-c", EXTENSIONS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    config = {"store": {"url": f"sqlite:///{tmp_path}/s.db"}, "collectors": {"runner": {}}}
    with Manager() as manager, ExporterProcess(tmp_path, config) as exporter:
        exporter.start(launcher=["/usr/bin/env", f"NOTIFY_SOCKET={manager.address}", *sealed])
        assert manager.next()["READY"] == "1"
        assert "ci_exporter_build_info" in exporter.scrape()
        assert exporter.terminate(60) == 0
