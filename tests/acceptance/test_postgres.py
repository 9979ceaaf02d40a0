"""The real program on a real PostgreSQL that breaks, hangs, lies about passwords, and comes back."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.test_prometheus import quantile
from tests.support.postgres import PostgresServer
from tests.support.process import PATIENCE, ROOT, SOON, ExporterProcess, free_port, wait_until
from tests.support.prometheus import Prometheus

SECRET = "wr0ng-s3cret"
HEAVY_ROWS = 20_000
OURS = "FROM pg_stat_activity WHERE application_name = 'ci-exporter'"
ASLEEP = f"{OURS} AND wait_event = 'PgSleep'"
MERGE_BUCKETS = (
    *(300, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400, 172_800),
    *(345_600, 604_800, 1_209_600, 2_419_200),
)
SHIPPED = str(ROOT / "queries" / "*.collector.yml")
HEAVY = f"""
collector_name: heavy
metrics:
  - metric_name: heavy_value
    type: gauge
    help: Many
    key_labels: [id]
    values: [value]
    query: SELECT i AS id, i * 2 AS value FROM generate_series(1, {HEAVY_ROWS}) AS i
"""
ALTERED = """
collector_name: altered
metrics:
  - metric_name: altered_value
    type: gauge
    help: Every column of a table
    key_labels: [name]
    values: [value]
    query: SELECT * FROM altered
"""
TIME = """
collector_name: clock
metrics:
  - metric_name: clock_seconds
    type: gauge
    help: When the database was asked
    values: [now]
    query: SELECT extract(epoch FROM now()) AS now
"""
SLOW = """
collector_name: slow
metrics:
  - metric_name: slow_value
    type: gauge
    help: Comes late
    values: [n]
    query: SELECT pg_sleep(120), 1 AS n
"""
PULL_REQUEST = """
INSERT INTO pull_requests (id, project_id, number, state, created_at, first_review_at, closed_at)
VALUES (%(id)s, %(project)s, %(id)s, %(state)s, now() - %(seconds)s * interval '1 second', NULL,
        CASE WHEN %(state)s <> 'open' THEN now() END)
"""
Serve = Callable[..., ExporterProcess]


@pytest.fixture(scope="module")
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that writes down every statement, and wants a password of one role."""
    found = PostgresServer(
        settings={"log_statement": "all"},
        rules="local all watcher scram-sha-256\n",
        programs=postgres_server.programs,
    )
    yield found
    found.remove()


@pytest.fixture
def database(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database of its own with pull requests in it."""
    name = f"db_{abs(hash(request.node.name))}"
    server.sql(f"CREATE DATABASE {name}")
    yield _fill(server.url.replace("/postgres?", f"/{name}?"))
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def _fill(url: str) -> str:
    """Two projects; 40 merged pull requests, some open and declined, and reports that are missing."""
    chance = random.Random(4)
    with psycopg.connect(url) as connection:
        connection.execute((ROOT / "queries" / "schema.sql").read_bytes())
        connection.execute("INSERT INTO projects VALUES (1, 'ALPHA'), (2, 'BETA')")
        connection.execute("INSERT INTO expected_reports VALUES (1, 'tests', '0'), (2, 'tests', '0')")
        for number, state in enumerate(["merged"] * 40 + ["open"] * 7 + ["declined"] * 3):
            _add(connection, number, state, chance.uniform(60, 500_000))
        connection.execute(
            "INSERT INTO reports SELECT id, 'tests', 'passed' FROM pull_requests WHERE id % 3 = 0"
        )
        connection.execute("CREATE TABLE altered (name text, value int)")
        connection.execute("INSERT INTO altered VALUES ('a', 1), ('b', 2)")
    return url


def _add(connection: psycopg.Connection[Any], number: int, state: str, seconds: float) -> None:
    row = {"id": number, "project": 1 + number % 2, "state": state, "seconds": seconds}
    connection.execute(PULL_REQUEST, row)


def _ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack: ExitStack, tmp_path: Path) -> Serve:
    """Starts an exporter; query files are given as text by the database they are for."""

    def start(databases: Mapping[str, tuple[Any, ...]], **block: Any) -> ExporterProcess:
        given: dict[str, Any] = {"interval_seconds": 1, **block}
        given["databases"] = {name: _database(tmp_path, *known) for name, known in databases.items()}
        config = {"store": {"url": f"sqlite:///{tmp_path}/runs.db"}, "collectors": {"postgres": given}}
        return stack.enter_context(ExporterProcess(tmp_path, config)).start()

    return start


def _database(folder: Path, dsn: str, files: list[str], connections: int = 10) -> dict[str, Any]:
    paths = []
    for text in files:
        if "\n" in text:
            path = folder / f"{text.split()[1]}.collector.yml"
            path.write_text(text)
            text = str(path)
        paths.append(text)
    return {"dsn": dsn, "files": paths, "max_connections": connections}


def _samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    """The samples called *name*, by the values of their labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(_only(text, name))
        for sample in family.samples
    }


def _only(text: str, name: str) -> str:
    lines = (line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return "\n".join([*lines, ""])


def _all_succeed(text: str) -> bool:
    found = _samples(text, "ci_exporter_query_success")
    return bool(found) and set(found.values()) == {1.0}


def _last_success(text: str) -> Collection[float]:
    """When each query last succeeded."""
    return _samples(text, "ci_exporter_query_last_success_timestamp_seconds").values()


def _wait_round(exporter: ExporterProcess) -> None:
    """Wait until every query has run once more, from its beginning to its end."""
    for _ in range(2):
        now = time.time()
        wait_until(lambda now=now: min(_last_success(exporter.scrape())) > now, "a round")  # type: ignore[misc]


def _none_succeeds(text: str) -> bool:
    found = _samples(text, "ci_exporter_query_success")
    return bool(found) and set(found.values()) == {0.0}


@dataclass
class Scraper:
    """Scrapes all the time, as an impatient Prometheus would; notes every scrape that is not whole."""

    url: str
    whole: Callable[[str], bool]
    seconds: float = 0.2
    scrapes: int = 0
    faults: list[str] = field(default_factory=list)
    last: str = ""

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._ended.wait(self.seconds):
                try:
                    answer = session.get(f"{self.url}/metrics", timeout=PATIENCE)
                except requests.RequestException as error:
                    self.faults.append(repr(error))
                    continue
                self.scrapes += 1
                if answer.status_code != 200 or not self.whole(answer.text):
                    self.faults.append(
                        f"scrape {self.scrapes}: {answer.status_code}, {len(answer.text)} bytes"
                    )
                self.last = answer.text


def _is_whole(text: str) -> bool:
    """All series of the shipped reports, of the heavy file and of the table that changes."""
    return (
        text.count("\nheavy_value{") == HEAVY_ROWS
        and text.count("\noneclick_pr_missing_report{") == 6
        and text.count("\noneclick_pr_time_to_merge_seconds_count{") == 2
        and text.count("\naltered_value{") == 2
    )


# -- outages -------------------------------------------------------------------------------------


def test_no_outage_loses_a_series_or_needs_a_restart(
    postgres_server: PostgresServer, serve: Serve, stack: ExitStack
) -> None:
    server = PostgresServer(programs=postgres_server.programs)
    stack.callback(server.remove)
    url = _fill(server.url)
    exporter = serve({"main": (url, [SHIPPED, HEAVY, ALTERED], 4)}, keep_last_for="60s").wait_ready()
    wait_until(lambda: _all_succeed(exporter.scrape()), "all queries succeed")
    scraper = stack.enter_context(Scraper(exporter.url, _is_whole))

    def recovers(what: str) -> None:
        # A round after this moment, not one that was there before.
        began = time.time()
        wait_until(
            lambda: _all_succeed(scraper.last) and min(_last_success(scraper.last)) > began,
            f"recovery after {what}",
        )

    for mode in ("immediate", "fast"):
        server.restart(mode)
        recovers(f"the {mode} restart")
    server.pause()
    wait_until(lambda: time.time() - max(_last_success(scraper.last)) > 3, "nothing comes for some rounds")
    server.resume()
    recovers("the pause")
    for _ in range(4):
        server.wait_for(f"SELECT count(pg_terminate_backend(pid, 5000)) > 0 {OURS}")
    recovers("the termination of all backends")
    for change in ("ADD COLUMN more text", "ALTER COLUMN value TYPE bigint", "DROP COLUMN more"):
        server.sql(f"ALTER TABLE altered {change}")
        recovers(f"{change} of a table")
    server.stop("immediate")
    wait_until(lambda: _none_succeeds(scraper.last), "every query is said to fail")
    server.start()
    recovers("an outage")

    assert exporter.process.poll() is None
    assert scraper.scrapes > 20
    assert not scraper.faults, scraper.faults[:5]
    # As many as it may have at most, and none is left behind from before.
    for _ in range(5):
        count, states = server.sql(f"SELECT count(*), array_agg(DISTINCT state) {OURS}")[0]
        assert isinstance(count, int)
        assert count <= 4, states
        scrapes = scraper.scrapes
        wait_until(lambda scrapes=scrapes: scraper.scrapes > scrapes, "a scrape")  # type: ignore[misc]
    assert "Traceback" not in exporter.log_path.read_text()
    assert exporter.terminate() == 0
    server.wait_for(f"SELECT count(*) = 0 {OURS}")


def test_series_go_after_keep_last_for_and_come_back(
    postgres_server: PostgresServer, serve: Serve, stack: ExitStack
) -> None:
    server = PostgresServer(programs=postgres_server.programs)
    stack.callback(server.remove)
    exporter = serve({"main": (_fill(server.url), [SHIPPED, TIME])}, keep_last_for="4s").wait_ready()
    wait_until(lambda: _all_succeed(exporter.scrape()), "all queries succeed")
    before = exporter.scrape()
    shown = [name for name in ("oneclick_pr_open", "clock_seconds") if _samples(before, name)]
    assert len(shown) == 2
    server.stop("fast")
    wait_until(lambda: _none_succeeds(exporter.scrape()), "failure shows")
    last = "ci_exporter_query_last_success_timestamp_seconds"
    text = exporter.scrape()
    if time.time() - min(_samples(text, last).values()) < 4:
        assert _samples(text, "oneclick_pr_open") == _samples(before, "oneclick_pr_open")
    wait_until(lambda: not any(_samples(exporter.scrape(), name) for name in shown), "series vanish")
    text = exporter.scrape()
    assert time.time() - min(_samples(text, last).values()) > 3.9, "kept for a while"
    assert _none_succeeds(text)
    assert _samples(text, last).keys() == _samples(before, last).keys()
    # What is counted once is no reading of now: it stays.
    totals = "oneclick_pr_time_to_merge_seconds_count"
    assert _samples(text, totals) == _samples(before, totals)
    assert exporter.process.poll() is None
    server.start()
    wait_until(lambda: _all_succeed(exporter.scrape()), "it recovers")
    text = exporter.scrape()
    assert _samples(text, "oneclick_pr_open") == _samples(before, "oneclick_pr_open")
    assert _samples(text, "clock_seconds")[()] > _samples(before, "clock_seconds")[()]
    assert _samples(text, totals) == _samples(before, totals)


# -- ends ----------------------------------------------------------------------------------------


def test_a_running_query_ends_with_the_program(server: PostgresServer, serve: Serve, database: str) -> None:
    exporter = serve({"main": (database, [SLOW, TIME])}, statement_timeout="2m")
    server.wait_for(f"SELECT count(*) = 1 {ASLEEP}")
    assert exporter.terminate(SOON) == 0
    assert server.wait_for(f"SELECT count(*) = 0 {OURS}") < 20, "the query does not end by itself"


def test_killed_again_and_again_each_merge_is_counted_once(
    serve: Serve, database: str, stack: ExitStack
) -> None:
    chance = random.Random(9)
    ended = threading.Event()
    merged = 0

    def merge() -> None:
        nonlocal merged
        with psycopg.connect(database, autocommit=True) as connection:
            while not ended.wait(0.01):
                _add(connection, 1000 + merged, "merged", chance.uniform(1, 100_000))
                merged += 1

    writer = threading.Thread(target=merge)
    writer.start()
    try:
        exporter = serve({"main": (database, [SHIPPED])}, interval_seconds=0.2)
        for life in range(5):
            if life:
                exporter.start()
            if life % 3:
                exporter.wait_ready()
            until = merged + chance.randrange(20, 120)
            wait_until(lambda until=until: merged > until, "some merges more")  # type: ignore[misc]
            assert exporter.process.poll() is None
            exporter.kill()
        exporter.start().wait_ready()
    finally:
        ended.set()
        writer.join()
    count, total = _ask(
        database,
        "SELECT count(*), sum(extract(epoch FROM closed_at - created_at)) FROM pull_requests"
        " WHERE state = 'merged'",
    )[0]
    assert count >= merged > 100

    def counted() -> tuple[float, float]:
        text = exporter.scrape()
        name = "oneclick_pr_time_to_merge_seconds"
        return sum(_samples(text, f"{name}_count").values()), sum(_samples(text, f"{name}_sum").values())

    wait_until(lambda: counted()[0] >= count, "all merges are counted")
    _wait_round(exporter)  # which sees them all again
    assert counted() == (count, pytest.approx(float(total)))


# -- who asks how often --------------------------------------------------------------------------


def test_scrapers_cost_the_database_nothing(
    server: PostgresServer, serve: Serve, database: str, stack: ExitStack
) -> None:
    log = server.home / "log"
    exporter = serve({"main": (database, [SHIPPED])}, interval_seconds=600).wait_ready()
    wait_until(lambda: len(_samples(exporter.scrape(), "ci_exporter_query_success")) == 8, "all files ran")
    before = _statements(log)
    assert before >= 8
    scrapers = [
        stack.enter_context(Scraper(exporter.url, lambda text: "oneclick_pr_open{" in text, 0.02))
        for _ in range(2)
    ]
    wait_until(lambda: all(scraper.scrapes >= 50 for scraper in scrapers), "a hundred scrapes")
    assert not any(scraper.faults for scraper in scrapers)
    assert _statements(log) == before


def _statements(log: Path) -> int:
    return sum(" SELECT" in line or "BEGIN" in line for line in log.read_text().splitlines())


def test_a_slow_query_delays_no_other_file_and_no_other_database(
    server: PostgresServer, serve: Serve, database: str
) -> None:
    files = {"one": (database, [SLOW, TIME]), "two": (server.url, [TIME])}
    exporter = serve(files, statement_timeout="2m")
    asleep = f"SELECT min(pid) {ASLEEP}"
    server.wait_for(asleep)
    sleeper = server.sql(asleep)
    seen: dict[tuple[str, ...], set[float]] = {("one",): set(), ("two",): set()}

    def often() -> bool:
        for labels, value in _samples(exporter.scrape(), "clock_seconds").items():
            seen[labels].add(value)
        return all(len(values) >= 4 for values in seen.values())

    wait_until(often, "both ran again and again")
    assert server.sql(asleep) == sleeper, "still asleep"
    assert not _samples(exporter.scrape(), "slow_value")


# -- secrets -------------------------------------------------------------------------------------


def test_a_wrong_password_is_never_shown_and_can_be_put_right_meanwhile(
    server: PostgresServer, serve: Serve, database: str
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    server.sql("CREATE ROLE watcher LOGIN PASSWORD 'another'")
    try:
        dsn = database.replace("postgres@", f"watcher:{SECRET}@", 1)
        exporter = serve({"main": (dsn, [SHIPPED, TIME])})
        wait_until(
            lambda: exporter.answers("/healthz") and _none_succeeds(exporter.scrape()), "the failure shows"
        )
        assert not exporter.answers("/-/ready")
        wait_until(lambda: "password" in exporter.log_path.read_text(), "the reason is logged")
        pages = [
            exporter.session.get(exporter.url + path) for path in ("/metrics", "/-/config", "/", "/-/ready")
        ]
        assert [page.status_code for page in pages] == [200, 200, 200, 503]
        assert "<secret>" in pages[1].text or "watcher" not in pages[1].text
        for text in (*(page.text for page in pages), exporter.log_path.read_text()):
            assert SECRET not in text
        server.sql(f"ALTER ROLE watcher PASSWORD '{SECRET}'")
        exporter.wait_ready()
        wait_until(lambda: bool(_samples(exporter.scrape(), "clock_seconds")), "it may read the time")
        # It may not read the tables yet; rights are as easily put right.
        assert not _samples(exporter.scrape(), "oneclick_pr_open")
        server.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO watcher", name)
        wait_until(lambda: _all_succeed(exporter.scrape()), "all queries succeed")
        assert SECRET not in exporter.log_path.read_text() + exporter.scrape()
        assert exporter.terminate() == 0
    finally:
        server.sql("DROP OWNED BY watcher", name)
        server.sql("DROP ROLE watcher")


# -- answers -------------------------------------------------------------------------------------


def test_a_real_prometheus_answers_as_sql_does(
    serve: Serve, database: str, stack: ExitStack, tmp_path: Path
) -> None:
    exporter = serve({"main": (database, [SHIPPED])}).wait_ready()
    wait_until(lambda: _all_succeed(exporter.scrape()), "all queries succeed")
    prometheus = stack.enter_context(Prometheus(tmp_path, exporter.url.removeprefix("http://")))
    prometheus.wait_scrapes()
    missing = dict(
        _ask(
            database,
            "SELECT state, count(*) FROM pull_requests p"
            " WHERE NOT EXISTS (SELECT FROM reports WHERE pull_request_id = p.id) GROUP BY state",
        )
    )
    assert len(missing) == 3
    assert {
        labels["pr_state"]: value
        for labels, value in prometheus.query("sum by (pr_state) (oneclick_pr_missing_report)")
    } == missing
    times = [
        float(seconds)
        for (seconds,) in _ask(
            database,
            "SELECT extract(epoch FROM closed_at - created_at) FROM pull_requests WHERE state = 'merged'",
        )
    ]
    p90 = "histogram_quantile(0.9, sum by (le) (oneclick_pr_time_to_merge_seconds_bucket))"
    assert prometheus.scalar(p90) == pytest.approx(quantile(0.9, times, MERGE_BUCKETS))
    mean = "sum(oneclick_pr_time_to_merge_seconds_sum) / sum(oneclick_pr_time_to_merge_seconds_count)"
    assert prometheus.scalar(mean) == pytest.approx(sum(times) / len(times))


def _serve_bare(folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    """``ci-exporter serve`` without a file, in a folder of its own; its log is in there."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CI_EXPORTER", "GITLAB"))
    }
    with (folder / "log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "exporter", "serve"],
            cwd=folder,
            stdout=output,
            stderr=output,
            env={**kept, "PYTHONPATH": str(ROOT), **environment},
        )


def test_two_variables_are_all_it_needs(database: str, tmp_path: Path) -> None:
    port = free_port()
    process = _serve_bare(tmp_path, DATABASE_URL=database, METRICS_PORT=str(port))

    def text() -> str:
        try:
            return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE).text
        except requests.RequestException:
            return ""

    try:
        wait_until(
            lambda: process.poll() is not None or bool(_samples(text(), "oneclick_pr_open")), "it serves"
        )
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert _samples(text(), "oneclick_pr_open") == {("ALPHA",): 4.0, ("BETA",): 3.0}
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 0
    finally:
        process.kill()
        process.wait()


def test_without_a_port_it_says_that_it_listens_nowhere(database: str, tmp_path: Path) -> None:
    process = _serve_bare(tmp_path, DATABASE_URL=database)
    try:
        wait_until(
            lambda: process.poll() is not None or "listening" in (tmp_path / "log").read_text(),
            "it is started",
        )
        assert "nowhere (metrics.enabled is false)" in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
