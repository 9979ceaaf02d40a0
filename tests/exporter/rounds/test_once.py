"""One round of everything, without a scheduler."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.contract import Batch, Unit
from exporter.errors import SourceError, Stopped, Unauthorized, UnitUnavailable
from exporter.rendering import Format
from exporter.rounds.once import first_error, run_once
from exporter.rounds.round import CollectorRounds
from exporter.store.sql import SqlStore
from tests.support.fakes import Source, World, run
from tests.support.process import PATIENCE

ONE, TWO = Unit("1", "group/app"), Unit("2", "group/lib")


@pytest.fixture
def store(sqlite_url: str) -> Iterator[SqlStore]:
    store = SqlStore(sqlite_url)
    yield store
    store.close()


def made(world: World, store: SqlStore, name: str, **answers: list[Any]) -> tuple[Any, CollectorRounds]:
    source: Any = world.build(Source, name=name)
    world.registry.add(source)
    source.units = [ONE, TWO]
    source.answers = {key.removeprefix("u"): found for key, found in answers.items()}
    page = world.exposition.page(name, source.families)
    return source, CollectorRounds(source, page, store, world.metrics, world.clock)


def test_everything_is_polled_until_no_news_waits(store: SqlStore) -> None:
    world = World()
    source, rounds = made(
        world, store, "fake", u1=[Batch(runs=(run(1),), more=True), Batch(runs=(run(2),), more=True), Batch()]
    )
    assert run_once([rounds], capacity=2) == {"fake": []}
    assert (source.polls.count("1"), source.polls.count("2")) == (3, 1)
    text = b"".join(world.exposition.gather(Format.TEXT, gzip=False).pieces)
    assert b'ref_kind="branch",source="push",status="success"} 2.0' in text


def test_what_fails_is_told_and_the_rest_goes_on(store: SqlStore) -> None:
    world = World()
    bad, one = made(world, store, "bad")
    bad.units = SourceError("no answer")
    _, two = made(world, store, "half", u1=[SourceError("timeout")], u2=[UnitUnavailable("403", "forbidden")])
    _, three = made(world, store, "buggy", u1=[RuntimeError("a bug")])
    good, four = made(world, store, "good")
    failures = run_once([one, two, three, four], capacity=2)
    assert failures == {
        "bad": ["no answer"],
        "half": ["group/app could not be read: timeout", "group/lib could not be read: 403"],
        "buggy": ["group/app could not be read: RuntimeError: a bug"],
        "good": [],
    }
    assert len(good.polls) == 2
    error = first_error(failures)
    assert error
    assert str(error).startswith("bad: no answer; half: group/app could not be read")


def test_a_discovery_with_a_bug_is_told_like_any_failure(store: SqlStore) -> None:
    source, rounds = made(World(), store, "fake")
    source.units = KeyError("id")
    assert run_once([rounds], capacity=1) == {"fake": ["KeyError: 'id'"]}


@pytest.mark.parametrize("where", ["poll", "discovery"])
def test_refused_credentials_are_told_once(store: SqlStore, where: str) -> None:
    refused = Unauthorized("401: the token is not accepted")
    source, rounds = made(World(), store, "fake", u1=[refused], u2=[refused])
    if where == "discovery":
        source.units = refused
    assert run_once([rounds], capacity=2) == {"fake": ["401: the token is not accepted"]}


def test_a_shutdown_ends_it_without_blame(store: SqlStore) -> None:
    _, rounds = made(World(), store, "fake", u1=[Stopped("stopping")], u2=[Stopped("stopping")])
    assert first_error(run_once([rounds], capacity=2)) is None


def test_a_source_that_hangs_does_not_hold_up_the_others(store: SqlStore) -> None:
    world = World()
    polled, in_time = threading.Event(), []
    first, one = made(world, store, "first")
    first.units = lambda: (in_time.append(polled.wait(PATIENCE)), [ONE])[1]
    _, two = made(world, store, "second", u1=[lambda: (polled.set(), Batch())[1]])
    run_once([one, two], capacity=1)
    assert in_time == [True]


def test_an_interrupt_ends_the_rounds_of_all(store: SqlStore) -> None:
    world = World()
    begun = threading.Event()

    def interrupted() -> list[Unit]:
        begun.wait(PATIENCE)
        raise KeyboardInterrupt

    def cut_short() -> Batch:
        begun.set()
        assert world.stopping.wait(PATIENCE)
        raise Stopped("stopping")

    first, one = made(world, store, "first")
    first.units = interrupted
    second, two = made(world, store, "second", u1=[cut_short], u2=[cut_short])
    with pytest.raises(KeyboardInterrupt):
        run_once([one, two], capacity=1)
    assert "1" in second.polls
