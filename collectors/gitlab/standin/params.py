"""Pages of a list, with GitLab's limits and headers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from collectors._standin.asking import Answer, Query, Refusal

T = TypeVar("T")
_MOST_COUNTED = 10_000


def offset_page(
    query: Query, rows: Sequence[T], render: Callable[[T], object], *, counted: bool = True, limit: str = ""
) -> Answer:
    """One page of *rows* with GitLab's headers; totals only when *counted* and at most 10,000.

    *limit* names the type of object for which an offset of 50,000 is the most.
    """
    page, size = query.number("page", 1, 1), query.per_page
    if limit and (page - 1) * size > 50_000:
        raise Refusal(405, {"error": _too_far(limit)})
    first = (page - 1) * size
    chosen = rows[first : first + size]
    more = len(rows) > first + size
    pages = max(1, -(-len(rows) // size))
    totals = counted and len(rows) <= _MOST_COUNTED
    headers = [
        ("X-Next-Page", str(page + 1) if more else ""),
        ("X-Page", str(page)),
        ("X-Per-Page", str(size)),
        ("X-Prev-Page", str(page - 1) if page > 1 else ""),
    ]
    targets = [("prev", page - 1)] if page > 1 else []
    targets += [("next", page + 1)] if more else []
    targets += [("first", 1)]
    if totals:
        headers += [("X-Total", str(len(rows))), ("X-Total-Pages", str(pages))]
        targets += [("last", pages)]
    links = [f'<{query.link(page=number, per_page=size)}>; rel="{rel}"' for rel, number in targets]
    return Answer([render(row) for row in chosen], headers=[("Link", ", ".join(links)), *headers])


def _too_far(kind: str) -> str:
    return (
        "Offset pagination has a maximum allowed offset of 50000 for requests that return objects of type "
        f"{kind}. Remaining records can be retrieved using keyset pagination."
    )
