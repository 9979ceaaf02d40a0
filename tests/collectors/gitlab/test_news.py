"""The order in which what could not be read is tried again."""

from __future__ import annotations

from collectors.gitlab import news


def test_all_that_is_unread_has_its_turn() -> None:
    order, tried = tuple(range(1, 13)), set()
    for _ in range(3):
        tried |= set(order[: news.UNREAD_PER_POLL])
        order = news.still_unread(order, set(order))
    assert tried == set(range(1, 13))


def test_what_was_read_is_forgotten_and_what_is_new_waits() -> None:
    assert news.still_unread((1, 2, 3, 4, 5, 6), {2, 6, 9}) == (6, 9, 2)


def test_the_cursor_holds_no_endless_list() -> None:
    assert len(news.still_unread((), set(range(10_000)))) == 1_000
