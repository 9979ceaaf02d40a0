"""Collector files: the recorded cases of sql_exporter, each rule of the format, and our additions."""

import contextlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.postgres.overlay import Overlay
from collectors.postgres.queryfile import MAX_BYTES, read_query_file
from collectors.postgres.spec import Metric, Once, QueryFile
from exporter.errors import ConfigError, Problem

CASES = Path(__file__).parent / "cases"
Write = Callable[[str], Path]

# Refused by sql_exporter for its main configuration, which is not read here.
NOT_THE_FILE = {
    "125": "max_connection_lifetime of the main configuration",
    "130": "min_interval of the main configuration",
    "134": "a reference to collectors in the main configuration",
    "136": "one collector_name in two files: only who reads both can tell",
    "137": "a glob of the main configuration",
    "139": "jobs and target of the main configuration",
    "143": "max_connection_lifetime of the main configuration",
}
# Loaded by sql_exporter, refused here with a reason.
BETTER = {
    "035": "a static label that collides with a key label: there each scrape drops the series (S8)",
    "065": "a column that is label and value: there it ends the start, but is not found by a check (S8)",
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "a.collector.yml"
        path.write_text(text)
        return path

    return write


def case_files() -> list[Path]:
    return sorted(path for path in CASES.glob("*.collector.yml") if ".extra." not in path.name)


@pytest.mark.parametrize("path", case_files(), ids=lambda path: path.name[:40])
def test_a_recorded_case_loads_if_it_does_there(path: Path) -> None:
    number = path.name[:3]
    expected = json.loads(path.with_name(path.name.replace(".collector.yml", ".expected.json")).read_text())
    refused = number in BETTER or (expected["check_exit"] == 1 and number not in NOT_THE_FILE)
    if not refused:
        assert read_query_file(path).metrics
        return
    with pytest.raises(ConfigError) as caught:
        read_query_file(path)
    assert caught.value.problems
    assert {problem.file for problem in caught.value.problems} == {str(path)}
    assert all(problem.line for problem in caught.value.problems)


def test_a_second_file_of_a_case_loads() -> None:
    (extra,) = CASES.glob("*.extra.*.yml")
    assert read_query_file(extra).metrics


def test_the_tables_of_cases_are_right() -> None:
    exits = {
        path.name[:3]: json.loads(path.read_text())["check_exit"] for path in CASES.glob("*.expected.json")
    }
    assert len(exits) == 96
    assert {exits[number] for number in NOT_THE_FILE} == {1}
    assert {exits[number] for number in BETTER} == {0}


def a_file(**keys: str) -> str:
    """A file of 8 lines with one metric; *keys* replace its keys or, when empty, remove them."""
    found = {
        "metric_name": "m", "type": "gauge", "help": "h", "values": "[v]", "query": "select 1 as v",
    } | keys  # fmt: skip
    body = "".join(f"    {key}: {value}\n" for key, value in found.items() if value)
    return f"collector_name: c\nmetrics:\n  -\n{body}"


def first(file: QueryFile) -> Metric:
    return file.metrics[0]


def problems(path: Path, overlay: Overlay | None = None, **options: Any) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        read_query_file(path, overlay, **options)
    found = caught.value.problems
    assert [problem.line or 0 for problem in found] == sorted(problem.line or 0 for problem in found)
    return found


def told(path: Path, overlay: Overlay | None = None, **options: Any) -> list[str]:
    return [f"{found.line} {found.key}: {found.message}" for found in problems(path, overlay, **options)]


# -- what is read --------------------------------------------------------------------------------


def test_a_whole_file(write: Write) -> None:
    file = read_query_file(
        write(
            """
collector_name: pricing
min_interval: 1m30s
metrics:
  - metric_name: price_updates
    type: Counter
    help: Updates of prices.
    key_labels: [Market, class]
    static_labels: {env: 1.50, on: ~}
    value_label: what
    values: [asks, bids]
    timestamp_value: at
    query_ref: updates
    no_prepared_statement: yes
  - metric_name: here
    type: gauge
    help: "1"
    static_value: 0x10
    timestamp_value: at
    query: select 2
    no_prepared_statement: 'on'
queries:
  - {query_name: unused, query: broken}
  - query_name: updates
    query: select 1
  - query_name: updates
    query: |
      select 3
"""
        )
    )
    updates, here = file.metrics
    assert (file.name, file.interval, file.schedule, file.debounce) == ("pricing", 90, None, 1)
    assert [(query.name, query.sql, query.simple, query.line) for query in file.queries] == [
        ("updates", "select 3\n", False, 27),
        ("here", "select 2", True, 20),
    ]
    assert file.queries == (updates.query, here.query)
    assert (updates.name, updates.kind, updates.help) == ("price_updates", "counter", "Updates of prices.")
    assert updates.key_labels == (("Market", "Market"), ("class", "class"))
    assert updates.static_labels == (("env", "1.50"), ("on", ""))
    assert (updates.value_label, updates.values) == ("what", ("asks", "bids"))
    assert (updates.static_value, updates.timestamp_value, updates.line) == (None, "at", 5)
    assert (here.static_value, here.values, here.timestamp_value) == (16, (), None)
    assert (here.on_null, here.max_series, here.buckets, here.once, here.unit) == ("skip", None, (), None, "")


def test_names_are_made_what_prometheus_allows(write: Write) -> None:
    path = write(
        a_file(metric_name="5xx-rate:ä b", key_labels="[my-label, 1st]", static_labels="{a.b: c, d:e: f}")
    )
    metric = first(read_query_file(path))
    assert metric.name == "_xx_rate:__b"
    assert metric.key_labels == (("my-label", "my_label"), ("1st", "_st"))
    assert metric.static_labels == (("a_b", "c"), ("d_e", "f"))


def test_one_query_for_several_metrics_is_one(write: Write) -> None:
    file = read_query_file(
        write(
            "collector_name: c\nmetrics:\n"
            "- {metric_name: a, type: gauge, help: h, values: [v], query_ref: q}\n"
            "- {metric_name: b, type: gauge, help: h, values: [w], query_ref: q}\n"
            "queries: [{query_name: q, query: select 1}]"
        )
    )
    assert len(file.queries) == 1
    assert file.metrics[0].query is file.metrics[1].query is file.queries[0]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0", None), ("0s", None), ("~", None), ("500ms", 0.5), ("1d", 86400), ("'5m'", 300), ("1h30m", 5400)],
)
def test_min_interval(write: Write, written: str, seconds: float | None) -> None:
    assert read_query_file(write(a_file() + f"min_interval: {written}\n")).interval == seconds


@pytest.mark.parametrize("written", ["30", "-5s", "1.5h", "''", "x", "[1s]", "9" * 400 + "s", "1000y"])
def test_min_interval_refuses(write: Write, written: str) -> None:
    (found,) = problems(write(a_file() + f"min_interval: {written}\n"))
    assert (found.key, found.line) == ("min_interval", 9)


@pytest.mark.parametrize(
    ("written", "simple"),
    [
        ("true", True),
        ("y", True),
        ("'yes'", True),
        ("ON", True),
        ("False", False),
        ("'off'", False),
        ("~", False),
    ],
)
def test_no_prepared_statement(write: Write, written: str, simple: bool) -> None:
    assert first(read_query_file(write(a_file(no_prepared_statement=written)))).query.simple is simple


@pytest.mark.parametrize("written", ["'true'", "1", "''", "oN", "[]", "!!str true"])
def test_no_prepared_statement_refuses(write: Write, written: str) -> None:
    (found,) = problems(write(a_file(no_prepared_statement=written)))
    assert found.message.startswith("must be true or false (without quotes), yes, no, on or off")


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e3", 1000), ("0x10", 16), ("010", 8), ("1_000", 1000), ("0", 0), (".inf", math.inf), ("-3", -3)],
)
def test_static_value(write: Write, written: str, value: float) -> None:
    assert first(read_query_file(write(a_file(values="", static_value=written)))).static_value == value


def test_static_value_may_be_no_number(write: Write) -> None:
    found = first(read_query_file(write(a_file(values="", static_value=".nan")))).static_value
    assert found is not None
    assert math.isnan(found)


@pytest.mark.parametrize("written", ["'5'", "true", "yes", "1:30", "2024-01-01", "[1]"])
def test_static_value_refuses(write: Write, written: str) -> None:
    (found,) = problems(write(a_file(values="", static_value=written)))
    assert found.message.startswith("must be a number without quotes")


def test_null_entries_of_lists_are_left_out(write: Write) -> None:
    assert first(read_query_file(write(a_file(key_labels="[a, ~, b]")))).key_labels == (
        ("a", "a"),
        ("b", "b"),
    )


def test_only_the_first_document_counts(write: Write) -> None:
    assert read_query_file(write(a_file() + "---\n[\n")).name == "c"


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text(a_file(), encoding="utf-8-sig")
    assert read_query_file(path).name == "c"


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"metric_name": ""}, "4 metrics.0.metric_name: is required and must not be empty"),
        ({"metric_name": "''"}, "4 metrics.0.metric_name: is required and must not be empty"),
        ({"metric_name": "[a]"}, "4 metrics.0.metric_name: must be text"),
        ({"type": ""}, "4 metrics.0.type: is required and must not be empty"),
        ({"type": "histogram"}, "5 metrics.0.type: must be gauge or counter (got 'histogram')"),
        ({"help": "~"}, "6 metrics.0.help: is required and must not be empty"),
        ({"values": ""}, "4 metrics.0: one of values and static_value is required"),
        ({"values": "[]"}, "4 metrics.0: one of values and static_value is required"),
        ({"values": "v"}, "7 metrics.0.values: must be a list of names, such as [a, b]"),
        ({"values": "[v, '']"}, "7 metrics.0.values.1: a name must not be empty"),
        ({"values": "[v, [w]]"}, "7 metrics.0.values.1: must be text"),
        ({"static_value": "1"}, "9 metrics.0.static_value: keep one of values and static_value"),
        ({"values": "[v, w]"}, "7 metrics.0.values: several values need a value_label, the label that tells "
         "the columns apart"),
        ({"values": "[v, v]", "value_label": "l"}, "7 metrics.0.values: the column 'v' stands twice: keep it "
         "once"),
        ({"query": ""}, "4 metrics.0: one of query and query_ref is required"),
        ({"query_ref": "q"}, "9 metrics.0.query_ref: keep one of query and query_ref"),
        ({"query": "", "query_ref": "q"}, "8 metrics.0.query_ref: unknown query 'q'; there are: none"),
        ({"key_label": "[a]"}, "9 metrics.0.key_label: unknown key 'key_label'; did you mean key_labels?"),
        ({"Help": "x"}, "9 metrics.0.Help: unknown key 'Help'; did you mean help?"),
        ({"static_labels": "[a]"}, "9 metrics.0.static_labels: must be a mapping, such as {name: text}"),
        ({"static_labels": "{a: [b]}"}, "9 metrics.0.static_labels.a: must be text"),
        ({"static_labels": "{'': b}"}, "9 metrics.0.static_labels: a label needs a name"),
        ({"key_labels": "[job]"}, "9 metrics.0.key_labels: the label job is reserved: rename the column or "
         "label 'job'"),
        ({"key_labels": "[k, k]"}, "9 metrics.0.key_labels: the label k stands twice: rename or remove one "
         "of them"),
        ({"key_labels": "[a-b, a.b]"}, "9 metrics.0.key_labels: 'a-b' and 'a.b' are both exposed as a_b: "
         "rename or remove one of them"),
        ({"key_labels": "[__name__]"}, "9 metrics.0.key_labels: '__name__' begins with __, which Prometheus "
         "keeps for itself: rename it"),
        ({"value_label": "--x"}, "9 metrics.0.value_label: '--x' begins with __, which Prometheus keeps for "
         "itself: rename it"),
        ({"value_label": "l", "static_labels": "{l: x}"}, "9 metrics.0.value_label: the label l stands "
         "twice: rename or remove one of them"),
        ({"key_labels": "[l]", "value_label": "l"}, "10 metrics.0.value_label: the label l stands twice: "
         "rename or remove one of them"),
        ({"values": "[v, w]", "value_label": "target"}, "9 metrics.0.value_label: the label target is "
         "reserved: rename the column or label 'target'"),
        ({"key_labels": "[v]"}, "7 metrics.0.values: the column 'v' is in key_labels already: select it "
         "twice, under two names"),
        ({"timestamp_value": "v"}, "9 metrics.0.timestamp_value: the column 'v' is in values already: select "
         "it twice, under two names"),
    ],
)  # fmt: skip
def test_a_metric_is_refused(write: Write, keys: dict[str, str], said: str) -> None:
    assert told(write(a_file(**keys))) == [said]


@pytest.mark.parametrize(
    "keys",
    [
        {"value_label": "job"},
        {"static_labels": "{job: x, target: y}"},
        {"key_labels": "[instance]"},
        {"values": "", "static_value": "1", "value_label": "op"},
    ],
)
def test_what_sql_exporter_allows_is_allowed(write: Write, keys: dict[str, str]) -> None:
    read_query_file(write(a_file(**keys)))


@pytest.mark.parametrize(
    "keys", [{"key_labels": "[database]"}, {"static_labels": "{database: x}"}, {"value_label": "database"}]
)
def test_the_labels_of_the_collector_are_reserved(write: Write, keys: dict[str, str]) -> None:
    path = write(a_file(**keys))
    read_query_file(path)
    (found,) = told(path, reserved=frozenset(("database",)))
    assert "the label database is reserved" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1 : the file is empty: it needs collector_name and metrics"),
        ("---\n---\na: b", "1 : the file is empty: it needs collector_name and metrics"),
        ("- a", "1 : the file must be one mapping with collector_name and metrics"),
        ("text", "1 : the file must be one mapping with collector_name and metrics"),
        ("collectors: []", "1 collectors: a file holds one collector: move each into a file of its own"),
        (a_file() + "foo: 1", "9 foo: unknown key 'foo'; there are: collector_name, min_interval, metrics, "
         "queries, ci_exporter"),
        (a_file() + "metric: 1", "9 metric: unknown key 'metric'; did you mean metrics?"),
        ("metrics:\n" + a_file().partition("metrics:\n")[2], "1 collector_name: is required and must not be "
         "empty"),
        ("collector_name: c", "1 metrics: needs at least one metric"),
        ("collector_name: c\nmetrics: ~", "2 metrics: needs at least one metric"),
        ("collector_name: c\nmetrics: []", "2 metrics: needs at least one metric"),
        ("collector_name: c\nmetrics: {}", "2 metrics: must be a list of mappings"),
        ("collector_name: c\nmetrics: [5]", "2 metrics.0: must be a mapping (key: value)"),
        (a_file() + "queries: {a: b}", "9 queries: must be a list of mappings"),
        (a_file() + "queries: [{query: x}]", "9 queries.0.query_name: is required and must not be empty"),
        (a_file() + "queries: [{query_name: x}]", "9 queries.0.query: is required and must not be empty"),
        (a_file() + "queries: [{query_name: x, query: y, timeout: 5s}]", "9 queries.0.timeout: unknown key "
         "'timeout'; there are: query_name, query, no_prepared_statement"),
    ],
)  # fmt: skip
def test_a_file_is_refused(write: Write, text: str, said: str) -> None:
    assert told(write(text)) == [said]


TWO = "- {metric_name: %s, type: %s, help: h, values: [v], query: q}\n"


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ([("m", "gauge"), ("m", "counter")], "4 metrics.1.type: 'm' is a gauge above and a counter here: "
         "make them the same"),
        ([("a-b", "gauge"), ("a_b", "gauge")], "4 metrics.1.metric_name: 'a-b' and 'a_b' are both exposed as "
         "a_b"),
    ],
)  # fmt: skip
def test_metrics_that_do_not_go_together(write: Write, metrics: list[Any], said: str) -> None:
    text = "collector_name: c\nmetrics:\n" + "".join(TWO % metric for metric in metrics)
    assert told(write(text)) == [said]


def test_every_problem_is_told_once_and_by_line(write: Write) -> None:
    path = write(
        "min_interval: 5\ncollector_name: c\nmetrics:\n"
        "- {metric_name: m, type: x, values: [v], query_ref: p}\n"
        "- &a {metric_name: n, type: gauge, help: h, values: [v], query_ref: q, foo: 1}\n"
        "- *a\n"
        "queries:\n- {query_name: q, query: ~}\nfoo: 1\nfoo: 2\n"
    )
    assert [(found.line, found.key) for found in problems(path)] == [
        (1, "min_interval"),
        (4, "metrics.0.query_ref"),
        (4, "metrics.0.type"),
        (4, "metrics.0.help"),
        (5, "metrics.1.foo"),
        (5, "metrics.2.foo"),
        (8, "queries.0.query"),
        (9, "foo"),
        (10, "foo"),
    ]


def test_a_column_is_one_thing_for_all_metrics_of_a_query(write: Write) -> None:
    text = (
        "collector_name: c\nmetrics:\n"
        "- {metric_name: a, type: gauge, help: h, values: [v], query_ref: q}\n"
        "- {metric_name: b, type: gauge, help: h, static_value: 1, key_labels: [v], query_ref: q}\n"
        "- {metric_name: d, type: gauge, help: h, static_value: 1, key_labels: [v], query: select 1}\n"
        "queries: [{query_name: q, query: select 1}]"
    )
    (found,) = told(write(text))
    assert found.startswith("4 metrics.1.key_labels: the column 'v' is in values already")


def test_long_and_odd_texts_are_shown_shortly(write: Write) -> None:
    (found,) = problems(write(a_file(type="'" + "x" * 5000 + "'")))
    assert len(found.message) < 150
    (found,) = problems(write(a_file() + '"a\\nb": 1\n'))
    assert "\n" not in str(found)


def test_a_file_that_cannot_be_read(tmp_path: Path, write: Write) -> None:
    assert told(tmp_path / "none.yml") == ["None : the file does not exist"]
    assert told(tmp_path) == ["None : this is a directory, not a file"]
    assert told(write("#" * (MAX_BYTES + 1))) == [f"None : the file is larger than {MAX_BYTES} bytes"]
    path = tmp_path / "latin.yml"
    path.write_bytes(b"a: 1\nb: \xe9\n")
    assert told(path) == ["2 : the file is not UTF-8 text"]


# -- our additions -------------------------------------------------------------------------------


def test_additions_in_the_file(write: Write) -> None:
    file = read_query_file(
        write(
            a_file(metric_name="m_seconds", query="select %(since)s, 5 %% 2, %(n)s")
            + "min_interval: 1h\nci_exporter: {title: 1.50, description: ~, interval: 30,"
            " statement_timeout: 5s, keep_last_for: 1h, max_series: 10, on_null: zero, listen: changed,"
            " debounce: 500ms, parameters: {since: 2024-01-01, n: ~},"
            " metrics: {m_seconds: {unit: seconds, on_null: nan}}}"
        )
    )
    assert (file.title, file.description, file.interval) == ("1.50", "", 30)
    assert (file.statement_timeout, file.keep_last_for, file.listen, file.debounce) == (
        5,
        3600,
        "changed",
        0.5,
    )
    assert file.parameters == {"since": "2024-01-01", "n": None}
    assert file.queries[0].parameters == {"since": "2024-01-01", "n": None}
    assert (first(file).unit, first(file).on_null, first(file).max_series) == ("seconds", "nan", 10)


def test_the_configuration_wins_key_by_key(write: Write) -> None:
    path = write(
        a_file(metric_name="m_seconds")
        + "ci_exporter: {title: here, interval: 5m, metrics: {m_seconds: {unit: seconds, max_series: 5}}}"
    )
    over = Overlay(schedule="0 6 * * mon-fri", description="there", metrics={"m_seconds": {"max_series": 7}})
    file = read_query_file(path, over)
    assert (file.title, file.description, file.interval) == ("here", "there", None)
    assert file.schedule == "0 6 * * mon-fri"
    assert (first(file).unit, first(file).max_series) == ("seconds", 7)


def test_a_schedule_replaces_min_interval(write: Write) -> None:
    path = write(a_file() + "min_interval: 5m\nci_exporter: {schedule: '*/5 * * * *'}\n")
    assert (read_query_file(path).interval, read_query_file(path).schedule) == (None, "*/5 * * * *")
    assert read_query_file(path, Overlay(interval="10s")).schedule is None
    assert read_query_file(path, Overlay(interval="10s")).interval == 10


def test_buckets_and_once_by(write: Write) -> None:
    path = write(a_file())

    def metric(**extra: Any) -> Metric:
        return first(read_query_file(path, Overlay(metrics={"m": extra})))

    assert (metric(buckets=[1, 2.5]).buckets, metric(buckets=[1]).once) == ((1, 2.5), None)
    assert metric(buckets=[1], once_by=["id"]).once == Once(("id",))
    assert metric(once_by=["id", "v"]).once == Once(("id", "v"))
    assert metric(once_by=["id"]).kind == "counter"
    assert metric(counter=True).kind == "counter"
    assert metric().kind == "gauge"


def test_a_query_without_placeholders_is_left_alone(write: Write) -> None:
    path = write(
        "collector_name: c\nmetrics:\n"
        "- {metric_name: a, type: gauge, help: h, values: [v], query: select 5 % 2 as v}\n"
        "- {metric_name: b, type: gauge, help: h, values: [v], query: 'select %(x)s as v'}\n"
        "ci_exporter: {parameters: {x: 1, y: 2}}"
    )
    (found,) = told(path)
    assert found == "5 ci_exporter.parameters.y: no query that is used holds %(y)s"
    path = write(path.read_text().replace(", y: 2", ""))
    assert [query.parameters for query in read_query_file(path).queries] == [None, {"x": "1"}]


@pytest.mark.parametrize(
    ("keys", "extra", "said"),
    [
        ({}, "[a]", "9 ci_exporter: must be a mapping (key: value)"),
        ({}, "{titel: x}", "9 ci_exporter.titel: unknown key 'titel'; did you mean title?"),
        ({}, "{title: [x]}", "9 ci_exporter.title: must be text"),
        ({}, "{interval: 5 minutes}", "9 ci_exporter.interval: '5 minutes' is not a duration such as 30s, 5m "
         "or 1h30m"),
        ({}, "{interval: 0}", "9 ci_exporter.interval: must be greater than 0"),
        ({}, "{interval: 1m, schedule: 0 0 * * *}", "9 ci_exporter: interval and schedule are both set: keep "
         "one of them"),
        ({}, "{schedule: daily}", "9 ci_exporter.schedule: must be a cron expression of five fields, such as "
         "'*/5 * * * *' or '0 6 * * mon-fri'"),
        ({}, "{max_series: 1.5}", "9 ci_exporter.max_series: must be a whole number"),
        ({}, "{max_series: 0}", "9 ci_exporter.max_series: must be at least 1"),
        ({}, "{on_null: drop}", "9 ci_exporter.on_null: must be 'skip', 'zero', 'nan' or 'error'"),
        ({}, "{parameters: [a]}", "9 ci_exporter.parameters: must be a mapping (key: value)"),
        ({}, "{parameters: {x: [a]}}", "9 ci_exporter.parameters.x: must be text"),
        ({}, "{metrics: {n: {}}}", "9 ci_exporter.metrics.n: unknown metric 'n'; there are: m"),
        ({}, "{metrics: {m: {untis: x}}}", "9 ci_exporter.metrics.m.untis: unknown key 'untis'; did you mean "
         "unit?"),
        ({}, "{metrics: {m: {unit: seconds}}}", "9 ci_exporter.metrics.m.unit: the metric's name must end in "
         "_seconds"),
        ({}, "{metrics: {m: {buckets: [2, 1]}}}", "9 ci_exporter.metrics.m.buckets: must be in rising order, "
         "each bound once"),
        ({}, "{metrics: {m: {buckets: [1, .inf]}}}", "9 ci_exporter.metrics.m.buckets.1: must be a number"),
        ({}, "{metrics: {m: {buckets: []}}}", "9 ci_exporter.metrics.m.buckets: must not be empty"),
        ({}, "{metrics: {m: {once_by: [a, a]}}}", "9 ci_exporter.metrics.m.once_by: must name "
         "each column once"),
        ({}, "{metrics: {m: {once_by: [a], counter: no}}}", "9 ci_exporter.metrics.m.counter: a metric with "
         "once_by is a counter: remove counter or once_by"),
        ({}, "{metrics: {m: {buckets: [1], counter: yes}}}", "9 ci_exporter.metrics.m.counter: a metric with "
         "buckets is a histogram: remove counter or buckets"),
        ({"values": "", "static_value": "1"}, "{metrics: {m: {buckets: [1]}}}", "9 "
         "ci_exporter.metrics.m.buckets: a histogram needs exactly one column in values"),
        ({"timestamp_value": "t"}, "{metrics: {m: {buckets: [1]}}}", "10 ci_exporter.metrics.m.buckets: a "
         "histogram has no time of its own: remove timestamp_value or buckets"),
        ({"timestamp_value": "t"}, "{metrics: {m: {once_by: [a]}}}", "10 ci_exporter.metrics.m.once_by: a "
         "kept total has no time of its own: remove timestamp_value or once_by"),
        ({"values": "[v, w]", "value_label": "l"}, "{metrics: {m: {once_by: [a]}}}", "10 "
         "ci_exporter.metrics.m.once_by: needs exactly one column in values, or a static_value"),
        ({"key_labels": "[le]"}, "{metrics: {m: {buckets: [1]}}}", "4 metrics.0: a histogram must not have a "
         "label le of its own: rename it"),
        ({"query": "select %(x)s, %(z)s"}, "{parameters: {x: 1}}", "8 metrics.0.query: unknown parameter "
         "'z'; there are: x"),
        ({"query": "select %(x)s % 2"}, "{parameters: {x: 1}}", "8 metrics.0.query: a query with parameters "
         "must write %% for a per cent sign"),
        ({"query": "select %(x)s", "no_prepared_statement": "true"}, "{parameters: {x: 1}}", "9 "
         "metrics.0.no_prepared_statement: a query with parameters cannot do without preparing"),
    ],
)  # fmt: skip
def test_an_addition_is_refused(write: Write, keys: dict[str, str], extra: str, said: str) -> None:
    path = write(a_file(**keys) + f"ci_exporter: {extra}\n")
    found = told(path)
    line, _, rest = said.partition(" ")
    lines = path.read_text().splitlines()
    if rest.startswith("ci_exporter"):
        line = str(1 + next(index for index, text in enumerate(lines) if text.startswith("ci_exporter")))
    assert found == [f"{line} {rest}"]


def test_an_addition_is_found_on_its_line(write: Write) -> None:
    path = write(a_file() + "ci_exporter:\n  metrics:\n    m:\n      buckets:\n      - 1\n      - x\n")
    assert told(path) == ["14 ci_exporter.metrics.m.buckets.1: must be a number"]


def test_what_the_configuration_says_wrong_is_told_where_it_is(write: Write) -> None:
    path = write(a_file() + "ci_exporter: {metrics: {m: {max_series: 5}}}")
    over = Overlay(metrics={"m": {"unit": "bytes"}, "n": {}}, parameters={"x": 1})
    assert told(path, over) == [
        "None collectors.postgres.overlays.c.metrics.n: unknown metric 'n'; there are: m",
        "None collectors.postgres.overlays.c.metrics.m.unit: the metric's name must end in _bytes",
        "None collectors.postgres.overlays.c.parameters.x: no query that is used holds %(x)s",
    ]


def test_the_unit_of_a_counter_stands_before_total(write: Write) -> None:
    path = write(a_file(metric_name="m_seconds_total", type="counter"))
    assert first(read_query_file(path, Overlay(metrics={"m_seconds_total": {"unit": "seconds"}}))).unit
    assert told(write(a_file(metric_name="m_seconds_total")), Overlay(
        metrics={"m_seconds_total": {"unit": "seconds"}}
    ))  # fmt: skip


@pytest.mark.parametrize("names", [("m", "m_sum"), ("m_bucket", "m")])
def test_a_histogram_keeps_its_own_names(write: Write, names: tuple[str, str]) -> None:
    text = "collector_name: c\nmetrics:\n" + "".join(TWO % (name, "gauge") for name in names)
    (found,) = told(write(text), Overlay(metrics={"m": {"buckets": [1]}}))
    assert "4 metrics.1.metric_name: " in found
    assert "histogram" in found


def test_a_file_of_many_mistakes_is_told_soon(write: Write) -> None:
    many = ", ".join(f"n{index}" for index in range(20_000))
    extra = ", ".join(f"x{index}: {{}}" for index in range(2_000))
    begun = time.monotonic()
    found = problems(
        write(
            a_file(values=f"[{many}, {many}]", key_labels=f"[{many}]")
            + f"ci_exporter: {{metrics: {{{extra}}}}}\n"
        )
    )
    assert len(found) > 20_000
    assert time.monotonic() - begun < 60


# -- any text ------------------------------------------------------------------------------------

NAMES = """
collector_name metrics queries min_interval ci_exporter metric_name type help key_labels static_labels
value_label values static_value timestamp_value query query_ref query_name no_prepared_statement title
interval schedule parameters buckets once_by unit on_null gauge counter m v 1 0 1.5 5m true yes ~ .nan
'' 'x' %(m)s % 2024-01-01 &a *a <<
"""
WORDS = st.sampled_from(NAMES.split())
VALUES = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: "[" + ", ".join(items) + "]"),
        st.lists(st.tuples(WORDS, inner), max_size=6).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=30,
)
TOP = st.lists(st.tuples(WORDS, VALUES), max_size=6).map(
    lambda pairs: "\n".join(f"{key}: {value}" for key, value in pairs)
)
METRIC = st.dictionaries(WORDS, VALUES, max_size=4).map(lambda keys: a_file(**keys))
WITH_EXTRA = st.tuples(METRIC, VALUES).map(lambda both: f"{both[0]}ci_exporter: {both[1]}\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.one_of(TOP, METRIC, WITH_EXTRA, st.text(max_size=80)))
def test_whatever_is_written_only_config_errors_come(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fuzz.collector.yml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ConfigError):
        file = read_query_file(path, reserved=frozenset(("database",)))
        assert file.name
        assert file.metrics
        assert {id(query) for query in file.queries} == {id(metric.query) for metric in file.metrics}
