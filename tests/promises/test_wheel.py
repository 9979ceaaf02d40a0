"""The wheel holds all of the program, and nothing else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

OTHER_FILES = (".schema.json", "py.typed", ".md", ".yml", ".sql", ".html", ".css", ".js", ".svg")
FOLDERS = {
    "exporter": "exporter",
    "exporter/public": "ci_exporter",
    "collectors": "collectors",
    "queries": "ci_exporter/queries",
}


def _expected(tree: Path) -> set[str]:
    """Where each file of the code folders should be in the wheel."""
    found = set()
    for folder, package in FOLDERS.items():
        for path in (tree / folder).rglob("*"):
            inner = path.relative_to(tree / folder)
            if folder == "exporter" and inner.parts[0] == "public":
                continue
            if path.suffix == ".py" or path.name.endswith(OTHER_FILES):
                found.add(f"{package}/{inner.as_posix()}")
    return found


def test_every_module_is_in_the_wheel_and_only_under_its_public_name(
    wheel: zipfile.ZipFile, tree: Path
) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == _expected(tree)


@pytest.mark.parametrize(
    "name",
    [
        "ci_exporter/__init__.py",
        "ci_exporter/py.typed",
        "ci_exporter/queries/README.md",
        "collectors/gitlab/standin/__main__.py",
        "exporter/py.typed",
        "exporter/store/migrations/env.py",
        "exporter/store/migrations/versions/0001_runs_jobs_and_totals.py",
        "exporter/web/templates/app.css",
        "exporter/web/templates/app.js",
        "exporter/web/templates/status.html",
    ],
)
def test_parts_that_no_import_would_miss_are_in_the_wheel(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()


def test_the_wheel_holds_no_tests_and_no_second_copy_of_the_facade(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"exporter", "collectors", "ci_exporter"}
    assert not [name for name in names if name.startswith("exporter/public") or "/tests/" in name]


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "ci-exporter = exporter.cli:main" in wheel.read(entry_points).decode()


def test_the_licence_comes_along(wheel: zipfile.ZipFile) -> None:
    assert [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]
