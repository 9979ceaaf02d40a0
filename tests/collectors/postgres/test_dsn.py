"""DSNs: every form that people bring along, and none of their passwords in a message."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from collectors.postgres.dsn import connection_parameters, host_and_database, seconds_in, settings_in
from collectors.postgres.settings import Tls


def parameters(dsn: str, **tls: object) -> dict[str, str]:
    found = connection_parameters(dsn, Tls(**tls), application_name="ours", connect_timeout=2.5)  # type: ignore[arg-type]
    make_conninfo("", **found)  # libpq takes every one of them
    return found


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "pg", "pgsql", "pgx", "px", "PostgreSQL"])
def test_every_scheme_of_sql_exporter_is_one_of_postgresql(scheme: str) -> None:
    found = parameters(f"{scheme}://ann:p%40ss@db.example:5433/ci?sslmode=disable")
    expected = dict(user="ann", password="p@ss", host="db.example", port="5433", dbname="ci")
    assert found.items() >= (expected | dict(sslmode="disable")).items()


def test_words_are_read_as_libpq_reads_them() -> None:
    found = parameters(r"host=db user = ann password='it\'s \\ a = secret' dbname=ci statement_timeout=5s")
    assert found["password"] == r"it's \ a = secret"
    assert found["user"] == "ann"
    assert found["options"] == "-c statement_timeout=5s"


def test_parameters_of_the_server_become_options() -> None:
    dsn = (
        "postgresql://u@h/d?statement_timeout=2500&default_transaction_read_only=on&timezone=Europe/Warsaw"
        "&application_name=ci&options=-c%20geqo%3Doff&search_path=a%20b%5Cc,d&work_mem=1+MB"
    )
    found = parameters(dsn)
    assert found["application_name"] == "ci"
    assert found["options"] == (
        "-c geqo=off -c statement_timeout=2500 -c default_transaction_read_only=on "
        r"-c timezone=Europe/Warsaw -c search_path=a\ b\\c,d -c work_mem=1\ MB"
    )
    assert settings_in(dsn) == {
        "geqo": "off", "statement_timeout": "2500", "default_transaction_read_only": "on",
        "timezone": "Europe/Warsaw", "search_path": r"a b\c,d", "work_mem": "1 MB",
    }  # fmt: skip


def test_settings_in_options_count_and_names_have_no_case() -> None:
    assert settings_in("postgresql://h/d?TimeZone=UTC") == {"timezone": "UTC"}
    found = settings_in(r"host=h options='--statement-timeout=9s -c search_path=a\\ b'")
    assert found == {"statement_timeout": "9s", "search_path": "a b"}
    assert settings_in("postgresql://h/d") == {}


def test_what_steers_other_drivers_is_left_out() -> None:
    found = parameters("postgres://h/d?binary_parameters=yes&default_query_exec_mode=simple_protocol")
    assert "options" not in found


@pytest.mark.parametrize(
    ("dsn", "host", "database"),
    [
        ("postgresql://u@/var/run/postgresql/ci", "/var/run/postgresql", "ci"),
        ("postgresql://u@:5433/var/run/postgresql/ci", "/var/run/postgresql", "ci"),
        ("postgresql:///tmp/ci", "/tmp", "ci"),
        ("postgresql://u@/ci?host=/var/run/postgresql", "/var/run/postgresql", "ci"),
        ("postgresql://u@%2Fvar%2Frun%2Fpostgresql/ci", "/var/run/postgresql", "ci"),
        ("host=/var/run/postgresql dbname=ci", "/var/run/postgresql", "ci"),
    ],
)
def test_sockets_in_all_their_forms(dsn: str, host: str, database: str) -> None:
    found = parameters(dsn)
    assert (found["host"], found["dbname"]) == (host, database)
    assert host_and_database(dsn) == f"{host}/{database}"


def test_tls_settings_beat_the_dsn() -> None:
    found = parameters(
        "postgresql://h/d?sslmode=disable&sslrootcert=/old", mode="verify-full", ca_file=Path("/new")
    )
    assert (found["sslmode"], found["sslrootcert"]) == ("verify-full", "/new")
    assert "sslcert" not in found


def test_what_the_dsn_leaves_out_is_ours() -> None:
    found = parameters("postgresql://h/d")
    assert found["application_name"] == "ours"
    assert found["connect_timeout"] == "3"
    assert found["client_encoding"] == "UTF8"
    assert found["keepalives_idle"] == "15"
    assert int(found["tcp_user_timeout"]) == 30_000
    mine = parameters("postgresql://h/d?keepalives_idle=60&connect_timeout=9&client_encoding=LATIN1")
    assert (mine["keepalives_idle"], mine["connect_timeout"], mine["client_encoding"]) == ("60", "9", "UTF8")
    assert parameters("postgresql://h/d?connect_timeout=0")["connect_timeout"] == "3", "never without end"


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "mysql://zoe:hunter2@h/d",
        "hunter2",
        "host=h password=hun ter2",
        "host=h password='hunter2",
        "host=h password=hunter2 -x=1",
        "postgresql://zoe:hunter%2@h/d",
        "postgresql://zoe:hunt@er2@h/d",
        "postgresql://zoe:hunt/er2@h/d",
        "postgresql://zoe:hunt?er2@h/d",
        "postgresql://zoe:hunt?er2=@h/d",
        "postgresql://zoe:hunter2@h:port/d",
        "postgresql://zoe:hunter2@h:70000/d",
        "postgresql://zoe:hunter2@[::1/d",
        "postgresql://zoe:hunter2@h/d?timezone",
        "postgresql://zoe:hunter2@h/d?a-b=1",
        "postgresql://zoe:hunter2@h/d%00",
        "postgresql://zoe:hunter2@h/d?sslinline=true",
    ],
)
def test_a_bad_dsn_is_a_sentence_without_any_of_it(dsn: str) -> None:
    for read in (parameters, settings_in, host_and_database):
        with pytest.raises(ValueError, match="DSN") as caught:
            read(dsn)
        told = str(caught.value)
        assert not any(word in told for word in ("hun", "er2", "zoe", "ter2"))
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_where_a_database_is_without_who_asks() -> None:
    assert host_and_database("postgresql://zoe:hunter2@db.example/ci") == "db.example:5432/ci"
    assert host_and_database("postgresql://zoe:hunter2@a:1,b:2/ci") == "a:1,b:2/ci"
    assert host_and_database("host=h password=hunter2") == "h:5432"
    assert host_and_database("user=ann hostaddr=10.0.0.1 port=6432") == "10.0.0.1:6432"


def test_the_servers_durations() -> None:
    given = ["2500", "2.5s", "1min", "250ms", "0", None, "soon", "1h"]
    assert [seconds_in(value) for value in given] == [2.5, 2.5, 60, 0.25, None, None, None, 3600]
