"""Slow questions: they wait, are refused in time, and take nothing from scrapes."""

from __future__ import annotations

import asyncio
import json
import select
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from exporter.model.history import Summary, Wanted
from exporter.model.runs import Status
from exporter.web.api.questions import Questions, Refused

PATIENCE = 60.0


class SlowHistory:
    """A history whose summaries wait until they are let on, except that of project ``quick``."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.goes_on = threading.Event()
        self.asked: list[Wanted] = []

    def version(self) -> str:
        return "1"

    def summary(self, wanted: Wanted) -> Summary:
        self.asked.append(wanted)
        self.begun.release()
        assert wanted.projects == ("quick",) or self.goes_on.wait(PATIENCE)
        return Summary({Status.SUCCESS: len(self.asked)}, avg_duration=float("nan"))

    def wait_begun(self, times: int) -> None:
        for _ in range(times):
            assert self.begun.acquire(timeout=PATIENCE)


@pytest.fixture
def slow() -> Any:
    history = SlowHistory()
    yield history
    history.goes_on.set()


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _answered(askers: list[Any], count: int) -> list[Any]:
    """Those that were sent something, once they are *count*."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        readable, _, _ = select.select([asker.sock for asker in askers], [], [], 1.0)
        if len(readable) >= count:
            return [asker for asker in askers if asker.sock in readable]
    raise AssertionError("too few were answered")


def test_slow_questions_leave_scrapes_alone(
    slow: SlowHistory, serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    server = serve(history=slow)
    askers = [connect(server).send(_request(f"/api/stats/summary?project={n}")) for n in range(10)]
    slow.wait_begun(2)
    for _ in range(5):
        assert connect(server).get("/metrics").status == 200
    assert len(slow.asked) == 2
    slow.goes_on.set()
    assert [asker.reply().status for asker in askers] == [200] * 10


def test_the_same_question_of_many_is_asked_for_all_of_them(
    slow: SlowHistory, serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    server = serve(history=slow)
    first = [connect(server).send(_request(f"/api/stats/summary?project={n}")) for n in range(2)]
    slow.wait_begun(2)
    many = [connect(server).send(_request("/api/stats/summary?ref=same")) for _ in range(20)]
    # Only so is known that the server has read those before.
    assert connect(server).get("/metrics").status == 200
    slow.goes_on.set()
    counts = {json.loads(asker.reply().body)["success_count"] for asker in [*first, *many]}
    assert len(slow.asked) < 10
    assert max(counts) == len(slow.asked)


def test_over_the_cap_a_question_is_sent_away(
    slow: SlowHistory, serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    server = serve(history=slow)
    askers = [connect(server).send(_request(f"/api/stats/summary?project={n}")) for n in range(40)]
    slow.wait_begun(2)
    told = _answered(askers, 8)
    refused = [asker.reply() for asker in told]
    assert {(one.status, one.headers["retry-after"]) for one in refused} == {(503, "1")}
    error = json.loads(refused[0].body)["error"]
    assert error == "too many questions are open; ask again in a moment"
    slow.goes_on.set()
    assert [asker.reply().status for asker in askers if asker not in told] == [200] * 32


def test_a_number_that_is_none_is_unknown(
    slow: SlowHistory, serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    reply = connect(serve(history=slow)).get("/api/stats/summary?project=quick")
    assert json.loads(reply.body)["avg_duration"] is None


def test_what_takes_too_long_is_given_up_and_what_still_waits_is_never_asked() -> None:
    begun: list[str] = []
    goes_on = threading.Event()

    def ask(name: str) -> str:
        begun.append(name)
        assert goes_on.wait(PATIENCE)
        return name

    async def scenario() -> None:
        questions = Questions[str](threads=1, seconds=0.05)
        for name in ("slow", "waits"):
            with pytest.raises(Refused, match="the answer takes too long") as refused:
                await questions.answer(name, lambda name=name: ask(name))
            assert refused.value.retry_after == 10
        goes_on.set()
        patient = Questions[str](threads=1)
        assert await patient.answer("next", lambda: "done") == "done"
        questions._seconds = PATIENCE
        assert await questions.answer("next", lambda: ask("next")) == "next"

    asyncio.run(scenario())
    assert begun == ["slow", "next"]


def test_a_timeout_of_the_work_itself_is_not_ours() -> None:
    def ask() -> str:
        raise TimeoutError("of a socket")

    async def scenario() -> None:
        with pytest.raises(TimeoutError, match="of a socket"):
            await Questions[str]().answer("a", ask)

    asyncio.run(scenario())
