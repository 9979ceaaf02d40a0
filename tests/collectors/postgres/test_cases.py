"""Every recorded case of sql_exporter, through all of the exporter, on a real PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.app import ConfigSource
from exporter.errors import ConfigError
from exporter.rounds.once import run_once
from tests.support.querylab import Page, QueryLab, page

CASES = Path(__file__).with_name("cases")
NAMES = sorted(path.name.removesuffix(".expected.json") for path in CASES.glob("*.expected.json"))
THEIRS = ("up", "scrape_duration_seconds", "scrape_errors_total", "query_duration_seconds",
          "query_rows_returned")  # fmt: skip


# -- what a recorded main file means for us --------------------------------------------------------


def _two_databases(dsn: str) -> dict[str, Any]:
    labels = {"job": "j", "cluster": "c1"}
    return {
        "databases": {
            "a": {"dsn": dsn, "labels": labels, "files": ["*.yml"]},
            "b": {"dsn": f"{dsn}&application_name=b", "labels": labels, "files": ["*.yml"]},
        }
    }


def _in_dsn(parameters: str) -> Callable[[str], dict[str, Any]]:
    return lambda dsn: {"databases": {"t": {"dsn": f"{dsn}&{parameters}", "files": ["*.yml"]}}}


# Ours in place of theirs; what they have beyond this (pools, pings, scrape timeouts) is their program's own.
BLOCKS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "116": _in_dsn("statement_timeout=2500&default_transaction_read_only=on&application_name=ci"),
    "119": _in_dsn("TimeZone=Europe/Warsaw"),
    # A target without a name has no label.
    "085": lambda _: {"database_label": ""},
    "086": lambda _: {"database_label": ""},
    # Jobs and their labels are labels of a database.
    "140": _two_databases,
    # Two references of which one finds nothing new: S6.
    "134": lambda dsn: {
        "databases": {"t": {"dsn": dsn, "files": ["a.collector.yml", "*.collector.yml"]}},
    },
    "137": lambda dsn: {"databases": {"t": {"dsn": dsn, "files": ["none.*.yml"]}}},
    # It is the server that ends what takes too long, wherever the scrape comes from.
    "082": lambda _: {"statement_timeout": 0.2},
    "083": lambda _: {"statement_timeout": 0.2},
}

# An inline collector is a file of ours.
FILES = {
    "124": "collector_name: c\n"
    "metrics: [{metric_name: m, type: gauge, help: h, values: [v], query: select 1 as v}]\n"
}

# -- where ours is not theirs ----------------------------------------------------------------------


@dataclass(frozen=True)
class Ours:
    """What our exporter does with a case instead: the whole exposition, or the words of its refusal.

    ``now`` stands for the time of the test, to the minute.
    """

    why: str
    text: str = ""
    fails: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refused: str = ""


def _m(value: str) -> str:
    return f'# HELP m h\n# TYPE m gauge\nm{{target="t"}} {value}\n'


OURS = {
    "004": Ours("true is 1", text=_m("1")),
    "007": Ours("a point in time is Unix seconds", text=_m("now")),
    "008": Ours("an interval is seconds", text=_m("3600")),
    "035": Ours("found when the file is read, not at every scrape (S8)", refused="the label k stands twice"),
    "047": Ours(
        "the first HELP stands, every time; theirs is that of the faster query",
        text='# HELP m first\n# TYPE m gauge\nm{k="a",target="t"} 1\nm{z="b",target="t"} 2\n',
    ),
    "079": Ours("the recorded server was another version", text=_m("version")),
    "080": Ours("queries may only read", fails={"m": ("25006", "read-only", "may only read")}),
    "134": Ours("a file that two patterns name runs once (S6)", text=_m("1")),
    # Cases of theirs that are only checked, never scraped.
    "070": Ours("not scraped", text=_m("1")),
    "071": Ours("not scraped", text=_m("1")),
    "073": Ours("not scraped", text=_m("1")),
    "127": Ours("not scraped", text=_m("1")),
    "128": Ours("not scraped", text=_m("1")),
}

# What a query fails with, whose error they log: it names the query, and the column and the row.
FAILS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "005": {"m": ("column v", "row 1", "'abc' is not a number")},
    "010": {"m": ("column v", "row 1", "'$1.00' is not a number")},
    "011": {"m": ("column v", "row 1", "'{1}' is not a number")},
    "013": {"m": ("lacks the column v", "it has other")},
    "017": {"m": ("lacks the column LastUpdate", "it has lastupdate", "lower case")},
    "031": {"m": ("column ts", "row 1", "'1704164645' is neither a date nor a timestamp")},
    "076": {"m": ("multiple commands", "42601")},
    "082": {"m": ("took longer than the 0.2 s", "statement_timeout")},
    "083": {"m": ("took longer than the 0.2 s", "statement_timeout")},
    "085": {"bad": ('relation "nope" does not exist', "42P01")},
    "086": {"m": ('relation "nope" does not exist', "42P01")},
    "113": {"q": ("multiple commands", "42601")},
}

# A repeated series is no failure, but is counted.
REPEATED = {"046": {"m": 1}}

# What is wrong is in their main file, all of whose keys are strange to us.
MAIN_FILES = ("125", "130", "133", "139", "143")


# -- the test --------------------------------------------------------------------------------------


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CASES / f"{name}.expected.json").read_text())
    return found


def lab_for(name: str, folder: Path, dsn: str) -> QueryLab:
    """The collector files of case *name* in *folder*, under a configuration that means the same."""
    number = name[:3]
    for path in CASES.glob(f"{name}.*yml"):
        rest = path.name.removeprefix(name)
        if rest == ".collector.yml" or rest.startswith(".extra."):
            (folder / ("a" + rest)).write_bytes(path.read_bytes())
    if number in FILES:
        (folder / "a.collector.yml").write_text(FILES[number])
    block = {"databases": {"t": {"dsn": dsn, "files": ["a.*.yml"]}}, "database_label": "target"}
    return QueryLab(folder, dsn, **(block | BLOCKS.get(number, lambda _: {})(dsn)))


def their_page(number: str, text: str, now: float, version: str) -> Page:
    """What should be shown: *text* without what their program says of itself."""
    lines = [
        line for line in text.splitlines() if line.removeprefix("# HELP ").removeprefix("# TYPE ")
        .split("{")[0].split(" ")[0] not in THEIRS
    ]  # fmt: skip
    return page("\n".join(lines).replace(" now", f" {now}").replace(" version", f" {version}") + "\n")


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str, tmp_path: Path, postgres_url: str) -> None:
    number, case, ours = name[:3], recorded(name), OURS.get(name[:3])
    if number in MAIN_FILES:
        refuses_their_main_file(name, tmp_path)
        return
    (tmp_path / "config").mkdir()
    lab = lab_for(name, tmp_path / "config", postgres_url)
    if (ours and ours.refused) or ((case["check_exit"] or "start_error" in case) and not ours):
        refuses(lab, ours.refused if ours else "")
        return
    before = time.time()
    lab.clock.advance(before - lab.clock.now().timestamp())
    failed = run_once(lab.parts.rounds, capacity=2)["postgres"]
    fails = ours.fails if ours else FAILS.get(number, {})
    text = ours.text if ours else "\n".join(case["exposition"])
    version = str(lab.sql("SHOW server_version_num")[0][0])
    shown = lab.page
    if number == "007":
        (series,) = shown.series
        assert before - 1 <= float(series.value) <= time.time() + 1
        before = float(series.value)
    assert shown == their_page(number, text, before, version)
    if not ours:
        repeats = len(REPEATED.get(number, {}))
        assert len(case["errors"]) == len(fails) + repeats, "an error of theirs has no counterpart here"
    assert len(failed) == bool(fails), failed
    assert set(lab.succeeding) >= {f"t/{query}" for query in fails}
    assert all(good == (query.partition("/")[2] not in fails) for query, good in lab.succeeding.items())
    for query, words in fails.items():
        for word in (f"database t, query {query}: ", *words):
            assert word in failed[0]
    for family, count in REPEATED.get(number, {}).items():
        assert lab.value("ci_exporter_series_dropped_total", family=family, reason="duplicate") == count
    if number == "080":
        assert lab.sql("SELECT to_regclass('probe_w')") == [(None,)]
    lab.close()


def refuses(lab: QueryLab, words: str) -> None:
    """The configuration loads, and its query files are refused, with the file and mostly the line."""
    with pytest.raises(ConfigError) as refused:
        _ = lab.parts
    problem = refused.value.problems[0]
    assert words in str(problem)
    if "no file matches" not in problem.message:
        assert problem.file is not None
        assert Path(problem.file).name.startswith("a.")
        assert problem.line


def refuses_their_main_file(name: str, folder: Path) -> None:
    main = folder / "main.yml"
    main.write_bytes((CASES / f"{name}.main.yml").read_bytes())
    with pytest.raises(ConfigError) as refused:
        ConfigSource(main, {}, {}).load()
    keys = set(yaml.safe_load(main.read_text()))
    assert keys <= {problem.key.split(".")[0] for problem in refused.value.problems}


def test_the_tables_name_cases_that_are_there() -> None:
    assert len(NAMES) == 96
    tables = {*BLOCKS, *FILES, *OURS, *FAILS, *REPEATED, *MAIN_FILES}
    assert tables <= {name[:3] for name in NAMES}
    assert not OURS.keys() & FAILS.keys()
    # Every main file is given to us, translated, or says only what is their program's own.
    mains = {path.name[:3] for path in CASES.glob("*.main.yml")}
    assert mains == {*MAIN_FILES, "116", "119", "124", "127", "128", "131", "140", "142"}
