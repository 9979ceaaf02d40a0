"""Which answers are asked anew, and which are remembered."""

from __future__ import annotations

import pytest

from collectors.gitlab.fleet.remembered import Remembered


def asked(memory: Remembered[int, int], keys: list[int], *changed: int) -> list[int]:
    calls: list[int] = []

    def ask(key: int) -> int:
        calls.append(key)
        return key * 10

    memory.refresh(keys, ask, changed)
    return calls


def test_every_answer_is_asked_anew_in_turn() -> None:
    memory: Remembered[int, int] = Remembered(every=2, at_most=9)
    keys = [1, 2, 3, 4]
    assert [asked(memory, keys) for _ in range(4)] == [keys, [1, 2], [3, 4], [1, 2]]
    assert memory.get(4) == 40


def test_what_changed_comes_first() -> None:
    memory: Remembered[int, int] = Remembered(every=4, at_most=9)
    asked(memory, [1, 2, 3, 4])
    assert asked(memory, [1, 2, 3, 4], 4) == [4]


def test_what_is_too_much_for_one_poll_is_asked_at_the_next() -> None:
    memory: Remembered[int, int] = Remembered(every=1, at_most=2)
    keys = [1, 2, 3]
    assert [asked(memory, keys) for _ in range(3)] == [[1, 2], [3, 1], [2, 1]]


def test_what_is_gone_is_forgotten() -> None:
    memory: Remembered[int, int] = Remembered(every=1, at_most=9)
    asked(memory, [1, 2])
    asked(memory, [2])
    assert memory.get(1) is None
    assert memory.get(1, 5) == 5


def test_answers_before_an_error_stay() -> None:
    memory: Remembered[int, int] = Remembered(every=1, at_most=9)

    def ask(key: int) -> int:
        if key == 2:
            raise ValueError
        return key

    with pytest.raises(ValueError):
        memory.refresh([1, 2], ask)
    assert memory.get(1) == 1
    assert asked(memory, [1, 2]) == [2, 1]
