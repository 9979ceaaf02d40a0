"""The statements of queries/README.md work as it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from collectors.postgres.overlay import Overlay
from collectors.postgres.queryfile import read_query_file

Run = Callable[[psycopg.Connection[Any], str], list[tuple[Any, ...]]]
ROLE = "report_reader"
DATA = """
INSERT INTO review_tool.repo VALUES ('shop'), ('web');
INSERT INTO review_tool.change VALUES
    (1, 'shop', 'NEW', now() - interval '3 hours', NULL),
    (2, 'shop', 'MERGED', now() - interval '3 hours', now()),
    (3, 'web', 'ABANDONED', now() - interval '3 hours', now());
INSERT INTO review_tool.vote VALUES
    (1, now() - interval '1 hours'), (1, now() - interval '2 hours'), (2, now() - interval '2 hours');
INSERT INTO review_tool.ci_result VALUES
    (1, 'report-coverage', false, now() - interval '2 hours'), (1, 'report-coverage', true, now()),
    (2, 'report-coverage', true, now()), (2, 'report-security', false, now()),
    (1, 'lint', true, now() - interval '2 hours'), (1, 'lint', NULL, now()), (2, 'lint', false, now())
"""


def _blocks(queries: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (queries / "README.md").read_text(), re.M | re.S)


@pytest.fixture
def reader(postgres_database: str, queries: Path) -> Iterator[psycopg.Connection[Any]]:
    """The role of the document, in a database with the other schema and the views."""
    with psycopg.connect(postgres_database, autocommit=True) as owner:
        try:
            for block in _blocks(queries, "sql"):
                owner.execute(block.encode())
            owner.execute(DATA.encode())
            url = postgres_database.replace("postgres@", f"{ROLE}@")
            with psycopg.connect(url, autocommit=True) as reader:
                yield reader
        finally:
            owner.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}".encode())


def test_the_reports_run_on_views_of_another_schema(reader: psycopg.Connection[Any], run: Run) -> None:
    def found(name: str) -> dict[tuple[str, ...], int]:
        return {row[:-1]: row[-1] for row in run(reader, name) if row[-1]}

    assert run(reader, "pr_open") == [("shop", 1), ("web", 0)]
    assert len(run(reader, "pr_missing_report")) == 6
    assert found("pr_closed") == {("merged", "shop"): 1, ("declined", "web"): 1}
    assert found("pr_missing_report") == {("open", "shop"): 1, ("declined", "web"): 1}
    assert found("pr_result_report") == {
        ("open", "shop", "passed"): 1, ("merged", "shop", "passed"): 1, ("merged", "shop", "failed"): 1
    }  # fmt: skip
    assert found("pr_check_summary") == {("open", "shop", "pending"): 1, ("merged", "shop", "failed"): 1}
    assert run(reader, "pr_time_to_merge") == [("shop", 10_800)]
    assert run(reader, "pr_time_to_first_review") == [("shop", 3600), ("shop", 3600)]
    ((project, seconds),) = run(reader, "pr_oldest_open_age")
    assert project == "shop"
    assert 10_800 <= seconds < 10_860


@pytest.mark.parametrize(
    "statement", ["SELECT * FROM review_tool.repo", "DELETE FROM projects", "CREATE TABLE mine ()"]
)
def test_the_role_may_only_read_the_views(reader: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(statement.encode())


def test_the_example_and_its_overlay_are_accepted(queries: Path, tmp_path: Path) -> None:
    example, configuration = _blocks(queries, "yaml")
    (tmp_path / "example").write_text(example)
    ((name, block),) = yaml.safe_load(configuration)["collectors"]["postgres"]["overlays"].items()
    file = read_query_file(tmp_path / "example", Overlay.model_validate(block))
    assert (file.name, file.interval, file.metrics[0].max_series) == (name, 30, 50)
