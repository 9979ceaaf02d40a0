"""Which files a pattern under ``files`` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.postgres.plan import make_plan
from collectors.postgres.settings import PostgresConfig

FILE = """
collector_name: {name}
metrics: [{{metric_name: {name}, type: gauge, help: h, values: [v], query: SELECT 1 AS v}}]
"""


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.collector.yml", ["a", "b1"]),
        ("b[[]1].collector.yml", ["b1"]),
        ("b[1].collector.yml", ["b1"]),
        ("sub/*.collector.yml", ["c"]),
        ("**/c.collector.yml", ["c"]),
        ("su[b]/?.collector.yml", ["c"]),
    ],
)
def test_folders_and_files_may_have_brackets_in_their_names(
    tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    folder = tmp_path / "site [1]*"
    (folder / "sub").mkdir(parents=True)
    for name, place in (("a", "a"), ("b1", "b[1]"), ("c", "sub/c")):
        (folder / f"{place}.collector.yml").write_text(FILE.format(name=name))
    config = PostgresConfig.model_validate(
        {"databases": {"main": {"dsn": "postgresql://h/d", "files": [folder / pattern]}}}
    )
    assert [job.file.name for job in make_plan(config).jobs.values()] == expected
