"""Writes every board as JSON into the folder above, or into the one that is given."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.grafana.boards.api import api
from deploy.grafana.boards.board import as_json
from deploy.grafana.boards.delivery import delivery
from deploy.grafana.boards.health import health
from deploy.grafana.boards.jobs import jobs
from deploy.grafana.boards.overview import overview
from deploy.grafana.boards.project import project
from deploy.grafana.boards.reports import reports
from deploy.grafana.boards.runners import runners

BOARDS = (overview, project, jobs, runners, delivery, reports, health, api)


def write(folder: Path) -> list[Path]:
    """Write the boards into *folder*, each under its uid; their files."""
    files = []
    for make in BOARDS:
        made = make()
        files.append(folder / f"{made.uid}.json")
        files[-1].write_text(as_json(made), encoding="utf-8")
    return files


if __name__ == "__main__":
    for file in write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]):
        print(file)
