"""The table in tests/security/README.md and the tests there tell of the same attacks."""

from __future__ import annotations

import ast
import re
from pathlib import Path

COLUMNS = ["attack", "what happens here", "exporter-toolkit", "act_runner", "test"]


def _rows(tree: Path) -> list[list[str]]:
    """The cells of every row, header rows and their underlines left out."""
    text = (tree / "tests" / "security" / "README.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [row for row in rows if row != COLUMNS and set("".join(row)) != {"-"}]


def _tests(tree: Path) -> set[str]:
    return {
        node.name
        for path in (tree / "tests" / "security").glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_is_whole_and_backed_by_a_test_that_exists(tree: Path) -> None:
    rows = _rows(tree)
    assert len(rows) > 30
    assert [row for row in rows if len(row) != len(COLUMNS) or not all(row)] == []
    known = _tests(tree)
    assert [row for row in rows if not re.findall(r"`(test_\w+)`", row[-1])] == []
    assert [name for row in rows for name in re.findall(r"`(test_\w+)`", row[-1]) if name not in known] == []


def test_every_attack_that_is_tried_is_in_the_table(tree: Path) -> None:
    named = {name for row in _rows(tree) for name in re.findall(r"`(test_\w+)`", row[-1])}
    assert sorted(_tests(tree) - named) == []
