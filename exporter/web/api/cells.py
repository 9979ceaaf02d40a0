"""Rows as CSV (RFC 4180), for spreadsheets that are not to be trusted with what names contain."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from exporter.web.api.columns import Row

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def to_csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """A line of names and one of cells for each row; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """*value* as a cell; an apostrophe keeps a spreadsheet from taking text for a formula.

    Numbers are left alone: they are ours, and no formula.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else str(value)
    return value
