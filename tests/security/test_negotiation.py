"""What scrapers may ask for, from Prometheus' own headers to nonsense."""

from __future__ import annotations

import gzip
from urllib.parse import quote

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.attack import Target

TEXT, OPENMETRICS = "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"
SMALL = "/metrics?collect[]=gate"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,"
    + PROMETHEUS_3
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, TEXT),
        ("", TEXT),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        (PROTOBUF, OPENMETRICS),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=abc", TEXT),
        ("application/openmetrics-text; version=2.0.0", TEXT),
        ("application/openmetrics-text; q=0", TEXT),
        ("application/openmetrics-text; version=1.0.0; q=0.1, text/plain; q=0.2", TEXT),
        ("text/plain; q=0.1, application/openmetrics-text; q=0.2", OPENMETRICS),
        ("text/plain; q=1.5, application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; q=1.5", TEXT),
        ("application/openmetrics-text; q=nan", TEXT),
        ("APPLICATION/OpenMetrics-Text;Version=1.0.0", OPENMETRICS),
        ("image/png", TEXT),
        (";;;,,,q=,/;=", TEXT),
        ("\xe4\xf6\xfc/\xdf", TEXT),
        ("text/plain;" + "x=y;" * 2000, TEXT),
        (",".join(["a/b;q=0.1"] * 800) + ",application/openmetrics-text", OPENMETRICS),
    ],
)
def test_the_format_follows_accept(target: Target, accept: str | None, expected: str) -> None:
    fields = [] if accept is None else [f"Accept: {accept}"]
    reply = target.ask(SMALL, *fields)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith(expected)
    assert reply.headers["vary"] == "Accept, Accept-Encoding"
    parse = parse_openmetrics if expected == OPENMETRICS else parse_text
    assert [family.name for family in parse(reply.body.decode())] == ["gate_open"]


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("*", True),
        ("gzip, deflate, br, zstd", True),
        ("br", False),
        ("zstd", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.5, identity;q=1", False),
        ("gzip;q=1, identity;q=0.5", True),
        ("gzip;q=1.5", False),
        ("gzip;q=", False),
        ("gzip;q=-1", False),
        # Nothing is left to send it in; identity is what every client can read.
        ("identity;q=0", False),
        ("gzip;q=0, identity;q=0", False),
        ("gzip" + ";x" * 4000, True),
    ],
)
def test_the_coding_follows_accept_encoding(target: Target, accepted: str | None, packed: bool) -> None:
    fields = [] if accepted is None else [f"Accept-Encoding: {accepted}"]
    reply = target.ask(SMALL, *fields)
    assert reply.status == 200
    assert reply.headers.get("content-encoding") == ("gzip" if packed else None)
    body = gzip.decompress(reply.body) if packed else reply.body
    assert body.endswith(b"gate_open 1.0\n")


def test_an_unknown_collector_is_named_by_what_there_is(target: Target) -> None:
    reply = target.ask("/metrics?collect[]=nobody")
    assert reply.status == 400
    assert b"exporter, gate, gitlab, postgres, wall" in reply.body


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a\r\nX-Injected: yes", "\x00", "\x1b[31m", "x" * 7000, "\udcff"]
)
def test_an_unknown_collector_cannot_put_anything_into_headers_or_markup(target: Target, name: str) -> None:
    reply = target.ask(f"/metrics?collect[]={quote(name, errors='surrogateescape')}")
    assert reply.status == 400
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "x-injected" not in reply.headers


def test_as_many_names_as_an_address_can_hold_are_refused_or_cheap(target: Target) -> None:
    ten_thousand = "&".join(["name[]=a"] * 10_000)
    assert target.ask(f"/metrics?{ten_thousand}").status == 414
    hundreds = "&".join(["name[]=a"] * 800)
    assert target.ask(f"/metrics?{hundreds}").status == 200
    empty = "&".join(["name[]="] * 1000)
    assert target.ask(f"/metrics?{empty}&{'name[]='}").status == 400
