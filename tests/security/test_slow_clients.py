"""Clients that take their time, all at once, against the program's own deadlines."""

from __future__ import annotations

from statistics import median

import pytest

from tests.support.attack import Attacker, Siege

SLACK = 20.0
"""Seconds that a busy machine may add to a deadline."""


def _seconds(attackers: list[Attacker]) -> list[float]:
    return [one.closed_after for one in attackers if one.closed_after is not None]


@pytest.mark.parametrize(
    ("kind", "deadline", "refusal"),
    [
        ("slow header", 5.0, b"HTTP/1.1 408 "),
        ("slow body", 10.0, b"HTTP/1.1 408 "),
        ("silent", 5.0, b""),
    ],
)
def test_a_slow_request_is_closed_at_its_deadline(
    siege: Siege, kind: str, deadline: float, refusal: bytes
) -> None:
    attackers = siege.repelled(kind, deadline + 60)
    assert min(_seconds(attackers)) > deadline - 0.5
    assert max(_seconds(attackers)) < deadline + SLACK
    assert {one.heard[: len(refusal)] for one in attackers} == {refusal}


def test_a_reader_that_does_not_read_is_reset_and_costs_little(siege: Siege) -> None:
    attackers = siege.repelled("slow reader", 60)
    assert max(_seconds(attackers)) < 10 + SLACK
    # 40 bodies of 5 MB would be 200 MB.
    assert siege.peak_megabytes - siege.before_megabytes < 60


def test_honest_clients_are_answered_at_once_all_the_while(siege: Siege) -> None:
    for kind in ("slow header", "slow body", "slow reader"):
        siege.repelled(kind, 60)
    # Each would have failed if it had not been answered; one that waited for the slow would take 5 seconds.
    assert len(siege.probes) >= 10
    assert median(siege.probes) < 2.0


def test_an_idle_connection_is_kept_for_a_minute(siege: Siege) -> None:
    attackers = siege.repelled("idle", 120)
    assert min(_seconds(attackers)) > 59.0
    assert max(_seconds(attackers)) < 60 + SLACK
    assert {one.heard.count(b"HTTP/1.1 200 OK") for one in attackers} == {1}
