"""Which query files run where, and what keeps them from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.postgres import Postgres
from collectors.postgres.families import OWN
from collectors.postgres.plan import Plan, make_plan, shipped_families
from collectors.postgres.settings import PostgresConfig
from exporter.errors import ConfigError

DSN = "postgresql://reader@db/ci"
SHIPPED = [
    "pr_check_summary", "pr_closed", "pr_missing_report", "pr_oldest_open_age", "pr_open",
    "pr_result_report", "pr_time_to_first_review", "pr_time_to_merge",
]  # fmt: skip


def metric(name: str, **more: Any) -> dict[str, Any]:
    return {
        "metric_name": name,
        "type": "gauge",
        "help": "h",
        "values": ["v"],
        "query": "SELECT 1 AS v",
    } | more


def write(folder: Path, name: str, *metrics: dict[str, Any], **more: Any) -> Path:
    path = folder / f"{name}.collector.yml"
    path.write_text(json.dumps({"collector_name": name, "metrics": list(metrics)} | more))
    return path


def plan(*files: Path | str, other: list[Path | str] | None = None, **block: Any) -> Plan:
    databases: dict[str, Any] = {"main": {"dsn": DSN, "files": files}}
    if other:
        databases["other"] = {"dsn": DSN, "files": other}
    return make_plan(PostgresConfig.model_validate({"databases": databases} | block))


def problems(*files: Path | str, **block: Any) -> list[str]:
    """What is refused, without the folder."""
    with pytest.raises(ConfigError) as refused:
        plan(*files, **block)
    found = refused.value.problems
    return [str(one).replace(f"{one.file}", Path(one.file or "").name) for one in found]


# -- files -----------------------------------------------------------------------------------------


def test_a_file_that_two_patterns_name_runs_once_in_the_order_of_the_patterns(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        write(tmp_path, name, metric(name))
    found = plan(tmp_path / "c.collector.yml", tmp_path / "*.collector.yml")
    assert list(found.jobs) == ["main/c", "main/a", "main/b"]


def test_a_pattern_without_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for pattern in ("none*.yml", "folder"):
        path = tmp_path / pattern
        assert problems(path) == [f"collectors.postgres.databases.main.files: no file matches {path}"]


def test_the_shipped_files_run_where_no_folder_hides_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = PostgresConfig.model_validate({"databases": {"main": {"dsn": DSN}}})
    assert [job.file.name for job in make_plan(config).jobs.values()] == SHIPPED
    one = plan(tmp_path / "queries" / "pr_open.collector.yml")
    assert list(one.jobs) == ["main/pr_open"]
    assert len(problems(tmp_path / "queries" / "pr_closing.collector.yml")) == 1
    # Somebody's own folder of that name is what is meant.
    (tmp_path / "queries").mkdir()
    write(tmp_path / "queries", "mine", metric("mine"))
    assert list(make_plan(config).jobs) == ["main/mine"]


def test_what_is_shipped_is_in_the_list_of_all_metrics() -> None:
    names = {family.name for family in shipped_families()}
    assert names >= {"oneclick_pr_open", "oneclick_pr_missing_report", "oneclick_pr_time_to_merge_seconds"}
    assert Postgres.catalogue() == (*shipped_families(), *OWN)


def test_a_collector_name_stands_once_in_a_database_but_in_as_many_databases_as_you_like(
    tmp_path: Path,
) -> None:
    first = write(tmp_path, "one", metric("m"))
    second = tmp_path / "two.collector.yml"
    second.write_text(first.read_text())
    assert problems(first, second) == [
        "two.collector.yml:1: collector_name: one.collector.yml has this collector_name already;"
        " rename one of them"
    ]
    found = plan(first, other=[second])
    assert [(job.key, job.labels) for job in found.jobs.values()] == [
        ("main/one", {"database": "main"}),
        ("other/one", {"database": "other"}),
    ]


def test_the_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "one", metric("m", type="enum"))
    write(tmp_path, "two", metric("m", valus=["v"]))
    found = problems(tmp_path / "*.yml", tmp_path / "none.yml")
    assert [text.partition(":")[0] for text in found] == [
        "collectors.postgres.databases.main.files", "one.collector.yml", "two.collector.yml",
    ]  # fmt: skip


# -- names -----------------------------------------------------------------------------------------


def test_queries_are_called_as_in_the_file_and_more_exactly_where_that_is_not_unique(tmp_path: Path) -> None:
    write(
        tmp_path, "one", metric("m", query="SELECT 1 AS v"), metric("m", query="SELECT 2 AS v"), metric("x")
    )
    write(tmp_path, "two", metric("m"), metric("y"), metric("y"))
    found = plan(tmp_path / "*.yml")
    assert {key: job.names for key, job in found.jobs.items()} == {
        "main/one": ("one.m", "one.m.2", "x"),
        "main/two": ("two.m", "y", "y.2"),
    }
    # Another database is another name already.
    apart = plan(tmp_path / "one.*", other=[tmp_path / "two.*"])
    assert apart.jobs["other/two"].names == ("m", "y", "y.2")


# -- overlays --------------------------------------------------------------------------------------


def test_overlays_change_their_file_in_every_database(tmp_path: Path) -> None:
    path = write(tmp_path, "one", metric("m"), min_interval="5m")
    overlays = {"one": {"interval": "10s", "metrics": {"m": {"counter": True}}}}
    found = plan(path, other=[path], overlays=overlays)
    assert [job.file.interval for job in found.jobs.values()] == [10, 10]
    assert found.families["m"].kind == "counter"


def test_an_overlay_without_a_file_is_refused_unless_a_file_cannot_be_read(tmp_path: Path) -> None:
    good = write(tmp_path, "one", metric("m"))
    overlays = {"on": {"interval": "10s"}}
    assert problems(good, overlays=overlays) == [
        "collectors.postgres.overlays.on: no query file has this collector_name"
    ]
    bad = write(tmp_path, "on", metric("m", type="enum"))
    assert len(problems(good, bad, overlays=overlays)) == 1


def test_what_is_wrong_in_an_overlay_is_told_of_the_overlay(tmp_path: Path) -> None:
    path = write(tmp_path, "one", metric("m"))
    (text,) = problems(path, overlays={"one": {"metrics": {"n": {"max_series": 5}}}})
    assert "collectors.postgres.overlays.one.metrics.n: unknown metric" in text


# -- families --------------------------------------------------------------------------------------

ONCE = {"metrics": {"m_total": {"once_by": ["v"]}}}


@pytest.mark.parametrize(
    ("name", "second", "extra", "words"),
    [
        ("m", {"type": "counter"}, {}, "is a counter here and a gauge elsewhere"),
        ("m", {}, {"metrics": {"m": {"buckets": [1, 2]}}}, "is a histogram here and a gauge elsewhere"),
    ],
)
def test_a_name_is_one_family_over_files_and_databases(
    tmp_path: Path, name: str, second: dict[str, Any], extra: dict[str, Any], words: str
) -> None:
    one = write(tmp_path, "one", metric(name))
    two = write(tmp_path, "two", metric(name, **second), ci_exporter=extra)
    for found in (problems(one, two), problems(one, other=[two])):
        assert found == [f"two.collector.yml:1: metrics.{name}: {found[0].rpartition(f'.{name}: ')[2]}"]
        assert words in found[0]


def test_a_name_is_counted_once_or_not_and_has_one_set_of_buckets(tmp_path: Path) -> None:
    one = write(tmp_path, "one", metric("m_total", type="counter"))
    two = write(tmp_path, "two", metric("m_total", type="counter"), ci_exporter=ONCE)
    assert "once_by everywhere or nowhere" in problems(one, two)[0]
    for name, buckets in (("one", [1]), ("two", [1, 2])):
        write(tmp_path, name, metric("h"), ci_exporter={"metrics": {"h": {"buckets": buckets}}})
    assert "has other buckets elsewhere" in problems(one, two)[0]


def test_totals_of_one_name_in_a_file_need_labels_that_tell_them_apart(tmp_path: Path) -> None:
    def written(*labels: dict[str, str]) -> Path:
        metrics = [metric("m_total", static_labels=one) for one in labels]
        return write(tmp_path, "one", *metrics, ci_exporter=ONCE)

    for labels in ([{}, {}], [{"a": "x"}, {"a": "x"}]):
        assert "counts into the same totals as another metric here" in problems(written(*labels))[0]
    for labels in ([{}, {"a": "x"}], [{"a": "x"}, {"a": "y"}], [{"a": "x"}, {"b": "x"}]):
        assert plan(written(*labels)).kept == {plan(written(*labels)).families["m_total"]}


def test_a_family_has_the_labels_of_all_its_metrics_and_databases(tmp_path: Path) -> None:
    one = write(tmp_path, "one", metric("m", help="first", key_labels=["a"], static_labels={"b": "x"}))
    two = write(tmp_path, "two", metric("m", help="second", key_labels=["c"]))
    three = write(tmp_path, "three", metric("n"))
    found = plan(one, two, other=[one, three])
    assert found.families["m"].labels == ("database", "a", "b", "c")
    assert found.families["m"].help == "first"
    assert found.shared == {found.families["m"]}
    assert found.kept == set()


def test_families_of_the_same_facts_are_the_same_after_a_reload(tmp_path: Path) -> None:
    path = write(tmp_path, "one", metric("m"), metric("n"))
    before = plan(path).families
    write(tmp_path, "one", metric("m"), metric("n", help="other"))
    after = plan(path).families
    assert after["m"] is before["m"]
    assert after["n"] is not before["n"]


def test_a_counter_may_stand_beside_a_gauge_of_its_name_without_total(tmp_path: Path) -> None:
    path = write(
        tmp_path, "one", metric("m"), metric("m_total", type="counter"), metric("n_total", type="counter")
    )
    found = plan(path).families
    # OpenMetrics calls a counter by its name without _total, and so would have two families named m.
    assert {name: (one.name, one.exposed_name, one.openmetrics_kind) for name, one in found.items()} == {
        "m": ("m", "m", "gauge"),
        "m_total": ("m_total", "m_total", "unknown"),
        "n_total": ("n", "n_total", "counter"),
    }


@pytest.mark.parametrize("name", ["ci_exporter_query_success", "ci_exporter_query_rows"])
def test_our_own_names_are_taken(tmp_path: Path, name: str) -> None:
    (text,) = problems(write(tmp_path, "one", metric(name)))
    assert "one of the exporter's own" in text


def test_a_label_of_the_database_is_no_label_of_a_metric(tmp_path: Path) -> None:
    path = write(tmp_path, "one", metric("m", key_labels=["database"]))
    assert plan(path).families["m"].labels == ("database",)
    (text,) = problems(path, other=[path])
    assert "the label database is reserved" in text
    assert "or set another database_label" in text
    assert set(plan(path, other=[path], database_label="db").families["m"].labels) == {"db", "database"}
    # What only the other database has may still clash in one family.
    apart = write(tmp_path, "two", metric("m"))
    assert plan(path, other=[apart], database_label="").families["m"].labels == ("database",)


def test_labels_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "one", metric("m"))
    labels = {"my-label": "x", "__own": "x", "le": "x", "fine": "x"}
    databases = {"main": {"dsn": DSN, "files": [path], "labels": labels}}
    found = problems(databases=databases, database_label="le")
    assert [text.partition(":")[0] for text in found] == [
        "collectors.postgres.databases.main.labels.my-label",
        "collectors.postgres.databases.main.labels.__own",
        "collectors.postgres.databases.main.labels.le",
        "collectors.postgres.database_label",
    ]


def test_a_table_of_buckets_has_a_label_le_but_no_histogram_has(tmp_path: Path) -> None:
    path = write(tmp_path, "one", metric("m", key_labels=["le"]))
    assert plan(path).families["m"].labels == ("le",)
    assert "le" in problems(path, overlays={"one": {"metrics": {"m": {"buckets": [1]}}}})[0]


def test_a_family_is_stamped_if_any_of_its_metrics_is(tmp_path: Path) -> None:
    one = write(tmp_path, "one", metric("m"), metric("n"))
    two = write(tmp_path, "two", metric("m", timestamp_value="ts"))
    families = plan(one, two).families
    assert (families["m"].stamped, families["n"].stamped) == (True, False)
    # A table of buckets made in SQL is a query file's own affair.
    assert plan(write(tmp_path, "one", metric("m", key_labels=["le"]))).families["m"].labels == ("le",)


def test_a_series_of_a_histogram_of_another_file_is_taken(tmp_path: Path) -> None:
    one = write(tmp_path, "one", metric("h"), ci_exporter={"metrics": {"h": {"buckets": [1]}}})
    two = write(tmp_path, "two", metric("h_sum"))
    assert problems(one, two) == [
        "two.collector.yml:1: metrics.h_sum: is also a series of the histogram h; rename one"
    ]
