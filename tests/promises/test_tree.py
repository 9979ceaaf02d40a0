"""What the tree promises: no source named in the program, no machine in any file, floors that hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = {
    *(
        "pyproject.toml",
        "exporter",
        "collectors",
        "queries",
        "config.example.yaml",
        "tests",
        "deploy",
        "README.md",
    ),
    *(".ci", ".github", ".gitignore", "Makefile", "LICENSE", "CHANGELOG.md", "requirements.lock"),
}
# The last two: addresses of package indexes, whatever their host.
MACHINE = re.compile(
    "/"
    + r"work/|/home/[a-z]|/Users/[A-Z]|/root/|[Cc]:\\Users"
    + r"|https?://[^\s\"]+/simple\b|--(extra-)?index-url[ =]"
)
SOURCES = re.compile(r"gitlab|github|jenkins|gitea", re.IGNORECASE)


def _tracked(tree: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=tree, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return [tree / name for name in listed if name and (tree / name).is_file()]


def test_the_top_level_is_what_newcomers_were_told(tree: Path) -> None:
    assert {path.relative_to(tree).parts[0] for path in _tracked(tree)} <= TOP


def test_the_program_names_no_source(tree: Path) -> None:
    named = [
        f"{path.relative_to(tree)}:{number}: {line.strip()}"
        for path in sorted((tree / "exporter").rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if SOURCES.search(line)
    ]
    assert named == []


def test_no_file_tells_of_a_machine(tree: Path) -> None:
    here = Path(__file__)
    told = [
        f"{path.relative_to(tree)}: {found[0]}"
        for path in _tracked(tree)
        if path != here and (found := MACHINE.search(path.read_text(errors="replace")))
    ]
    assert told == []


def test_imports_go_down_only(tree: Path) -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        ("version", "collectors requests yaml sqlalchemy alembic psycopg apscheduler starlette uvicorn isal"),
        ("collectors", "sqlalchemy alembic psycopg apscheduler starlette uvicorn isal"),
        ("metrics", "sqlalchemy alembic psycopg apscheduler starlette uvicorn isal"),
    ],
)
def test_a_listing_loads_neither_database_nor_web_server(tree: Path, command: str, absent: str) -> None:
    assert (
        _loaded_by(tree, f"from exporter.cli import main; main([{command!r}])") & set(absent.split()) == set()
    )


def test_a_collector_loads_its_stand_in_only_for_a_demo(tree: Path) -> None:
    loaded = _loaded_by(tree, "from exporter.plugins import collector_classes; collector_classes()")
    assert "collectors.gitlab" in loaded
    assert {name for name in loaded if "standin" in name} == set()


def test_bcrypt_is_loaded_only_when_a_password_is_checked(tree: Path) -> None:
    assert "bcrypt" not in _loaded_by(tree, "import exporter.app")


def _loaded_by(tree: Path, code: str) -> set[str]:
    """The modules that are loaded once *code* has run in a fresh interpreter."""
    program = f"{code}\nimport sys\nprint('MODULES', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tree, capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("MODULES")[2].split())
