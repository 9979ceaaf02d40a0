"""Reads sql_exporter's collector files: all of their format, and our own additions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from collectors.postgres.additions import KEY, Additions
from collectors.postgres.document import Scalar, Table, read
from collectors.postgres.overlay import Overlay, duration
from collectors.postgres.querymetric import read_metric
from collectors.postgres.reading import Block, Problems, shown, unknown
from collectors.postgres.spec import Metric, Query, QueryFile
from exporter.config.files import Unreadable, read_text

MAX_BYTES = 1024 * 1024
_KEYS = ("collector_name", "min_interval", "metrics", "queries", KEY)
_QUERY_KEYS = ("query_name", "query", "no_prepared_statement")
_PLACEHOLDER = re.compile(r"%\(([^()%]*)\)s")
_DERIVED = ("_bucket", "_sum", "_count")


def read_query_file(
    path: Path, overlay: Overlay | None = None, *, reserved: frozenset[str] = frozenset()
) -> QueryFile:
    """The collector file *path*, checked whole; what *overlay* sets wins over the file's own additions.

    *reserved* are labels that every series gets later, so that no metric may have them.

    Raises:
        ConfigError: with everything that is wrong, by line.
    """
    problems = Problems(path)
    root = _root(path, problems)
    root.only(_KEYS)
    name = root.text("collector_name", required=True)
    additions = Additions(root, problems, name, overlay)
    interval = _min_interval(root)
    queries = _Queries(root, additions)
    metrics = _metrics(root, queries, reserved, additions)
    queries.check_parameters()
    problems.stop()
    extra = additions.overlay
    return QueryFile(
        name=name,
        path=path,
        queries=tuple({id(metric.query): metric.query for metric in metrics}.values()),
        metrics=tuple(metrics),
        title=extra.title or "",
        description=extra.description or "",
        interval=None if extra.schedule else extra.interval or interval or None,
        schedule=extra.schedule,
        statement_timeout=extra.statement_timeout,
        keep_last_for=extra.keep_last_for,
        listen=extra.listen,
        debounce=1.0 if extra.debounce is None else extra.debounce,
        parameters=extra.parameters,
    )


def _root(path: Path, problems: Problems) -> Block:
    try:
        document = read(read_text(path, MAX_BYTES))
    except Unreadable as error:
        problems.fail((), error.line, str(error))
    for fault in document.faults:
        problems.add(fault.loc, fault.line, fault.message)
    root = document.root
    if root is None:
        problems.stop()
    if root is None or (isinstance(root, Scalar) and root.kind == "null"):
        problems.fail((), 1, "the file is empty: it needs collector_name and metrics")
    if not isinstance(root, Table):
        problems.fail((), root.line, "the file must be one mapping with collector_name and metrics")
    if "collectors" in root.items:
        line = root.lines["collectors"]
        problems.fail(("collectors",), line, "a file holds one collector: move each into a file of its own")
    return Block(root, (), problems)


def _min_interval(root: Block) -> float:
    text = root.text("min_interval")
    if not text and not root.is_text("min_interval"):
        return 0
    try:
        return duration(text)
    except ValueError as error:
        root.report("min_interval", str(error))
        return 0


class _Queries:
    """The queries of a file: those under ``queries``, and those that metrics bring themselves."""

    def __init__(self, root: Block, additions: Additions) -> None:
        self._additions = additions
        self._unused = set(additions.overlay.parameters)
        self._named: dict[str, Query] = {}
        self._bound: dict[str, Query] = {}
        self._blocks: dict[str, Block] = {}
        for block in root.blocks("queries"):
            block.only(_QUERY_KEYS)
            name = block.text("query_name", required=True)
            query = _query(block, name, block.text("query", required=True))
            # Of two with one name the last wins, as in sql_exporter.
            self._named[name], self._blocks[name] = query, block

    def of(self, metric: Block) -> Query | None:
        """The query of *metric*, ``None`` (and noted) when it has none."""
        literal, reference = metric.has("query"), metric.has("query_ref")
        if literal == reference:
            both = "keep one of query and query_ref" if literal else "one of query and query_ref is required"
            metric.report("query_ref" if literal else None, both)
        text, name = metric.text("query"), metric.text("query_ref")
        simple = _query(metric, metric.text("metric_name"), text)  # also checks a flag that is not used
        if literal == reference:
            return None
        if literal:
            return self._bind(simple, metric)
        if name not in self._named:
            metric.report("query_ref", unknown("query", name, self._named))
            return None
        if name not in self._bound:
            self._bound[name] = self._bind(self._named[name], self._blocks[name])
        return self._bound[name]

    def check_parameters(self) -> None:
        """Note the parameters that no query uses."""
        for name in sorted(self._unused):
            self._additions.report(("parameters", name), f"no query that is used holds %({name})s")

    def _bind(self, query: Query, block: Block) -> Query:
        declared = self._additions.overlay.parameters
        wanted = dict.fromkeys(_PLACEHOLDER.findall(query.sql.replace("%%", "")))
        known = {name: declared[name] for name in wanted if name in declared}
        if not known:
            return query
        self._unused -= set(known)
        for name in (name for name in wanted if name not in known):
            block.report("query", unknown("parameter", name, declared))
        if "%" in _PLACEHOLDER.sub("", query.sql.replace("%%", "")):
            block.report("query", "a query with parameters must write %% for a per cent sign")
        if query.simple:
            block.report("no_prepared_statement", "a query with parameters cannot do without preparing")
        return replace(query, parameters=known)


def _query(block: Block, name: str, sql: str) -> Query:
    simple = block.flag("no_prepared_statement")
    return Query(name=name, sql=sql, simple=simple, line=block.line("query"))


def _metrics(root: Block, queries: _Queries, reserved: frozenset[str], additions: Additions) -> list[Metric]:
    blocks = root.blocks("metrics")
    if not blocks and not root.has("metrics"):
        root.report("metrics", "needs at least one metric")
    names = [block.text("metric_name") for block in blocks]
    for name in sorted(additions.overlay.metrics.keys() - set(names)):
        additions.report(("metrics", name), unknown("metric", name, names))
    metrics: list[Metric] = []
    families: dict[str, tuple[str, str]] = {}
    roles: dict[tuple[int, str], str] = {}
    for block, name in zip(blocks, names, strict=True):
        metric = read_metric(block, queries.of(block), reserved, additions)
        if metric is not None and metric.name:
            metrics.append(metric)
            _check_family(block, name, metric, families)
            _check_columns(block, metric, roles)
    return metrics


def _check_family(block: Block, name: str, metric: Metric, families: dict[str, tuple[str, str]]) -> None:
    """Metrics of one exposed name must be one family: told apart by their labels, of the same type."""
    kind = "histogram" if metric.buckets else metric.kind
    before, kind_before = families.setdefault(metric.name, (name, kind))
    if before != name:
        block.report("metric_name", f"{shown(before)} and {shown(name)} are both exposed as {metric.name}")
    elif kind_before != kind:
        block.report("type", f"{shown(name)} is a {kind_before} above and a {kind} here: make them the same")
    for suffix in _DERIVED:
        stem = metric.name.removesuffix(suffix)
        if stem != metric.name and families.get(stem, ("", ""))[1] == "histogram":
            block.report("metric_name", f"the histogram {stem} exposes {metric.name} itself: rename one")
        elif kind == "histogram" and metric.name + suffix in families:
            block.report(
                "metric_name", f"this histogram exposes {metric.name}{suffix}, which is a metric above"
            )


def _check_columns(block: Block, metric: Metric, roles: dict[tuple[int, str], str]) -> None:
    """A column of a query is one thing for all metrics: a label, a value or a time."""
    uses = [("key_labels", column) for column, _ in metric.key_labels]
    uses += [("values", column) for column in metric.values]
    uses += [("timestamp_value", metric.timestamp_value)] if metric.timestamp_value else []
    for role, column in uses:
        before = roles.setdefault((id(metric.query), column), role)
        if before != role:
            message = f"the column {shown(column)} is in {before} already: select it twice, under two names"
            block.report(role, message)
