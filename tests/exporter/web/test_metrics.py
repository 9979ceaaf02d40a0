from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ExporterError
from exporter.rendering import Format
from exporter.web.metrics import Filters, negotiate, read_filters, wants_gzip

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3_14 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,"


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS_2_42,
        PROMETHEUS_3_14,
        PROTOBUF + PROMETHEUS_3_14,
        "application/openmetrics-text",
        "APPLICATION/OpenMetrics-Text; Version=1.0.0",
        'application/openmetrics-text; version="1.0.0"',
        "text/plain;q=0.3, application/openmetrics-text;q=0.8",
        "text/plain;q=0, */*",
        "*/*, application/openmetrics-text",
        "application/openmetrics-text, text/plain",
        "application/*, text/*;q=0.5",
        "text/plain;version=1.0.0;q=0.9, text/plain;version=0.0.4;q=0.1, application/openmetrics-text;q=0.5",
        "text/plain; version=abc, application/openmetrics-text;q=0.1",
    ],
)
def test_openmetrics_goes_to_who_prefers_it(accept: str) -> None:
    assert negotiate(accept) is Format.OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/plain",
        "text/plain;version=0.0.4",
        "text/plain;version=1.0.0",
        "text/plain;version=abc",
        "text/*",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "application/json",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=9.9.9",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=0, */*",
        "application/openmetrics-text;q=0.000",
        "application/openmetrics-text;q=1.5",
        "application/openmetrics-text;q=nan",
        "application/openmetrics-text;q=-1",
        "application/openmetrics-text;q=",
        "application/openmetrics-text;q=٣",
        "text/plain, application/openmetrics-text",
        "text/plain;q=0.9, application/openmetrics-text;q=0.8",
        "*/*;q=1, application/openmetrics-text;version=1.0.0;q=0.5",
        "text/plain;q=0",
        ",,,;;;===///",
        "/",
        "application/openmetrics-text" * 290,
        "application/openmetrics-text;q=0," * 240,
    ],
)
def test_text_goes_to_everyone_else(accept: str) -> None:
    assert negotiate(accept) is Format.TEXT


@given(st.text(alphabet='application/openmetrics-text;q=.0123456789version,* "\t', max_size=300))
def test_no_accept_header_raises(accept: str) -> None:
    assert negotiate(accept) in Format
    assert wants_gzip(accept) in (True, False)


@pytest.mark.parametrize(
    "header",
    [
        "gzip",
        "GZIP",
        "x-gzip",
        "gzip, deflate, br",
        "br;q=1, gzip;q=0.5",
        "*",
        "*;q=0.5",
        "identity;q=0, gzip",
    ],
)
def test_gzip_is_sent_to_who_reads_it(header: str) -> None:
    assert wants_gzip(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "identity",
        "br",
        "gzip;q=0",
        "gzip;q=0, *",
        "*;q=0",
        "gzip;q=0.000",
        "gzip;q=2",
        "gzip;q=x",
        "identity, gzip;q=0.5",
        # Nothing is acceptable then; the plain body is the lesser evil, and 406 would be a failed scrape.
        "identity;q=0",
    ],
)
def test_gzip_is_not_sent_to_anyone_else(header: str) -> None:
    assert not wants_gzip(header)


def test_filters_keep_their_order_and_read_escapes() -> None:
    query = "name%5B%5D=b&collect[]=x&name[]=a&name=c&collect=d&collect%5b%5d=y&name[]=%C3%A9"
    assert read_filters(query) == Filters(("b", "a", "é"), ("x", "y"))


@pytest.mark.parametrize("query", ["", "&&&", "name[]", "%zz", "a=%ff"])
def test_odd_queries_ask_for_everything_or_nothing(query: str) -> None:
    assert read_filters(query).collectors == ()


def test_a_thousand_names_are_enough() -> None:
    assert len(read_filters("name[]=a&" * 1000).names) == 1000
    with pytest.raises(ExporterError, match="at most 1000"):
        read_filters("name[]=a&" * 1001)
