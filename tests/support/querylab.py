"""Query files run as the service runs them: a configuration file, real parts, time that the test moves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import psycopg
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.app import ConfigSource
from exporter.clock import FixedClock
from exporter.parts import Parts
from exporter.rendering import Format
from exporter.rounds.round import CollectorRounds
from exporter.rounds.visits import UnitState, Visit
from exporter.store.sql import SqlStore
from tests.support.stores import ready_store

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
_OURS = re.compile(r"(ci_exporter|process|python)_")


class Series(NamedTuple):
    """One line of an exposition."""

    name: str
    labels: frozenset[tuple[str, str]]
    value: str
    timestamp: float | None


@dataclass(frozen=True)
class Page:
    """What an exposition says, without what the exporter says of itself."""

    heads: Mapping[str, tuple[str, str]]
    series: frozenset[Series]


def page(text: str, *, openmetrics: bool = False) -> Page:
    """*text* read by prometheus_client; families without a series are left out."""
    families = list(parse_openmetrics(text) if openmetrics else parse_text(text))
    shown = [family for family in families if family.samples and not _OURS.match(family.name)]
    found = [_series(sample) for family in shown for sample in family.samples]
    assert len({one[:2] for one in found}) == len(found), "a series stands twice"
    return Page({family.name: (family.type, family.documentation) for family in shown}, frozenset(found))


def _series(sample: Any) -> Series:
    stamp = float(sample.timestamp) if sample.timestamp is not None else None
    return Series(sample.name, frozenset(sample.labels.items()), repr(float(sample.value)), stamp)


class QueryLab:
    """One process of the exporter that runs query files, and what a test does to it.

    ``block`` is what stands under ``collectors.postgres``; files that it names are relative to ``folder``.
    """

    def __init__(self, folder: Path, dsn: str, *, store: str = "", **block: Any) -> None:
        self.folder = folder
        self.dsn = dsn
        self.clock = FixedClock(START)
        self.block: dict[str, Any] = {"databases": {"t": {"dsn": dsn, "files": ["*.collector.yml"]}}, **block}
        self.settings: dict[str, Any] = {}
        self._store_url = store or ready_store(folder)
        self._parts: Parts | None = None

    # -- what there is ---------------------------------------------------------------------------

    def file(self, name: str, text: str) -> Path:
        """Write the query file *name*."""
        path = self.folder / f"{name}.collector.yml"
        path.write_text(dedent(text))
        return path

    def metric(self, name: str, query: str, **more: Any) -> Path:
        """Write a query file *name* with one gauge of that name: the column v, labelled by ``key_labels``.

        ``file`` are more keys of the file, ``extra`` what stands under ``ci_exporter``.
        """
        file, extra = more.pop("file", {}), more.pop("extra", {})
        metric = {"metric_name": name, "type": "gauge", "help": "h", "query": query, **more}
        if "static_value" not in metric:
            metric.setdefault("values", ["v"])
        whole = {"collector_name": name, "metrics": [metric], **file}
        return self.file(name, yaml.safe_dump(whole | ({"ci_exporter": extra} if extra else {})))

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run *statements* as another client; the rows of the last."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    # -- the process -----------------------------------------------------------------------------

    def source(self) -> ConfigSource:
        """The configuration, written to a file."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump({**self.settings, "collectors": {"postgres": self.block}}))
        return ConfigSource(path, {}, {})

    @property
    def parts(self) -> Parts:
        """The process, started when it is first asked for."""
        if self._parts is None:
            config = self.source().load()
            self._parts = Parts(config, SqlStore(self._store_url), self.clock)
        return self._parts

    @property
    def rounds(self) -> CollectorRounds:
        """The rounds, with units; what the store has of them is shown."""
        (rounds,) = self.parts.rounds
        if not rounds.states():
            rounds.discover()
        return rounds

    def reload(self) -> None:
        """What the service does on SIGHUP.

        Raises:
            ConfigError: and nothing has changed.
        """
        collectors = self.parts.build(self.source().load())
        old, before = list(self.parts.collectors.values()), self.rounds
        self.parts.exchange(collectors)
        before.alive = False
        (rounds,) = self.parts.rounds
        rounds.inherit(before)
        rounds.follow()
        rounds.discover()
        for collector in old:
            collector.close()

    def restart(self) -> None:
        """A new process in place of this one, when it is next asked for anything."""
        self.close()

    def close(self) -> None:
        if self._parts is not None:
            self._parts.close()
            self._parts = None

    # -- running ---------------------------------------------------------------------------------

    def state(self, file: str = "", database: str = "t") -> UnitState:
        """The unit of *file*, or the only one."""
        states = self.rounds.states()
        if file:
            return next(one for one in states if one.stored.unit.key == f"{database}/{file}")
        assert len(states) == 1
        return states[0]

    def poll(self, file: str = "", database: str = "t") -> Visit:
        """Run *file*, or the only one."""
        visit = self.rounds.visit(self.state(file, database))
        assert visit is not None
        return visit

    def poll_all(self, after: float = 0) -> None:
        """Run every file, *after* seconds."""
        states = self.rounds.states()
        self.clock.advance(after)
        for state in states:
            self.rounds.visit(state)

    def failure(self, file: str = "", database: str = "t") -> str:
        """What the last run of *file* failed with."""
        return self.state(file, database).error

    # -- what is shown ---------------------------------------------------------------------------

    def text(self, form: Format = Format.TEXT) -> str:
        return self.parts.registry.render(form).decode()

    @property
    def page(self) -> Page:
        return page(self.text())

    def lines(self, *names: str) -> list[str]:
        """The sample lines of the families (or series) *names*, as they stand."""
        return [line for line in self.text().splitlines() if re.split("[{ ]", line)[0] in names]

    def value(self, name: str, **labels: str) -> float | None:
        """The value of exactly this series, ``None`` if it is not shown."""
        return self.parts.registry.get_sample_value(name, labels)

    @property
    def succeeding(self) -> dict[str, bool]:
        """``database/query -> whether its last run gave all rows``, of all queries that ran."""
        found = parse_text("\n".join(self.lines("ci_exporter_query_success")) + "\n")
        samples = [sample for family in found for sample in family.samples]
        return {f"{one.labels['database']}/{one.labels['query']}": bool(one.value) for one in samples}
