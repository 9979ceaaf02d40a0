"""Collector files beyond the recorded cases: one for each rule of sql_exporter's format, all on PostgreSQL.

What is expected is what sql_exporter's format promises; where ours is meant to differ, ``why`` says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from exporter.errors import ConfigError
from exporter.rendering import Format
from exporter.rounds.once import run_once
from tests.support.querylab import Page, QueryLab, page


@dataclass(frozen=True)
class Case:
    """A file and what becomes of it: ``shown`` (the label ``target`` not written), or why it is ``refused``.

    ``fails`` are queries that fail, with words of why. ``dsn`` is added to the DSN. ``why`` is why
    sql_exporter does something else. ``other`` is a second file.
    """

    name: str
    text: str
    shown: str = ""
    fails: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refused: str = ""
    repeats: int = 0
    dsn: str = ""
    other: str = ""
    why: str = ""


def metric(sql: str | None = "select 1 as v", /, **keys: str | None) -> str:
    """One entry of ``metrics``: a gauge ``m`` of the column v; *keys* are YAML, ``None`` leaves one out."""
    defaults = {"metric_name": "m", "type": "gauge", "help": "h", "values": "[v]"}
    if "static_value" in keys:
        del defaults["values"]
    found: dict[str, str | None] = defaults | ({"query": json.dumps(sql)} if sql is not None else {}) | keys
    return "".join(f"  {key}: {value}\n" for key, value in found.items() if value is not None).replace(
        "  ", "- ", 1
    )


def file(*metrics: str, name: str = "c", rest: str = "") -> str:
    return f"collector_name: {name}\nmetrics:\n{''.join(metrics)}{rest}"


def one(sql: str | None = "select 1 as v", /, **keys: str | None) -> str:
    return file(metric(sql, **keys))


Q = "queries: [{query_name: q, query: select 1 as v}]\n"


CASES = [
    # -- columns -----------------------------------------------------------------------------------
    Case("missing key column", one("select 1 as v", key_labels="[k]"), fails={"m": ("lacks the column k",)}),
    Case("missing time column", one(timestamp_value="ts"), fails={"m": ("lacks the column ts",)}),
    Case(
        "upper case key, alias without quotes",
        one("select 1 as v, 'a' as Market", key_labels="[Market]"),
        fails={"m": ("lacks the column Market", "it has v, market")},
    ),
    Case("upper case value, quoted alias", one('select 1 as "V"', values="[V]"), "m 1"),
    Case(
        "a missing column of one metric fails the other of its query",
        file(metric(None, query_ref="q"), metric(None, query_ref="q", metric_name="n", values="[w]"), rest=Q),
        fails={"q": ("lacks the column w",)},
    ),
    Case(
        "name of a column with a space", one('select 1 as v, 2 as "a b"', key_labels="[a b]"), 'm{a_b="2"} 1'
    ),
    Case(
        "keywords of Python",
        one('select 1 as "class", 2 as "None", 3 as "lambda"', values="[lambda]", key_labels="[class, None]"),
        'm{class="1",None="2"} 3',
    ),
    Case(
        "duplicate columns, keys: the last wins",
        one("select 1 as v, 'a' as k, 'b' as k", key_labels="[k]"),
        'm{k="b"} 1',
    ),
    Case("no columns", one("select"), fails={"m": ("lacks the column v", "none")}),
    Case("no columns, static value", one("select", static_value="3"), "m 3"),
    Case(
        "1,600 columns",
        one("select " + ", ".join(f"{n} as c{n}" for n in range(1600)), values="[c1599]", key_labels="[c0]"),
        'm{c0="0"} 1599',
    ),
    Case(
        "10 MB of text", one("select length(k) as v, k from repeat('x', 10000000) k", values="[v]"), "m 1e7"
    ),
    Case(
        "a label of 1 MB",
        one("select length(k) as v, k from repeat('x', 1000000) k", key_labels="[k]"),
        f'm{{k="{"x" * 1000000}"}} 1e6',
    ),
    # -- rows --------------------------------------------------------------------------------------
    Case("NULL value", one("select null::int as v"), ""),
    Case(
        "NULL in one of two values",
        one("select 1 as v, null::int as w", values="[v, w]", value_label="op"),
        'm{op="v"} 1',
    ),
    Case(
        "NULL value, other rows",
        one("select * from (values ('a', null), ('b', 2)) as t(k, v)", key_labels="[k]"),
        'm{k="b"} 2',
    ),
    Case("NULL without a type", one("select null as v, null as k", key_labels="[k]"), ""),
    Case(
        "NULL and empty are the same label",
        one("select * from (values (null, 1), ('', 2)) as t(k, v)", key_labels="[k]"),
        'm{k=""} 1',
        repeats=1,
    ),
    Case("no rows", one("select 1 as v where false"), ""),
    Case("no rows, static value", one("select 1 as v where false", static_value="1"), ""),
    Case(
        "a bad value loses its row in all metrics of the query",
        file(
            metric(None, query_ref="q", key_labels="[k]"),
            metric(None, query_ref="q", metric_name="n", values="[w]", key_labels="[k]"),
            rest="queries:\n- query_name: q\n  query: \"select * from (values ('a', '1', 2), ('b', 'x', 3))"
            ' as t(k, v, w)"\n',
        ),
        'm{k="a"} 1\nn{k="a"} 2',
        fails={"q": ("column v, row 2", "'x' is not a number")},
    ),
    Case(
        "duplicates in two metrics of one name, one query",
        file(metric(None, query_ref="q"), metric(None, query_ref="q"), rest=Q),
        "m 1",
        repeats=1,
    ),
    Case(
        "one name with and without a time of its own",
        file(
            metric(static_labels="{a: x}"),
            metric("select 2 as v, date '1970-01-02' as ts", static_labels="{a: y}", timestamp_value="ts"),
        ),
        'm{a="x"} 1\nm{a="y"} 2 86400000',
    ),
    Case(
        "one name with and without a time of its own, in two files",
        one("select 2 as v, date '1970-01-02' as ts", static_labels="{a: y}", timestamp_value="ts"),
        'm{a="x"} 1\nm{a="y"} 2 86400000',
        other=file(metric(static_labels="{a: x}"), name="d"),
    ),
    Case("the same SQL twice", file(metric(), metric(metric_name="n")), "m 1\nn 1"),
    Case("duplicates of one name, two queries", file(metric(), metric("select 2 as v")), "m 1", repeats=1),
    Case(
        "two metrics of one name, other labels",
        file(metric(static_labels="{a: x}"), metric("select 2 as v", static_labels="{b: y}")),
        'm{a="x"} 1\nm{b="y"} 2',
    ),
    Case(
        "one value column twice",
        one(values="[v, v]", value_label="op"),
        refused="stands twice",
        why="there each scrape logs a duplicate series",
    ),
    Case(
        "NULL in labels of several rows and the label missing in another metric",
        file(metric("select 1 as v, null as k", key_labels="[k]"), metric("select 2 as v")),
        'm{k=""} 1',
        repeats=1,
        why="to Prometheus an empty label is none, so these are one series",
    ),
    # -- values and labels of a metric -------------------------------------------------------------
    Case(
        "several values without value_label",
        one("select 1 as v, 2 as w", values="[v, w]"),
        refused="several values need a value_label",
    ),
    Case(
        "value_label is a key label, two values",
        one("select 1 as v, 2 as w", values="[v, w]", key_labels="[k]", value_label="k"),
        refused="stands twice",
    ),
    Case("value_label target, two values", one(values="[v, w]", value_label="target"), refused="reserved"),
    Case(
        "value_label is a key label, one value",
        one(key_labels="[k]", value_label="k"),
        refused="stands twice",
        why="there no series could ever be shown",
    ),
    Case(
        "value_label is a static label",
        one(static_labels="{op: r}", value_label="op"),
        refused="stands twice",
        why="there no series could ever be shown",
    ),
    Case("value_label with static_value", one(static_value="2", value_label="op"), 'm{op=""} 2'),
    Case("value_label empty", one(value_label="''"), "m 1"),
    Case("value_label null", one(value_label="~"), "m 1"),
    Case("neither values nor static_value", one(values=None), refused="one of values and static_value"),
    Case("values null", one(values=""), refused="one of values and static_value"),
    Case("values empty", one(values="[]"), refused="one of values and static_value"),
    Case("values is no list", one(values="v"), refused="must be a list"),
    Case("values empty, static_value", one(values="[]", static_value="1"), "m 1"),
    Case(
        "a column is key and value",
        one(key_labels="[v]"),
        refused="already",
        why="there it is found at the start, but not by a check",
    ),
    Case("key label empty", one(key_labels="['']"), refused="must not be empty"),
    Case("key label null in the list", one("select 1 as v, 2 as k", key_labels="[~, k]"), 'm{k="2"} 1'),
    Case("key_labels is no list", one(key_labels="k"), refused="must be a list"),
    Case(
        "key_labels of words that YAML 1.1 reads as truths",
        one(
            'select 1 as v, 2 as "on", 3 as "off", 4 as "yes", 5 as "True"', key_labels="[on, off, yes, True]"
        ),
        'm{on="2",off="3",yes="4",True="5"} 1',
    ),
    Case("key label le", one("select 1 as v, '0.5' as le", key_labels="[le]"), 'm{le="0.5"} 1'),
    Case(
        "a histogram made in SQL",
        file(
            metric(
                "select * from (values (2, '1'), (3, '+Inf')) as t(v, le)",
                metric_name="x_bucket",
                type="counter",
                key_labels="[le]",
            ),
            metric("select 3 as v", metric_name="x_count", type="counter"),
            metric("select 3.5 as v", metric_name="x_sum", type="counter"),
        ),
        '# HELP x_bucket h\n# TYPE x_bucket counter\nx_bucket{le="1"} 2\nx_bucket{le="+Inf"} 3\n'
        "# HELP x_count h\n# TYPE x_count counter\nx_count 3\n"
        "# HELP x_sum h\n# TYPE x_sum counter\nx_sum 3.5",
    ),
    Case(
        "key label quantile",
        one("select 1 as v, '0.5' as quantile", key_labels="[quantile]"),
        'm{quantile="0.5"} 1',
    ),
    Case(
        "key label of other letters",
        one('select 1 as v, 2 as "ż-1"', key_labels="[ż-1]"),
        refused="Prometheus keeps for itself",
        why="there it is shown as __1",
    ),
    Case(
        "key label of letters that Prometheus does not allow",
        one('select 1 as v, 2 as "aż.1:b"', key_labels="[aż.1:b]"),
        'm{a__1_b="2"} 1',
    ),
    Case("static label le", one(static_labels="{le: '1'}"), 'm{le="1"} 1'),
    Case("value_label le", one(value_label="le"), 'm{le="v"} 1'),
    Case("static label job", one(static_labels="{job: x}"), 'm{job="x"} 1'),
    Case(
        "static label target",
        one(static_labels="{target: x}"),
        refused="reserved",
        why="there each scrape drops the series",
    ),
    Case("static_labels null", one(static_labels="~"), "m 1"),
    Case("static_labels empty", one(static_labels="{}"), "m 1"),
    Case("static_labels is a list", one(static_labels="[a, b]"), refused="must be a mapping"),
    Case("static label is a list", one(static_labels="{a: [b]}"), refused="must be text"),
    Case(
        "static labels by keys of other types",
        one(static_labels="{yes: 1, 25: b, True: d, 0x1f: e}"),
        'm{yes="1",_5="b",True="d",_x1f="e"} 1',
    ),
    Case(
        "static labels of every type",
        one(
            static_labels=r'{a: 1.50, b: "1.50", c: !!str 7, d: 1_000, e: .inf, f: ~, g: "", h: 1:30, '
            r'i: 2001-01-01, j: "a\tb\"\\"}'
        ),
        r'm{a="1.50",b="1.50",c="7",d="1_000",e=".inf",f="",g="",h="1:30",i="2001-01-01",j="a	b\"\\"} 1',
    ),
    # -- static_value ------------------------------------------------------------------------------
    *(
        Case(f"static_value {text}", one(static_value=text), f"m {value}")
        for text, value in (
            (".inf", "+Inf"),
            ("-.inf", "-Inf"),
            ("+.INF", "+Inf"),
            (".NaN", "NaN"),
            ("1_000.5", "1000.5"),
            ("-0", "0"),
            ("+3", "3"),
            ("0b11", "3"),
            ("0o17", "15"),
            ("08", "8"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1E3", "1000"),
            ("!!float 3", "3"),
            ("9223372036854775808", "9223372036854775808"),
            ("-010", "-8"),
        )
    ),
    *(
        Case(f"static_value {text}", one(static_value=text), refused="must be a number")
        for text in (
            "'5'",
            '"5"',
            "1e400",
            "yes",
            "[1]",
            "{a: 1}",
            "2024-01-02",
            "1:30",
            "inf",
            "nan",
            "0x",
            "!!str 5",
            "1,5",
        )
    ),
    *(
        Case(
            f"static_value {text}",
            one(static_value=text),
            refused="one of values and static_value is required",
        )
        for text in ("", "~", "null")
    ),
    # -- timestamp_value ---------------------------------------------------------------------------
    Case("time NULL", one("select 1 as v, null::timestamp as ts", timestamp_value="ts"), ""),
    Case(
        "time without zone is UTC",
        one("select 1 as v, timestamp '2024-01-02 03:04:05.678' as ts", timestamp_value="ts"),
        "m 1 1704164645678",
    ),
    Case(
        "time without zone is UTC, other zone",
        one("select 1 as v, timestamp '2024-01-02 03:04:05.678' as ts", timestamp_value="ts"),
        "m 1 1704164645678",
        dsn="&TimeZone=America/New_York",
    ),
    Case(
        "time with zone, other zone",
        one("select 1 as v, timestamptz '2024-07-02 03:04:05.678+02' as ts", timestamp_value="ts"),
        "m 1 1719882245678",
        dsn="&TimeZone=America/New_York",
    ),
    Case(
        "time as text",
        one("select 1 as v, '2024-01-02' as ts", timestamp_value="ts"),
        fails={"m": ("column ts, row 1", "neither a date nor a timestamp")},
    ),
    Case(
        "time infinite",
        one("select 1 as v, timestamp 'infinity' as ts", timestamp_value="ts"),
        fails={"m": ("column ts, row 1",)},
    ),
    Case(
        "time before 1970",
        one("select 1 as v, date '1969-12-31' as ts", timestamp_value="ts"),
        "m 1 -86400000",
    ),
    Case("timestamp_value empty", one(timestamp_value="''"), "m 1"),
    Case("timestamp_value null", one(timestamp_value="~"), "m 1"),
    Case(
        "timestamp_value with two values",
        one(
            "select 1 as v, 2 as w, date '1970-01-02' as ts",
            values="[v, w]",
            value_label="op",
            timestamp_value="ts",
        ),
        'm{op="v"} 1 86400000\nm{op="w"} 2 86400000',
    ),
    Case(
        "time is a key label, too",
        one("select 1 as v, now() as ts", timestamp_value="ts", key_labels="[ts]"),
        refused="already",
        why="there it is found at the start, but not by a check",
    ),
    # -- name, type, help --------------------------------------------------------------------------
    Case("metric_name empty", one(metric_name="''"), refused="is required"),
    Case("metric_name null", one(metric_name="~"), refused="is required"),
    Case("metric_name missing", one(metric_name=None), refused="is required"),
    Case("metric_name number", one(metric_name="5"), "# HELP _ h\n# TYPE _ gauge\n_ 1"),
    Case(
        "metric_name with dots, spaces and colons",
        one(metric_name="a.b c:d-é"),
        "# HELP a_b_c:d__ h\n# TYPE a_b_c:d__ gauge\na_b_c:d__ 1",
    ),
    Case("metric_name list", one(metric_name="[a]"), refused="must be text"),
    Case("type missing", one(type=None), refused="is required"),
    Case("type empty", one(type="''"), refused="is required"),
    *(
        Case(f"type {kind}", one(type=kind), "# HELP m h\n# TYPE m counter\nm 1")
        for kind in ("counter", "Counter", "COUNTER", "'counter'")
    ),
    *(
        Case(f"type {kind}", one(type=kind), refused="must be gauge or counter")
        for kind in ("summary", "untyped", "info", "gauges", "' gauge'")
    ),
    Case(
        "a counter that ends in _total",
        one(metric_name="m_total", type="counter"),
        "# HELP m_total h\n# TYPE m_total counter\nm_total 1",
    ),
    Case(
        "a gauge that ends in _total",
        one(metric_name="m_total"),
        "# HELP m_total h\n# TYPE m_total gauge\nm_total 1",
    ),
    Case(
        "a gauge and its total",
        file(metric(), metric(metric_name="m_total", type="counter")),
        "# HELP m h\n# TYPE m gauge\nm 1\n# HELP m_total h\n# TYPE m_total counter\nm_total 1",
    ),
    Case(
        "a counter in _total and a gauge in _created",
        file(metric(metric_name="m_created"), metric(metric_name="m_total", type="counter")),
        "# HELP m_created h\n# TYPE m_created gauge\nm_created 1\n"
        "# HELP m_total h\n# TYPE m_total counter\nm_total 1",
    ),
    Case(
        "a gauge and its total in two files",
        one(),
        "# HELP m h\n# TYPE m gauge\nm 1\n# HELP m_total h\n# TYPE m_total counter\nm_total 1",
        other=file(metric(metric_name="m_total", type="counter"), name="d"),
    ),
    *(
        Case(f"a gauge m_{end} beside m", file(metric(), metric(metric_name=f"m_{end}")), f"m 1\nm_{end} 1")
        for end in ("count", "sum", "bucket", "info", "total", "created")
    ),
    *(
        Case(
            f"a gauge m_{end} beside the counter m_total",
            file(metric(metric_name=f"m_{end}"), metric(metric_name="m_total", type="counter")),
            f"# HELP m_{end} h\n# TYPE m_{end} gauge\nm_{end} 1\n"
            "# HELP m_total h\n# TYPE m_total counter\nm_total 1",
        )
        for end in ("count", "sum", "bucket", "info")
    ),
    Case("metric_name up", one(metric_name="up"), "up 1"),
    Case("metric_name of our own", one(metric_name="ci_exporter_query_success"), refused="exporter's own"),
    Case("help empty", one(help="''"), refused="is required"),
    Case("help null", one(help=""), refused="is required"),
    Case(
        "help of several lines",
        one(help='"a\\n\\\\b \\"c\\" d "'),
        '# HELP m a\\n\\\\b "c" d \n# TYPE m gauge\nm 1',
    ),
    Case("help folded", one(help=">\n    a\n    b\n"), "# HELP m a b\\n\n# TYPE m gauge\nm 1"),
    Case("help number", one(help="1.50"), "# HELP m 1.50\n# TYPE m gauge\nm 1"),
    Case("help list", one(help="[a]"), refused="must be text"),
    Case(
        "one name, two types",
        file(metric(), metric(type="counter")),
        refused="make them the same",
        why="there each scrape drops the samples of one of them",
    ),
    Case(
        "one name, two types in two files",
        one(),
        other=file(metric(type="counter"), name="d"),
        refused="a name has one type",
        why="there each scrape drops the samples of one of them",
    ),
    Case(
        "one name in two files",
        one(static_labels="{a: x}"),
        'm{a="x"} 1\nm{a="y"} 1',
        other=file(metric(static_labels="{a: y}", help="other"), name="d"),
    ),
    # -- the file ----------------------------------------------------------------------------------
    Case(
        "unknown key in the collector",
        file(metric(), rest="interval: 5s\n"),
        refused="unknown key 'interval'",
    ),
    Case("keys have their case", file(metric(), rest="Queries: []\n"), refused="unknown key 'Queries'"),
    Case("queries is a map", file(metric(), rest="queries: {q: select 1}\n"), refused="must be a list"),
    Case("queries null", file(metric(), rest="queries:\n"), "m 1"),
    Case("queries of texts", file(metric(), rest="queries: [select 1]\n"), refused="must be a mapping"),
    Case("collector_name missing", "metrics:\n" + metric(), refused="is required"),
    Case("collector_name empty", file(metric(), name="''"), refused="is required"),
    Case("collector_name null", file(metric(), name="~"), refused="is required"),
    Case("collector_name number", file(metric(), name="5"), "m 1"),
    Case("collector_name with a slash", file(metric(), name="a/b c"), "m 1"),
    Case("metrics missing", "collector_name: c\n", refused="at least one metric"),
    Case("metrics null", "collector_name: c\nmetrics: ~\n", refused="at least one metric"),
    Case("metrics empty", "collector_name: c\nmetrics: []\n", refused="at least one metric"),
    Case("metrics map", "collector_name: c\nmetrics: {metric_name: m}\n", refused="must be a list"),
    Case("metrics null entry", "collector_name: c\nmetrics: [~]\n", refused="metric"),
    Case("several documents", one() + "---\n{broken: [\n", "m 1"),
    Case("a document marker first", "%YAML 1.1\n---\n" + one() + "...\n", "m 1"),
    Case("YAML 1.2", "%YAML 1.2\n---\n" + one(), "m 1"),
    Case("a byte order mark, line ends of Windows", "\ufeff" + one().replace("\n", "\r\n"), "m 1"),
    Case("only a comment", "# nothing\n", refused="is empty"),
    Case("null", "---\n", refused="is empty"),
    Case("text", "hello\n", refused="must be one mapping"),
    Case("tab in the indentation", "collector_name: c\nmetrics:\n\t- {}\n", refused="tab"),
    Case(
        "tabs between and in the SQL",
        "collector_name:\tc\nmetrics:\n" + metric(None, query="|\n    select\t1\n    \tas v\n"),
        "m 1",
    ),
    Case(
        "merged mappings, what is written wins wherever it stands",
        "collector_name: c\nmetrics:\n- &a {metric_name: a, type: gauge, help: h, values: [v], "
        "query_ref: q}\n- {metric_name: b, <<: *a, help: i}\n- {<<: [{metric_name: d}, *a]}\n" + Q,
        "# HELP a h\n# TYPE a gauge\na 1\n# HELP b i\n# TYPE b gauge\nb 1\n# HELP d h\n# TYPE d gauge\nd 1",
    ),
    Case("merged labels", one(static_labels="{<<: {a: x, b: y}, a: z}"), 'm{a="z",b="y"} 1'),
    Case(
        "an alias for SQL",
        "collector_name: c\nmetrics:\n"
        + metric(None, query="&s select 1 as v")
        + metric(None, query="*s", metric_name="n"),
        "m 1\nn 1",
    ),
    # -- min_interval ------------------------------------------------------------------------------
    *(
        Case(f"min_interval {text}", file(metric(), rest=f"min_interval: {text}\n"), "m 1")
        for text in ("0s", "0", "'0'", "1h30m", "1y2w3d4h5m6s7ms", "~", "", "'5s'", "0h")
    ),
    *(
        Case(f"min_interval {text}", file(metric(), rest=f"min_interval: {text}\n"), refused="min_interval: ")
        for text in (
            "30",
            "''",
            "1.5h",
            "30m1h",
            "5 s",
            "5S",
            "+5s",
            "1us",
            "99999999999999999y",
            "9" * 5000 + "s",
        )
    ),
    # -- query and query_ref -----------------------------------------------------------------------
    Case("query empty", one(""), refused="one of query and query_ref is required"),
    Case("neither query nor query_ref", one(None), refused="one of query and query_ref is required"),
    Case("query empty, query_ref", file(metric("", query_ref="q"), rest=Q), "m 1"),
    Case("query, query_ref empty", one(query_ref="''"), "m 1"),
    Case("query of spaces", one("  "), fails={"m": ("returns no rows",)}),
    Case("query_ref unresolved", file(metric(None, query_ref="x"), rest=Q), refused="unknown query 'x'"),
    Case("query_ref without queries", one(None, query_ref="x"), refused="unknown query 'x'"),
    Case(
        "two queries of one name: the last wins",
        file(
            metric(None, query_ref="q"),
            rest="queries: [{query_name: q, query: select 1 as v}, {query_name: q, query: select 2 as v}]\n",
        ),
        "m 2",
    ),
    Case("query_name missing", file(metric(), rest="queries: [{query: select 1}]\n"), refused="is required"),
    Case(
        "query of a named query missing",
        file(metric(), rest="queries: [{query_name: q}]\n"),
        refused="is required",
    ),
    Case(
        "query of a named query empty",
        file(metric(), rest="queries: [{query_name: q, query: ''}]\n"),
        refused="is required",
    ),
    Case(
        "query_ref: key in one metric, value in the other",
        file(
            metric(None, query_ref="q"),
            metric(None, query_ref="q", metric_name="n", static_value="1", values=None, key_labels="[v]"),
            rest=Q,
        ),
        refused="already",
        why="there it is found at the start, but not by a check",
    ),
    # -- no_prepared_statement ---------------------------------------------------------------------
    *(
        Case(f"no_prepared_statement {text}", one(no_prepared_statement=text), "m 1")
        for text in ("true", "True", "FALSE", "off", "Yes", "NO", "y", "n", "'off'", "'Y'", "~", "")
    ),
    *(
        Case(
            f"no_prepared_statement {text}", one(no_prepared_statement=text), refused="must be true or false"
        )
        for text in ("'false'", "0", "1.0", "''", "maybe", "[true]", "yES")
    ),
    Case(
        "no_prepared_statement of the query",
        file(
            metric(None, query_ref="q"),
            rest="queries: [{query_name: q, no_prepared_statement: yes, "
            "query: select 1 as v; select 2 as v}]\n",
        ),
        "m 1",
    ),
    Case(
        "two statements, the second fails",
        one("select 1 as v; select 1/0 as v", no_prepared_statement="on"),
        fails={"m": ("22012",)},
    ),
    Case(
        "a setting and a block before the query, not prepared",
        one(
            "set local work_mem = '5MB'; do $$ begin raise warning 'x'; end $$; select 1 as v",
            no_prepared_statement="on",
        ),
        "m 1",
    ),
    Case(
        "the first result counts, not prepared",
        one("select 'x' as w; select 1 as v", no_prepared_statement="on"),
        fails={"m": ("lacks the column v", "it has w")},
    ),
    Case("only a comment, not prepared", one("-- x", no_prepared_statement="on"), fails={"m": ("no rows",)}),
    # -- statements --------------------------------------------------------------------------------
    Case("semicolon and comments", one("-- first\n/* a /* b */ */ select 1 as v; -- last"), "m 1"),
    Case("two semicolons", one("select 1 as v;;"), "m 1"),
    Case("in parentheses", one("(select 1 as v)"), "m 1"),
    Case("upper case", one("SELECT 1 AS v"), "m 1"),
    Case("VALUES", one("values (1), (2)", values="[column1]", key_labels=None), "m 1", repeats=1),
    Case(
        "TABLE",
        one("table pg_am", values="[oid]", key_labels="[amname]"),
        'm{amname="heap"} 2\nm{amname="btree"} 403\nm{amname="hash"} 405\n'
        'm{amname="gist"} 783\nm{amname="gin"} 2742\n'
        'm{amname="brin"} 3580\nm{amname="spgist"} 4000',
    ),
    Case(
        "WITH",
        one(
            "with recursive a(n) as (select 1 union all select n + 1 from a where n < 3) "
            "select sum(n) as v from a"
        ),
        "m 6",
    ),
    Case(
        "EXPLAIN",
        one("explain select 1", static_value="1", key_labels="[QUERY PLAN]"),
        'm{QUERY_PLAN="Result  (cost=0.00..0.01 rows=1 width=4)"} 1',
    ),
    Case(
        "EXPLAIN ANALYZE", one("explain (analyze, costs off, format json) select 1", static_value="1"), "m 1"
    ),
    Case("SHOW", one("show max_identifier_length", values="[max_identifier_length]"), "m 63"),
    Case(
        "SHOW with upper case",
        one("show TimeZone", static_value="1", key_labels="[TimeZone]"),
        'm{TimeZone="UTC"} 1',
    ),
    Case("DO", one("do $$ begin end $$"), fails={"m": ("returns no rows",)}),
    Case("SET", one("set work_mem = '5MB'"), fails={"m": ("returns no rows",)}),
    Case("COPY", one("copy (select 1) to stdout"), fails={"m": ("returns no rows",)}),
    Case(
        "writing WITH",
        one("with x as (delete from pg_am returning 1 as v) select * from x"),
        fails={"m": ("may only read",)},
        why="queries may only read",
    ),
    Case(
        "INSERT RETURNING",
        one("insert into pg_am values (1) returning 1 as v"),
        fails={"m": ("25006", "may only read")},
        why="queries may only read",
    ),
    Case(
        "CREATE TABLE AS",
        one("create table more as select 1 as v"),
        fails={"m": ("25006", "may only read")},
        why="queries may only read",
    ),
    Case(
        "SELECT INTO",
        one("select 1 as v into more"),
        fails={"m": ("INTO is not allowed",)},
        why="queries may only read",
    ),
    Case(
        "FOR UPDATE",
        one("select 1 as v from pg_am for update"),
        fails={"m": ("25006", "may only read")},
        why="queries may only read",
    ),
    Case(
        "COMMIT",
        one("commit; select 1 as v", no_prepared_statement="on"),
        fails={"m": ("ends the transaction",)},
        why="all queries of a file see one state",
    ),
    Case(
        "a per cent sign",
        one("select 1 as v, 'a%b %s %(x)s %%' as k where 'ab' like 'a%' and 5 % 3 = 2", key_labels="[k]"),
        'm{k="a%b %s %(x)s %%"} 1',
    ),
    Case(
        "a per cent sign, not prepared",
        one("select 1 as v, 'a%b %s %%' as k", key_labels="[k]", no_prepared_statement="on"),
        'm{k="a%b %s %%"} 1',
    ),
    Case("a per cent sign in SHOW", one("explain select '%s'", static_value="1"), "m 1"),
    Case("colons", one("select 1::int as v, ':x' as k", key_labels="[k]"), 'm{k=":x"} 1'),
    Case(
        "a question mark",
        one("""select 1 as v, '{"a": 1}'::jsonb ? 'a' as k""", key_labels="[k]"),
        'm{k="true"} 1',
    ),
    Case("$1", one("select $1::int as v"), fails={"m": ("requires 1",)}),
    Case(
        "dollar quotes",
        one("select 1 as v, $a$it's {{ x }} ${HOME} $$x$$$a$ as k", key_labels="[k]"),
        'm{k="it\'s {{ x }} ${HOME} $$x$$"} 1',
    ),
    Case(
        "backslashes",
        one(r"select 1 as v, 'a\b' as k, E'a\tb' as l", key_labels="[k, l]"),
        'm{k="a\\\\b",l="a\tb"} 1',
    ),
    Case("void", one("select pg_sleep(0) as k, 1 as v", key_labels="[k]"), 'm{k=""} 1'),
    Case("void value", one("select pg_sleep(0) as v"), fails={"m": ("'' is not a number",)}),
    Case("division by zero", one("select 1 / 0 as v"), fails={"m": ("22012",)}),
    Case(
        "an error in a later row loses all",
        one("select 1 / (2 - n) as v from generate_series(0, 3) n"),
        fails={"m": ("22012",)},
    ),
    Case("syntax error", one("selec 1"), fails={"m": ("42601", "selec")}),
    Case(
        "domains",
        one(
            "select 1::information_schema.cardinal_number as v, "
            "'2024-01-02 03:04:05+00'::information_schema.time_stamp as k",
            key_labels="[k]",
        ),
        'm{k="2024-01-02T03:04:05Z"} 1',
    ),
    # -- the DSN -----------------------------------------------------------------------------------
    Case(
        "encoding and schemas in the DSN",
        one("select 1 as v, 'ż' as k, current_setting('search_path') as p", key_labels="[k, p]"),
        'm{k="ż",p="a,b"} 1',
        dsn="&client_encoding=LATIN2&search_path=a,b",
    ),
    Case(
        "regional styles in the DSN",
        one(
            "select 1 as v, date '2024-01-02' as d, interval '26:00' as i, "
            "timestamptz '2024-07-02 03:04+00' as z, 0.1::float8 as f, '\\x41'::bytea as b",
            key_labels="[d, i, z, f, b]",
        ),
        'm{d="2024-01-02T00:00:00Z",i="26:00:00",z="2024-07-02T03:04:00Z",f="0.1",b="A"} 1',
        dsn="&DateStyle=German&IntervalStyle=iso_8601&bytea_output=escape&extra_float_digits=0",
        why="there IntervalStyle shows",
    ),
    Case(
        "the order of a date is that of the DSN",
        one("select 1 as v, '01/02/2024'::date as d", key_labels="[d]"),
        'm{d="2024-02-01T00:00:00Z"} 1',
        dsn="&DateStyle=SQL,DMY",
    ),
    Case(
        "a zone of the DSN that only the server knows",
        file(
            metric("select timestamp '2024-01-01 00:00' as v"),
            metric("select timestamptz '1970-01-02 00:00+00' as v", metric_name="n"),
        ),
        "n 86400",
        fails={"m": ("column v, row 1", "a time without a zone, in the zone '<+03>-03'")},
        dsn="&TimeZone=%3C%2B03%3E-03",
        why="a point in time is Unix seconds",
    ),
    Case(
        "a value without zone is of the session's zone",
        one(
            "select extract(epoch from now()) - extract(epoch from "
            "now()::timestamp at time zone current_setting('TimeZone')) as v"
        ),
        "m 0",
        dsn="&TimeZone=America/New_York",
    ),
    Case(
        "a time without zone as value, zone of the DSN",
        one("select timestamp '2024-01-01 00:00' as v"),
        "m 1704085200",
        dsn="&TimeZone=America/New_York",
        why="a point in time is Unix seconds",
    ),
    Case(
        "a zone of the DSN in other case",
        one("select timestamp '2024-01-01 00:00' as v"),
        "m 1704085200",
        dsn="&TimeZone=america/new_york",
        why="a point in time is Unix seconds",
    ),
]


# What is selected, what is shown of it, or words of why the row is left out; and why it is not as there.
VALUES: tuple[tuple[str, str | tuple[str, ...], str], ...] = (
    ("7::int2", "7", ""),
    ("9223372036854775807", "9223372036854775807", ""),
    ("-5::int8", "-5", ""),
    ("0.1::float4", "0.1", ""),
    ("0.1::float8", "0.1", ""),
    ("1e300::float8", "1e300", ""),
    ("'-0'::float8", "-0", ""),
    ("'NaN'::float8", "NaN", ""),
    ("'-Infinity'::float4", "-Inf", ""),
    ("1.50::numeric", "1.5", ""),
    ("1e400::numeric", ("too large",), ""),
    ("repeat('9', 60)::numeric", "1e60", ""),
    ("'NaN'::numeric", "NaN", ""),
    ("'Infinity'::numeric", "+Inf", ""),
    ("'12.5'", "12.5", ""),
    ("'12'::varchar(9)", "12", ""),
    ("'12'::name", "12", ""),
    ("'1_000'", "1000", ""),
    ("'+1e3'", "1000", ""),
    ("'.5'", "0.5", ""),
    ("'inf'", "+Inf", ""),
    ("'-Infinity'", "-Inf", ""),
    ("'NaN'", "NaN", ""),
    ("'0x1p4'", "16", ""),
    ("'-0X1.8p1'", "-3", ""),
    ("'0x10'", ("not a number",), ""),
    ("''", ("not a number",), ""),
    ("' 1'", ("not a number",), ""),
    ("'1,5'", ("not a number",), ""),
    ("'1__0'", ("not a number",), ""),
    ("'_1'", ("not a number",), ""),
    ("'+nan'", ("not a number",), ""),
    ("'1e400'", ("too large",), ""),
    ("'١'", ("not a number",), ""),
    ("'12'::char(4)", ("not a number",), ""),
    ("'12'::char(2)", "12", ""),
    ("'12'::json", "12", ""),
    ("'1.5'::jsonb", "1.5", ""),
    ("'[1]'::jsonb", ("not a number",), ""),
    ("99::oid", "99", ""),
    ("null::float8", "", ""),
    ("'$1'::money", ("not a number",), ""),
    ("array[1]", ("not a number",), ""),
    ("time '03:04'", ("not a number",), ""),
    ("row(1)", ("not a number",), ""),
    ("true", "1", "a truth is 1 or 0"),
    ("false", "0", "a truth is 1 or 0"),
    ("date '1970-01-02'", "86400", "a point in time is Unix seconds"),
    ("timestamp '1970-01-02 00:00:00.5'", "86400.5", "a point in time is Unix seconds"),
    ("timestamptz '1970-01-02 00:00+02'", "79200", "a point in time is Unix seconds"),
    ("interval '1 hour'", "3600", "an interval is seconds"),
    ("interval '-1 day 2 hours'", "-79200", "an interval is seconds"),
    ("interval '-00:00:00.25'", "-0.25", "an interval is seconds"),
)

# What is selected, and the label that it becomes.
LABELS: tuple[tuple[str, str], ...] = (
    ("true", "true"),
    ("false", "false"),
    ("7::int2", "7"),
    ("-9223372036854775808", "-9223372036854775808"),
    ("1.50::numeric", "1.50"),
    ("7::numeric(10,3)", "7.000"),
    ("-0.0::numeric", "0.0"),
    ("1e30::numeric", "1" + "0" * 30),
    ("repeat('9', 60)::numeric", "9" * 60),
    ("'NaN'::numeric", "NaN"),
    ("0.1::float4", "0.1"),
    ("16777216::float4", "1.6777216e+07"),
    ("1e20::float4", "1e+20"),
    ("0.1::float8", "0.1"),
    ("100000::float8", "100000"),
    ("999999::float8", "999999"),
    ("1000000::float8", "1e+06"),
    ("1234567.5::float8", "1.2345675e+06"),
    ("0.0001::float8", "0.0001"),
    ("0.00001::float8", "1e-05"),
    ("123456.75::float8", "123456.75"),
    ("1e21::float8", "1e+21"),
    ("1e-300::float8", "1e-300"),
    ("'-0'::float8", "-0"),
    ("'NaN'::float8", "NaN"),
    ("'Infinity'::float8", "+Inf"),
    ("'-Infinity'::float4", "-Inf"),
    ("-2.5::float8", "-2.5"),
    ("date '2024-01-02'", "2024-01-02T00:00:00Z"),
    ("timestamp '2024-01-02 03:04:05'", "2024-01-02T03:04:05Z"),
    ("timestamp '2024-01-02 03:04:05.120'", "2024-01-02T03:04:05.12Z"),
    ("timestamptz '2024-01-02 03:04:05.123456+02'", "2024-01-02T01:04:05.123456Z"),
    ("date 'infinity'", "infinity"),
    ("timestamp '-infinity'", "-infinity"),
    ("timestamp '12024-01-02 03:04:05'", "12024-01-02T03:04:05Z"),
    ("time '03:04:05.123456'", "0000-01-01T03:04:05.123456Z"),
    ("time '24:00'", "0000-01-02T00:00:00Z"),
    ("timetz '03:04:05.5+02'", "0000-01-01T03:04:05.5+02:00"),
    ("timetz '03:04:05+00'", "0000-01-01T03:04:05Z"),
    ("interval '1 day 2 hours'", "1 day 02:00:00"),
    ("interval '-1 day -2 hours'", "-1 days -02:00:00"),
    ("interval '1 mon'", "1 mon"),
    ("array[1,2]", "{1,2}"),
    ("array['a b', null, 'c,d']", '{"a b",NULL,"c,d"}'),
    ("array[true]", "{t}"),
    ("'{\"a\":1}'::json", '{"a":1}'),
    ("'{\"a\":1}'::jsonb", '{"a": 1}'),
    ("'C0FFEE00-0000-0000-0000-000000000000'::uuid", "c0ffee00-0000-0000-0000-000000000000"),
    ("'10.0.0.0/8'::cidr", "10.0.0.0/8"),
    ("'10.0.0.1'::inet", "10.0.0.1"),
    ("'ab'::char(4)", "ab  "),
    ("'a'::\"char\"", "a"),
    ("'x'::bytea", "x"),
    ("'\\xc5bc'::bytea", "ż"),
    ("''::bytea", ""),
    ("'\\xff41'::bytea", "�A"),
    ("'$1.50'::money", "$1.50"),
    ("B'101'", "101"),
    ("'pg_am'::regclass", "pg_am"),
    ("int4range(1, 5)", "[1,5)"),
    ("row(1, 'a', true)", "(1,a,t)"),
    ("'a'::mood", "a"),
    ("null::int", ""),
    ("null::timestamptz", ""),
    ("''", ""),
    ("'  a  '", "  a  "),
    ("'a' || chr(10) || 'b' || chr(13) || chr(9) || chr(92) || chr(34)", 'a\nb\r\t\\"'),
    ("chr(128512) || chr(133) || chr(8232)", "😀\x85\u2028"),
    ("chr(1)", "\x01"),
)


def expected(text: str) -> Page:
    """The page that *text* is, with the heads of gauges whose help is h where there are none."""
    if "# HELP" in text:
        return page(text + "\n")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        found.setdefault(line.split("{")[0].split(" ")[0], []).append(line)
    return page(
        "".join(
            f"# HELP {name} h\n# TYPE {name} gauge\n" + "\n".join(lines) + "\n"
            for name, lines in found.items()
        )
    )


def without_target(shown: Page) -> Page:
    assert all(("target", "t") in series.labels for series in shown.series)
    return Page(
        shown.heads, frozenset(one._replace(labels=one.labels - {("target", "t")}) for one in shown.series)
    )


def lab_for(folder: Path, dsn: str, text: str, other: str = "") -> QueryLab:
    lab = QueryLab(folder, dsn, database_label="target")
    (folder / "a.collector.yml").write_bytes(text.encode())
    if other:
        (folder / "b.collector.yml").write_bytes(other.encode())
    return lab


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, tmp_path: Path, postgres_url: str) -> None:
    lab = lab_for(tmp_path, postgres_url + case.dsn, case.text, case.other)
    if case.refused:
        with pytest.raises(ConfigError) as caught:
            _ = lab.parts
        assert case.refused in str(caught.value)
        assert all(problem.file and problem.line for problem in caught.value.problems)
        return
    failed = run_once(lab.parts.rounds, capacity=2)["postgres"]
    assert without_target(lab.page) == expected(case.shown), failed
    assert len(page(lab.text(Format.OPENMETRICS), openmetrics=True).series) == len(lab.page.series)
    said = " ".join(failed)
    assert {name for name, good in lab.succeeding.items() if not good} == {
        f"t/{name}" for name in case.fails
    }, said
    for name, words in case.fails.items():
        for word in (f"database t, query {name}: ", *words):
            assert word in said
    dropped = sum(float(line.rpartition(" ")[2]) for line in lab.lines("ci_exporter_series_dropped_total"))
    assert dropped == case.repeats
    lab.close()


def test_values(tmp_path: Path, postgres_url: str) -> None:
    metrics = [metric(f"select {sql} as v", metric_name=f"m{n}") for n, (sql, _, _) in enumerate(VALUES)]
    lab = lab_for(tmp_path, postgres_url, file(*metrics))
    failed = " ".join(run_once(lab.parts.rounds, capacity=2)["postgres"])
    shown = {series.name: float(series.value) for series in lab.page.series}
    wrong = []
    for n, (sql, wanted, _) in enumerate(VALUES):
        if isinstance(wanted, str):
            good = (
                repr(shown.get(f"m{n}")) == repr(float(wanted) if wanted else None)
                and f"query m{n}:" not in failed
            )
        else:
            good = f"m{n}" not in shown and all(word in failed for word in (f"query m{n}:", *wanted))
        if not good:
            wrong.append((sql, wanted, shown.get(f"m{n}")))
    assert not wrong
    lab.close()


def test_labels(tmp_path: Path, postgres_database: str) -> None:
    metrics = [
        metric(f"select 1 as v, {sql} as k", metric_name=f"m{n}", key_labels="[k]")
        for n, (sql, _) in enumerate(LABELS)
    ]
    lab = lab_for(tmp_path, postgres_database, file(*metrics))
    lab.sql("create type mood as enum ('a', 'b')")
    assert not run_once(lab.parts.rounds, capacity=2)["postgres"]
    shown = {series.name: dict(series.labels).get("k") for series in lab.page.series}
    wrong = [
        (sql, wanted, shown.get(f"m{n}"))
        for n, (sql, wanted) in enumerate(LABELS)
        if shown.get(f"m{n}") != wanted
    ]
    assert not wrong
    lab.close()


def test_procedures_and_counters_with_and_without_total(tmp_path: Path, postgres_database: str) -> None:
    metrics = (
        metric(type="counter"),
        metric("select 2 as v", metric_name="m_total", type="counter"),
        metric("call answer(null)", metric_name="called"),
        metric("call answer(null)", metric_name="called_simply", no_prepared_statement="yes"),
    )
    lab = lab_for(tmp_path, postgres_database, file(*metrics))
    lab.sql("create procedure answer(inout v int) language plpgsql as 'begin v := 42; end'")
    assert not run_once(lab.parts.rounds, capacity=2)["postgres"]
    shown = lab.lines("m", "m_total", "called", "called_simply")
    assert {line.replace('{target="t"}', "") for line in shown} == {
        "m 1.0", "m_total 2.0", "called 42.0", "called_simply 42.0",
    }  # fmt: skip
    assert "# TYPE m counter" in lab.text()
    assert "# TYPE m_total counter" in lab.text()
    assert "# TYPE m_total unknown" in lab.text(Format.OPENMETRICS)
    lab.close()


def test_a_kept_total_beside_a_metric_of_its_name_without_total(tmp_path: Path, postgres_url: str) -> None:
    once = "ci_exporter: {metrics: {m_total: {once_by: [v]}}}\n"
    lab = lab_for(
        tmp_path, postgres_url, file(metric(), metric(metric_name="m_total", type="counter"), rest=once)
    )
    with pytest.raises(
        ConfigError, match="is a kept total, and a metric of its name without _total"
    ) as caught:
        _ = lab.parts
    assert caught.value.problems[0].line


def test_a_database_without_an_encoding(tmp_path: Path, postgres_database: str) -> None:
    """Labels of bytes that are no text are shown; sql_exporter drops such series."""
    name = "more_ascii"
    lab = QueryLab(tmp_path, postgres_database)
    lab.sql(f"create database {name} encoding 'SQL_ASCII' template template0 lc_collate 'C' lc_ctype 'C'")
    try:
        url = postgres_database.replace(postgres_database.split("/")[3].split("?")[0], name)
        lab = lab_for(tmp_path, url, one("select 1 as v, E'\\xc5\\xbc\\xff' as k", key_labels="[k]"))
        assert not run_once(lab.parts.rounds, capacity=2)["postgres"]
        assert without_target(lab.page) == expected('m{k="ż\ufffd"} 1')
        lab.close()
    finally:
        QueryLab(tmp_path, postgres_database).sql(f"drop database {name} with (force)")
