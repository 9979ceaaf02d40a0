"""What is due: the stalest first, nothing dropped, nothing twice at a time."""

from __future__ import annotations

import threading
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.rounds.agenda import Agenda, Task
from tests.support.process import PATIENCE

NEVER = float("-inf")


def task(key: str, collector: str = "one") -> Task:
    return Task((collector, key), lambda: None)


def taken(agenda: Agenda) -> str:
    found = agenda.take()
    assert found
    return found.key[1]


def test_the_stalest_goes_first_and_what_never_ran_before_all() -> None:
    agenda = Agenda()
    for key, last_run in (
        ("new", 30.0),
        ("old", 10.0),
        ("first", NEVER),
        ("middle", 20.0),
        ("second", NEVER),
    ):
        agenda.add(task(key), last_run)
    assert [taken(agenda) for _ in range(len(agenda))] == ["first", "second", "old", "middle", "new"]


def test_a_task_that_is_due_already_is_not_due_twice() -> None:
    agenda = Agenda()
    agenda.add(task("a"), 1.0)
    agenda.add(task("a"), 0.0)
    assert taken(agenda) == "a"
    assert len(agenda) == 0


def test_keys_of_different_collectors_are_different() -> None:
    agenda = Agenda()
    agenda.add(task("a", "one"), 1.0)
    agenda.add(task("a", "two"), 2.0)
    assert len(agenda) == 2


def test_a_task_that_comes_due_while_it_runs_is_handed_out_again_afterwards_once() -> None:
    agenda = Agenda()
    agenda.add(task("a"), 1.0)
    running = agenda.take()
    assert running
    agenda.add(task("a"), 2.0)
    agenda.add(task("a"), 3.0)
    assert len(agenda) == 0
    agenda.done(running)
    assert len(agenda) == 1
    again = agenda.take()
    assert again
    agenda.done(again)
    assert len(agenda) == 0


def test_discarding_forgets_what_is_due_and_what_would_be_again() -> None:
    agenda = Agenda()
    agenda.add(task("run", "one"), 1.0)
    running = agenda.take()
    assert running
    agenda.add(task("run", "one"), 1.0)
    agenda.add(task("a", "one"), 1.0)
    agenda.add(task("b", "two"), 2.0)
    agenda.discard(lambda key: key[0] == "one")
    agenda.done(running)
    assert len(agenda) == 1
    assert taken(agenda) == "b"
    agenda.add(task("a", "one"), 3.0)
    assert taken(agenda) == "a"


def test_closing_wakes_everyone_who_waits_and_hands_out_nothing_more() -> None:
    agenda = Agenda()
    found: list[Task | None] = []
    workers = [threading.Thread(target=lambda: found.append(agenda.take())) for _ in range(4)]
    for worker in workers:
        worker.start()
    agenda.close()
    for worker in workers:
        worker.join(PATIENCE)
    assert found == [None] * 4
    agenda.add(task("a"), 1.0)
    assert agenda.take() is None


def test_waiting_for_idleness_ends_when_the_last_match_is_done() -> None:
    agenda = Agenda()
    agenda.add(task("a", "one"), 1.0)
    agenda.add(task("b", "two"), 2.0)
    one, two = agenda.take(), agenda.take()
    assert one
    assert two
    assert not agenda.wait_idle(lambda key: key[0] == "one", 0.01)
    ended: list[bool] = []
    waiter = threading.Thread(
        target=lambda: ended.append(agenda.wait_idle(lambda key: key[0] == "one", PATIENCE))
    )
    waiter.start()
    agenda.done(one)
    waiter.join(PATIENCE)
    assert ended == [True]
    assert not agenda.wait_idle(lambda key: True, 0.01)
    agenda.done(two)
    assert agenda.wait_idle(lambda key: True, 0)


def test_a_new_task_wakes_a_worker_even_while_somebody_waits_for_idleness() -> None:
    agenda = Agenda()
    agenda.add(task("held"), 1.0)
    held = agenda.take()
    assert held
    waiter = threading.Thread(target=lambda: agenda.wait_idle(lambda key: True, PATIENCE))
    waiter.start()
    got = threading.Event()

    def work() -> None:
        if agenda.take():
            got.set()

    worker = threading.Thread(target=work)
    worker.start()
    agenda.add(task("new"), 2.0)
    assert got.wait(PATIENCE)
    agenda.done(task("new"))
    agenda.done(held)
    waiter.join(PATIENCE)
    worker.join(PATIENCE)


@settings(deadline=None)
@given(
    durations=st.lists(st.integers(1, 50), min_size=1, max_size=12),
    capacity=st.integers(1, 4),
    intervals=st.integers(0, 3),
)
def test_nothing_starves_however_many_are_due(durations: list[int], capacity: int, intervals: int) -> None:
    agenda = Agenda()
    tasks = {str(number): task(str(number)) for number in range(len(durations))}
    for one in tasks.values():
        agenda.add(one, -1.0)
    now, running, runs, overtaken = 0, [], Counter[str](), dict.fromkeys(tasks, 0)
    for _ in range(len(durations) * 6):
        while len(running) < capacity and len(agenda):
            one = agenda.take()
            assert one
            assert one.key not in [other.key for _, other in running]
            runs[one.key[1]] += 1
            overtaken.pop(one.key[1])
            for key in overtaken:
                overtaken[key] += 1
                # Whoever goes first was staler; having run, it no longer is.
                assert overtaken[key] < len(durations)
            running.append((now + durations[int(one.key[1])], one))
        running.sort(key=lambda entry: entry[0])
        now, ended = running.pop(0)
        for _ in range(1 + intervals):
            agenda.add(ended, float(now))
        agenda.done(ended)
        overtaken[ended.key[1]] = 0
    assert set(runs) == set(tasks)


def test_workers_never_run_one_key_twice_at_once_and_lose_nothing() -> None:
    agenda = Agenda()
    turn, active, done = threading.Lock(), Counter[str](), Counter[str]()
    clashes: list[str] = []
    finished = threading.Event()

    def make(key: str) -> Task:
        def run() -> None:
            with turn:
                active[key] += 1
                if active[key] > 1:
                    clashes.append(key)
            with turn:
                active[key] -= 1
                done[key] += 1
                if len(done) == 7 and min(done.values()) >= 200:
                    finished.set()
            agenda.add(make(key), float(done[key]))

        return Task(("one", key), run)

    def work() -> None:
        while one := agenda.take():
            one.run()
            agenda.done(one)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for number in range(7):
        agenda.add(make(str(number)), -1.0)
    assert finished.wait(PATIENCE), "every key again and again, however long one worker is held up"
    agenda.close()
    for worker in workers:
        worker.join(PATIENCE)
    assert clashes == []
