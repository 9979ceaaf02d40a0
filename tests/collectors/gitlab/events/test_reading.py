"""Lists of events as other servers send them: odd entries, no ids, and no answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import Trouble
from exporter.runnermetrics import FetchResult
from tests.collectors.conftest import Handler, Server
from tests.support.harness import PROJECT, START, EventsLab

EVENT = {"project_id": 101, "action_name": "pushed to", "author_id": 1, "created_at": START}
Labs = Callable[..., EventsLab]


class Source:
    """Answers for a GitLab with one project, whose events are *pages*."""

    def __init__(self, server: Server, *pages: list[Any]) -> None:
        self.url = server.url
        self.token = "t"
        self.pages = [json.dumps(page).encode() for page in pages]
        self.asked: list[str] = []
        server.answers = [self._answer]

    def _answer(self, request: Handler) -> None:
        path, _, query = request.path.partition("?")
        self.asked.append(request.path)
        if not path.endswith("/events"):
            entry = {"id": 101, "path_with_namespace": PROJECT, "last_activity_at": START}
            request.send([entry] if "id_after" not in query else [])
            return
        number = int(query.partition("&page=")[2].partition("&")[0] or 1)
        more = number < len(self.pages)
        following = query.replace(f"&page={number}", f"&page={number + 1}")
        link = {"Link": f'<http://elsewhere{path}?{following}>; rel="next"'} if more else {}
        request.send(self.pages[number - 1], **link)


@pytest.fixture
def read(server: Server, tmp_path: Path) -> Any:
    """Reads pages of events once; returns the lab and what the visit brought."""
    labs: list[EventsLab] = []

    def run(*pages: list[Any]) -> tuple[EventsLab, Any]:
        source: Any = Source(server, *pages)
        lab = EventsLab(source, tmp_path, all_users=False)
        labs.append(lab)
        (visit,) = lab.exporter.poll()
        return lab, visit

    yield run
    for lab in labs:
        lab.close()


def test_one_senseless_event_keeps_no_other_from_being_told(read: Any) -> None:
    lab, visit = read(
        [EVENT | {"id": 1}, "nonsense", EVENT | {"id": 2, "created_at": None}, EVENT | {"id": 3}]
    )
    assert visit.result is FetchResult.TASK
    assert lab.numbers() == [1, 3]
    (trouble,) = lab.exporter.rounds.troubles()
    assert (trouble.name, trouble.reason) == (PROJECT, Trouble.BAD_DATA)
    assert "tried again" in trouble.detail


def test_pages_of_events_without_ids_are_all_read(read: Any) -> None:
    lab, _ = read(
        [EVENT | {"author_id": number} for number in (1, 2)],
        [EVENT | {"author_id": number} for number in (3, 4)],
    )
    lab.exporter.poll()
    assert len({event.id for event in lab.told()}) == len(lab.told()) == 4


def test_what_comes_before_a_page_that_fails_is_told(read: Any) -> None:
    lab, visit = read([EVENT | {"id": 1}], [], [])
    assert visit.result is FetchResult.TASK
    source: Any = lab.server
    source.pages = [json.dumps([EVENT | {"id": number}]).encode() for number in (1, 2)] + [b"{"]
    lab.clock.advance(700)
    (visit,) = lab.exporter.poll()
    assert visit.result is FetchResult.ERROR
    assert lab.numbers() == [1, 2]
    source.pages[2] = json.dumps([EVENT | {"id": 3}]).encode()
    source.asked.clear()
    lab.exporter.poll()
    assert lab.numbers() == [1, 2, 3]
    assert len(source.asked) == 2  # it goes on where it was


def test_a_server_that_says_nothing_costs_one_round(events_of: Labs) -> None:
    lab = events_of()
    lab.round()
    lab.exporter.collector._client._api._timeout = 0.3
    number = int(lab.act("event", project=PROJECT)["event_id"])
    lab.server.faults({"kind": "hang", "path": "/events", "seconds": 60})
    lab.round()
    lab.server.faults()
    lab.exporter.collector._client._api._timeout = 20
    before = lab.numbers()
    lab.round()
    assert number not in before
    assert lab.numbers().count(number) == 1
