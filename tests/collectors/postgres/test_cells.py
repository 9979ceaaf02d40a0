"""PostgreSQL's text as labels, numbers and times; the real server says what is right."""

import contextlib
import math
from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.postgres import cells
from collectors.postgres.cells import label_text, milliseconds, number

Ask = Callable[..., list[tuple[int, str | None]]]


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as open_:
        yield open_


@pytest.fixture
def ask(connection: psycopg.Connection) -> Ask:
    """Runs ``select …`` in a time zone; gives OID and text of each column of the one row."""

    def ask(columns: str, zone: str = "UTC") -> list[tuple[int, str | None]]:
        connection.execute(f"SET TIME ZONE '{zone}'")
        result = connection.pgconn.exec_(f"select {columns}".encode())
        assert result.status == psycopg.pq.ExecStatus.TUPLES_OK, result.error_message
        cells = [(result.ftype(index), result.get_value(0, index)) for index in range(result.nfields)]
        return [(oid, None if raw is None else raw.decode()) for oid, raw in cells]

    return ask


def as_label(cell: tuple[int, str | None]) -> str:
    oid, text = cell
    assert text is not None
    convert = label_text(oid)
    return convert(text) if convert else text


def as_number(cell: tuple[int, str | None], zone: str = "UTC") -> float:
    oid, text = cell
    assert text is not None
    return number(oid, zone)(text)


@pytest.mark.parametrize(
    ("sql", "label"),
    [
        ("true", "true"),
        ("false", "false"),
        ("7::int", "7"),
        ("-7::bigint", "-7"),
        ("99::oid", "99"),
        ("1.50::numeric", "1.50"),
        ("7::numeric(10,3)", "7.000"),
        ("'NaN'::numeric", "NaN"),
        ("0.1::float8", "0.1"),
        ("1.5::real", "1.5"),
        ("0.1::real", "0.1"),
        ("3::float8", "3"),
        ("0::float8", "0"),
        ("'-0'::float8", "-0"),
        ("-2.5::float8", "-2.5"),
        ("999999::float8", "999999"),
        ("1000000::float8", "1e+06"),
        ("1234567.8::float8", "1.2345678e+06"),
        ("-1234567::float8", "-1.234567e+06"),
        ("123456.7::float8", "123456.7"),
        ("0.0001::float8", "0.0001"),
        ("1e-5::float8", "1e-05"),
        ("1e21::float8", "1e+21"),
        ("1e300::float8", "1e+300"),
        ("'NaN'::float8", "NaN"),
        ("'inf'::float8", "+Inf"),
        ("'-inf'::real", "-Inf"),
        ("date '2024-01-02'", "2024-01-02T00:00:00Z"),
        ("date '10000-01-02'", "10000-01-02T00:00:00Z"),
        ("date '0044-03-15 BC'", "0044-03-15 BC"),
        ("date 'infinity'", "infinity"),
        ("timestamp '2024-01-02 03:04:05'", "2024-01-02T03:04:05Z"),
        ("timestamp '2024-01-02 03:04:05.120'", "2024-01-02T03:04:05.12Z"),
        ("timestamp '-infinity'", "-infinity"),
        ("timestamp '0044-03-15 01:02:03 BC'", "0044-03-15 01:02:03 BC"),
        ("timestamptz '2024-01-02 03:04:05.123456+00'", "2024-01-02T03:04:05.123456Z"),
        ("timestamptz 'infinity'", "infinity"),
        ("time '03:04:05.6'", "0000-01-01T03:04:05.6Z"),
        ("time '24:00'", "0000-01-02T00:00:00Z"),
        ("timetz '03:04:05+02'", "0000-01-01T03:04:05+02:00"),
        ("timetz '03:04:05.5-05:30'", "0000-01-01T03:04:05.5-05:30"),
        ("timetz '03:04:05+00'", "0000-01-01T03:04:05Z"),
        ("interval '1 day 2 hours'", "1 day 02:00:00"),
        ("array[1,2]", "{1,2}"),
        ("""'{"a":1}'::jsonb""", '{"a": 1}'),
        ("'ab'::char(4)", "ab  "),
        ("'x'::bytea", "x"),
        (r"'\xc3b3'::bytea", "ó"),
        (r"'\xff41'::bytea", "�A"),
        ("''::bytea", ""),
        ("''::text", ""),
        ("'t'::text", "t"),
        ("'10.0.0.1'::inet", "10.0.0.1"),
        ("'1'::money", "$1.00"),
    ],
)
def test_a_label_is_what_sql_exporter_shows(ask: Ask, sql: str, label: str) -> None:
    assert as_label(ask(sql)[0]) == label


@pytest.mark.parametrize(
    ("zone", "label"),
    [
        ("UTC", "2024-07-02T03:04:05Z"),
        ("Europe/Warsaw", "2024-07-02T05:04:05+02:00"),
        ("America/St_Johns", "2024-07-02T00:34:05-02:30"),
        ("Asia/Kathmandu", "2024-07-02T08:49:05+05:45"),
    ],
)
def test_a_label_with_a_time_zone_is_in_that_of_the_session(ask: Ask, zone: str, label: str) -> None:
    assert as_label(ask("timestamptz '2024-07-02 03:04:05+00'", zone)[0]) == label


def test_an_offset_with_seconds_loses_them(ask: Ask) -> None:
    cell = ask("timestamptz '1800-01-01 00:00:00+00'", "Asia/Tokyo")[0]
    assert cell[1] == "1800-01-01 09:18:59+09:18:59"
    assert as_label(cell) == "1800-01-01T09:18:59+09:18"
    assert as_number(cell) == -5_364_662_400


@pytest.mark.parametrize("oid", [20, 21, 23, 25, 1043, 1700, 2950, 114, 3802, 1186])
def test_most_types_are_labels_as_they_are(oid: int) -> None:
    assert label_text(oid) is None


@pytest.mark.parametrize("oid", [16, 17, 700, 1082, 1083, 1184, 1266])
def test_a_label_in_another_style_is_left_as_it_is(oid: int) -> None:
    convert = label_text(oid)
    assert convert is not None
    if oid != 700:
        assert convert("01/02/2024 noon") == "01/02/2024 noon"


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("1::int2", 1),
        ("-5::int8", -5),
        ("9223372036854775807::int8", 9223372036854775807.0),
        ("99::oid", 99),
        ("0.1::float8", 0.1),
        ("1.5::real", 1.5),
        ("'-inf'::float8", -math.inf),
        ("12345678901234567890.123::numeric", 12345678901234567890.123),
        ("'infinity'::numeric", math.inf),
        ("true", 1),
        ("false", 0),
        ("'12.5'::text", 12.5),
        ("'1_000'::text", 1000),
        ("'+.5e1'::varchar", 5),
        ("'5.'::text", 5),
        ("'inf'::text", math.inf),
        ("'-Infinity'::text", -math.inf),
        ("'7'::json", 7),
        ("date '1970-01-02'", 86400),
        ("date 'infinity'", math.inf),
        ("timestamptz '-infinity'", -math.inf),
        ("timestamptz '1970-01-01 00:00:01.5+00'", 1.5),
        ("interval 'infinity'", math.inf),
    ],
)
def test_a_number(ask: Ask, sql: str, value: float) -> None:
    assert as_number(ask(sql)[0]) == value


def test_what_is_no_number_at_all_is_one_here(ask: Ask) -> None:
    assert all(math.isnan(as_number(cell)) for cell in ask("'NaN'::float8, 'NaN'::numeric, 'nan'::text"))


@pytest.mark.parametrize("oid", [20, 21, 23, 26, 700, 701])
def test_the_common_types_cost_nothing(oid: int) -> None:
    assert number(oid) is float


@pytest.mark.parametrize(
    "sql",
    [
        "'1'::money",
        "array[1]",
        "'{}'::json",
        "'abc'::text",
        "''::text",
        "' 1'::text",
        "'1 '::text",
        "'0x10'::text",
        "'1__0'::text",
        "'_1'::text",
        "'1e999'::text",
        "'٣'::text",
        "repeat('x', 1000)",
        "1e400::numeric",
        "time '03:04'",
        "'c0ffee00-0000-0000-0000-000000000000'::uuid",
    ],
)
def test_what_is_no_number_is_refused_and_told_shortly(ask: Ask, sql: str) -> None:
    cell = ask(sql)[0]
    with pytest.raises(ValueError) as caught:
        as_number(cell)
    assert str(cell[1])[:40] in str(caught.value)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("oid", "text"), [(16, "yes"), (1186, "P1D"), (1186, ""), (1186, " "), (1082, "02.01.2024"), (1114, "")]
)
def test_a_number_in_another_style_is_refused(oid: int, text: str) -> None:
    with pytest.raises(ValueError, match=r"is (no|ne)"):
        number(oid)(text)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "1 day",
        "-1 days",
        "1 hour",
        "-1 second",
        "0.000001 seconds",
        "1 mon",
        "11 mons",
        "12 mons",
        "13 mons",
        "-13 mons",
        "25 years 3 mons",
        "1 year 2 mons 3 days 04:05:06.789",
        "-1 year +2 mons -3 days +04:05:06.789",
        "1 mon -1 day -00:00:00.5",
        "-1 mon +1 day -25:00:00",
        "1000000 hours",
        "170000000 years",
    ],
)
def test_an_interval_is_in_seconds_as_the_server_counts_them(ask: Ask, text: str) -> None:
    cell, seconds = ask(f"interval '{text}', extract(epoch from interval '{text}')")
    assert as_number(cell) == float(str(seconds[1]))


@given(months=st.integers(-5000, 5000), days=st.integers(-9999, 9999), micros=st.integers(-(10**15), 10**15))
def test_any_interval_is_what_the_server_says(
    connection: psycopg.Connection, months: int, days: int, micros: int
) -> None:
    result = connection.pgconn.exec_(
        f"select i, extract(epoch from i) from (select make_interval(months => {months}, days => {days})"
        f" + {micros} * interval '1 microsecond') as t(i)".encode()
    )
    text, seconds = (bytes(result.get_value(0, index) or b"").decode() for index in (0, 1))
    assert number(cells.INTERVAL)(text) == float(seconds)


ZONES = ["UTC", "Europe/Warsaw", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02 03:04:05.678901",
        "2024-07-02 00:00:00",
        "2024-03-31 02:30:00",  # skipped in Warsaw
        "2024-10-27 02:30:00",  # twice in Warsaw
        "2024-03-10 02:30:00",  # skipped in New York
        "2024-11-03 01:30:00",  # twice in New York
        "2024-04-07 01:45:00",  # twice on Lord Howe Island, by half an hour
        "2024-10-06 02:15:00",  # skipped there
        "1969-12-31 23:59:59.5",
        "1600-02-29 12:00:00",
        "0044-03-15 12:00:00 BC",
        "12024-02-29 12:00:00",
    ],
)
def test_a_time_without_a_zone_is_taken_in_the_zone(ask: Ask, text: str, zone: str) -> None:
    # Old offsets of seconds, and rules of years that have not been made, differ between the databases.
    if text.startswith(("16", "00", "12")) and zone != "UTC":
        text = text.replace("1600", "1970").replace("0044-03-15 12:00:00 BC", "1999-03-15 12:00:00")
        text = text.replace("12024", "2024").replace("1970-02-29", "1972-02-29")
    time, day, epoch, midnight, aware = ask(
        f"timestamp '{text}', (timestamp '{text}')::date, extract(epoch from timestamp '{text}' at time zone"
        f" '{zone}'), extract(epoch from (timestamp '{text}')::date::timestamp at time zone '{zone}'),"
        f" timestamp '{text}' at time zone '{zone}'",
        zone,
    )
    assert as_number(time, zone) == float(str(epoch[1]))
    assert as_number(day, zone) == float(str(midnight[1]))
    assert as_number(aware, "Asia/Tokyo") == float(str(epoch[1]))


def test_a_zone_may_be_an_object_too() -> None:
    assert number(cells.DATE, ZoneInfo("Europe/Warsaw"))("2024-01-02") == 1704150000


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("timestamptz '2024-01-02 03:04:05.678+00'", 1704164645678),
        ("timestamptz '2024-01-02 03:04:05.678999+00'", 1704164645678),
        ("timestamp '2024-01-02 03:04:05'", 1704164645000),
        ("date '2024-01-02'", 1704153600000),
        ("timestamptz '1969-12-31 23:59:59.9995+00'", -1),
    ],
)
def test_a_time_of_a_sample(ask: Ask, sql: str, value: int) -> None:
    oid, text = ask(sql, "Europe/Warsaw")[0]
    assert milliseconds(oid)(str(text)) == value


@pytest.mark.parametrize("sql", ["1704164645", "'2024-01-02'::text", "date 'infinity'", "time '03:04'"])
def test_what_is_no_time_of_a_sample(ask: Ask, sql: str) -> None:
    oid, text = ask(sql)[0]
    with pytest.raises(ValueError, match=r"time|date"):
        milliseconds(oid)(str(text))


@given(oid=st.sampled_from([16, 25, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 17]), text=st.text(max_size=30))
def test_no_text_is_too_odd(oid: int, text: str) -> None:
    for convert in (number(oid, "Europe/Warsaw"), milliseconds(oid)):
        with contextlib.suppress(ValueError):
            convert(text)
    label = label_text(oid)
    if label:
        label(text)
