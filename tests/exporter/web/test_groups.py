"""Which address answers which endpoints, over real sockets."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from exporter.errors import ConfigError, ExporterError, StoreError
from exporter.web.app import LandingPage, WebParts, build_app
from exporter.web.groups import EVERYTHING, Group, Listener, group_named, open_listeners
from exporter.web.listen import bind
from exporter.web.server import WebServer

Open = Callable[..., dict[str, Listener]]

PATHS = {
    Group.METRICS: {"/", "/metrics"},
    Group.HEALTH: {"/healthz", "/-/healthy", "/-/ready"},
    Group.ADMIN: {"/-/config", "/-/reload", "/log_level"},
    Group.API: {"/api/openapi.json", "/api/pipelines", "/api/projects", "/api/stats/summary"},
    Group.HOOKS: {"/hooks/some"},
}
ALL = {path for paths in PATHS.values() for path in paths}
A, B, C = "127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens listeners that are closed at the end; by host, which is what tells them apart here."""
    with ExitStack() as stack:

        def open_(
            addresses: Mapping[Group, Sequence[str]], passed: Sequence[tuple[Group, socket.socket]] = ()
        ) -> dict[str, Listener]:
            listeners = open_listeners(addresses, passed)
            for listener in listeners:
                stack.callback(listener.close)
            return {one.getsockname()[0]: listener for listener in listeners for one in listener.sockets}

        yield open_


def test_one_address_answers_everything(opened: Open) -> None:
    [listener] = opened({Group.METRICS: [A], Group.HEALTH: [], Group.ADMIN: ()}).values()
    assert listener.groups == EVERYTHING == set(Group)
    assert listener.guarded


def test_several_addresses_are_one_listener(opened: Open) -> None:
    found = opened({Group.METRICS: [A, B, "[::1]:0"]})
    assert list(found) == ["127.0.0.1", "127.0.0.2", "::1"]
    assert found["127.0.0.1"] is found["127.0.0.2"] is found["::1"]


def test_health_is_answered_everywhere_and_alone_where_it_has_an_address(opened: Open) -> None:
    found = opened({Group.METRICS: [A], Group.HEALTH: [B, C]})
    assert found["127.0.0.1"].groups == EVERYTHING
    assert found["127.0.0.2"].groups == {Group.HEALTH}
    assert found["127.0.0.2"] is found["127.0.0.3"]
    assert [found[host].guarded for host in ("127.0.0.1", "127.0.0.2")] == [True, False]


def test_an_admin_address_takes_the_admin_endpoints_away(opened: Open) -> None:
    found = opened({Group.METRICS: [A], Group.ADMIN: [B]})
    assert found["127.0.0.1"].groups == EVERYTHING - {Group.ADMIN}
    assert found["127.0.0.2"].groups == {Group.ADMIN, Group.HEALTH}
    assert found["127.0.0.1"].guarded
    assert found["127.0.0.2"].guarded


def test_an_api_address_takes_the_api_away_and_is_guarded(opened: Open) -> None:
    found = opened({Group.METRICS: [A], Group.API: [B]})
    assert found["127.0.0.1"].groups == EVERYTHING - {Group.API}
    assert found["127.0.0.2"].groups == {Group.API, Group.HEALTH}
    assert found["127.0.0.2"].guarded


def test_an_address_of_two_groups_is_one_listener_with_both(opened: Open) -> None:
    found = opened({Group.METRICS: [A], Group.HEALTH: [A, B], Group.ADMIN: ["127.0.0.1:00", C]})
    assert found["127.0.0.1"].groups == EVERYTHING
    # Who shares an address with the metrics shares their guard.
    assert found["127.0.0.1"].guarded
    assert found["127.0.0.2"].groups == {Group.HEALTH}
    assert found["127.0.0.3"].groups == {Group.ADMIN, Group.HEALTH}


def test_one_address_that_is_taken_closes_all(opened: Open) -> None:
    taken = bind([A])
    port = taken[0].getsockname()[1]
    passed = bind(["127.0.0.4:0"])
    with pytest.raises(ExporterError, match="already in use"):
        opened({Group.ADMIN: [B, f"127.0.0.1:{port}"]}, [(Group.METRICS, passed[0])])
    assert passed[0].fileno() == -1
    taken[0].close()


def test_an_address_that_cannot_be_read_is_told(opened: Open) -> None:
    with pytest.raises(ExporterError, match="cannot listen on 'nowhere': it must be host:port"):
        opened({Group.METRICS: ["nowhere"]})


# -- sockets of systemd


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("metrics", Group.METRICS),
        ("health", Group.HEALTH),
        ("admin", Group.ADMIN),
        ("api", Group.API),
        ("hooks", Group.HOOKS),
        ("ci-exporter.socket", Group.METRICS),
        ("", Group.METRICS),
    ],
)
def test_the_name_of_a_passed_socket_tells_its_group(name: str, group: Group) -> None:
    assert group_named(name) is group


def test_passed_sockets_are_served_by_their_groups_beside_addresses(opened: Open) -> None:
    one, two = bind([A, B])
    found = opened({Group.METRICS: (), Group.HEALTH: [C]}, [(Group.METRICS, one), (Group.ADMIN, two)])
    assert found["127.0.0.1"].groups == EVERYTHING - {Group.ADMIN}
    assert found["127.0.0.2"].groups == {Group.ADMIN, Group.HEALTH}
    assert found["127.0.0.3"].groups == {Group.HEALTH}


def test_without_a_socket_for_the_metrics_it_is_an_error(opened: Open) -> None:
    [one] = bind([A])
    with pytest.raises(ExporterError, match="none of the sockets that systemd passed is for the metrics"):
        opened({Group.METRICS: ()}, [(Group.ADMIN, one)])
    assert one.fileno() == -1


# -- what is answered


class Silent:
    """A history that cannot be asked."""

    def version(self) -> str:
        raise StoreError("there is no store")


class Door:
    """Hooks that nobody sends."""

    async def answer(self, request: Request) -> Response:
        raise AssertionError(request.url)


@pytest.fixture
def answering(parts: WebParts, connect: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """A client of a server for some groups."""
    with ExitStack() as stack:

        def start(groups: set[Group], **changes: Any) -> Any:
            served = {"history": Silent(), "hooks": Door()}
            given = {"config": lambda: "a: 1\n", "lifecycle": True, **served, **changes}
            changed = replace(parts, **given)
            server = WebServer(build_app(changed, groups), bind([A]))
            stack.callback(server.stop, 1.0)
            server.start()
            return connect(server)

        yield start


@pytest.mark.parametrize(
    "groups", [{group} for group in Group] + [{Group.METRICS, Group.HEALTH}, set(Group)], ids=sorted
)
def test_a_listener_answers_its_groups_and_404_to_the_rest(
    answering: Callable[..., Any], groups: set[Group]
) -> None:
    client = answering(groups)
    known = {path for path in ALL if client.get(path).status != 404}
    assert known == {path for group in groups for path in PATHS[group]}
    if Group.ADMIN not in groups:
        assert client.put("/log_level", b"level=debug").status == 404
        assert client.put("/-/reload", b"", "POST").body == b"Not Found\n"


def test_every_group_has_endpoints() -> None:
    assert set(PATHS) == set(Group)


def test_the_landing_page_links_to_what_its_own_address_answers(answering: Callable[..., Any]) -> None:
    links = [("/metrics", "M"), ("/healthz", "H"), ("/-/config", "C"), ("https://example.com/", "E")]
    page = LandingPage("n", "1", "d", links)

    def hrefs(groups: set[Group]) -> list[str]:
        body = answering(groups, landing=lambda: page).get("/").body.decode()
        return re.findall(r'href="([^"]+)"', body)

    assert hrefs(set(Group)) == ["/metrics", "/healthz", "/-/config", "https://example.com/"]
    assert hrefs({Group.METRICS, Group.HEALTH}) == ["/metrics", "/healthz", "https://example.com/"]


def test_the_telemetry_path_is_not_one_of_ours_on_another_address_either(parts: WebParts) -> None:
    with pytest.raises(
        ConfigError, match="'/-/reload' must be a path such as /metrics, and not one of our own"
    ):
        build_app(replace(parts, telemetry_path="/-/reload"), {Group.METRICS})
