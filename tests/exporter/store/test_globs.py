"""A glob finds in both databases exactly what fnmatch.fnmatchcase finds."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporter.store.globs import matches_one
from exporter.store.sql import SqlStore

texts = st.text("aAbz-]![^\\%_.*?é\n5:=", max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(globs=st.lists(texts, min_size=1, max_size=3), values=st.lists(texts, min_size=1, max_size=8))
@example(globs=["[!]a]*", "[z-a]", "[!z-a]", "[a-", "[]-a]"], values=["b", "]", "z", "[a-", "^", ""])
@example(globs=["[^a]", "[[]", "[\\]", "[a-z-9]", "[--a]"], values=["^", "[", "\\", "-", "9", "m"])
def test_it_matches_as_in_python(store: SqlStore, globs: Any, values: Any) -> None:
    names = sa.union_all(
        *(
            sa.select(sa.literal(n, sa.Integer).label("n"), sa.literal(value, sa.Text).label("name"))
            for n, value in enumerate(values)
        )
    ).subquery()
    with store._read() as connection:
        column: Any = names.c.name
        found = connection.execute(
            sa.select(names.c.n).where(matches_one(column, globs, connection.dialect.name))
        )
        matching = {row.n for row in found}
    assert matching == {
        n for n, value in enumerate(values) if any(fnmatchcase(value, glob) for glob in globs)
    }
