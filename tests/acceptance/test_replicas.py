"""Two processes on one PostgreSQL: one polls, the other follows and takes over; nothing counts twice."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

import psycopg

from collectors.gitlab.standin.client import StandIn
from tests.acceptance.conftest import MakeExporter, StartStandIn
from tests.acceptance.test_exactly_once import STORIES, assert_totals_come_true, watched_projects
from tests.support.postgres import PostgresServer
from tests.support.process import SOON, ExporterProcess, wait_until
from tests.support.truth import counted_runs


def leads(exporter: ExporterProcess) -> bool:
    """Whether this process is the one that polls."""
    return "ci_exporter_leader 1.0" in exporter.scrape()


def some_pipelines(standin: StandIn, chance: random.Random) -> None:
    """Start pipelines and let them end."""
    for project in chance.sample(watched_projects(standin), 3):
        standin.action("new_pipeline", project=project, story=chance.choice(STORIES))
    for _ in range(20):
        standin.advance(120)


def test_a_follower_shows_the_same_and_takes_over(
    start_standin: StartStandIn, make_exporter: MakeExporter, postgres_database: str
) -> None:
    chance = random.Random(2)
    standin = start_standin(projects=6, history_days=2, history_pipelines=100, seed=3)
    first, second = (
        make_exporter(standin, name=name, store=postgres_database, backfill_days=3)
        for name in ("first", "second")
    )
    first.start().wait_ready()
    second.start().wait_ready()
    assert leads(first)
    assert not leads(second)
    some_pipelines(standin, chance)
    assert_totals_come_true(standin, first)
    wait_until(
        lambda: counted_runs(second.scrape()) == counted_runs(first.scrape()), "the follower shows the same"
    )
    for leader, follower in ((first, second), (second, first), (first, second)):
        leader.kill()
        some_pipelines(standin, chance)
        wait_until(lambda: leads(follower), "the follower takes over")  # noqa: B023
        assert_totals_come_true(standin, follower)
        leader.start().wait_ready()
        assert not leads(leader)


def test_connections_cut_by_the_database_cost_nothing(
    start_standin: StartStandIn, make_exporter: MakeExporter, postgres_database: str
) -> None:
    standin = start_standin(projects=4, history_days=1, history_pipelines=40)
    exporter = make_exporter(standin, store=postgres_database, backfill_days=2).start().wait_ready()
    before = counted_runs(exporter.scrape())
    for turn in range(3):
        _cut_all_connections(postgres_database)
        some_pipelines(standin, random.Random(turn))
        assert counted_runs(exporter.scrape()).total() >= before.total(), "what was shown stays"
    assert_totals_come_true(standin, exporter)


def test_a_database_that_freezes_pauses_the_polls_and_nothing_else(
    start_standin: StartStandIn,
    make_exporter: MakeExporter,
    postgres_server: PostgresServer,
    stack: ExitStack,
) -> None:
    server = PostgresServer(programs=postgres_server.programs, tcp=True)
    stack.callback(server.remove)
    standin = start_standin(projects=4, history_days=1, history_pipelines=40)
    exporter = make_exporter(standin, store=server.tcp_url, backfill_days=2).start().wait_ready()
    assert leads(exporter)
    before = counted_runs(exporter.scrape())
    server.pause()
    try:
        wait_until(lambda: not leads(exporter), "the pause")
        some_pipelines(standin, random.Random(4))
        assert counted_runs(exporter.scrape()) == before
        assert exporter.answers("/-/ready")
        assert exporter.answers("/healthz")
    finally:
        server.resume()
    wait_until(lambda: leads(exporter), "polls go on")
    assert_totals_come_true(standin, exporter)
    server.pause()
    try:
        began = time.monotonic()
        assert exporter.terminate() == 0
        assert time.monotonic() - began < SOON
    finally:
        server.resume()
    exporter.start().wait_ready()
    assert_totals_come_true(standin, exporter)


def _cut_all_connections(url: str) -> None:
    """What a restart of the database or a failover looks like from here."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
