"""Where a database is: DSNs as libpq and sql_exporter's users write them, as parameters for psycopg.

No message here ever holds a part of the DSN: any part may be one of a password that is badly escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, unquote_plus

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from collectors.postgres.settings import Tls

_SCHEMES: Final = frozenset(("postgres", "postgresql", "pg", "pgsql", "pgx", "px"))
_KNOWN: Final = frozenset(option.keyword.decode() for option in Conninfo.get_defaults()) | {"ssl"}
# What steers the drivers of other languages; it means nothing here, and the server would refuse it.
_OF_OTHER_DRIVERS: Final = frozenset(
    (
        "binary_parameters", "default_query_exec_mode", "description_cache_capacity",
        "disable_prepared_binary_result", "statement_cache_capacity",
    )
)  # fmt: skip
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)([^?]*)(?:\?(.*))?\Z", re.DOTALL)
_WORD: Final = re.compile(r"\s*([^\s=']+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(?=\s|\Z)", re.DOTALL)
_OPTION: Final = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)=((?:[^\s\\]|\\.)*)", re.DOTALL)
_SERVERS_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?)\s*(us|ms|s|min|h|d)?", re.ASCII)
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86_400}

# A connection whose other end is gone is noticed after 30 seconds, though nothing is being sent.
_KEEPALIVES: Final = {
    "keepalives_idle": "15", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "30000",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Parsed:
    """``options`` are libpq's own, ``settings`` the server's run-time parameters that stood beside them."""

    options: dict[str, str]
    settings: dict[str, str]


def connection_parameters(
    dsn: str, tls: Tls, *, application_name: str, connect_timeout: float
) -> dict[str, str]:
    """Keyword arguments for ``psycopg.connect``; *tls* beats the DSN, which beats all else here.

    *connect_timeout* is in seconds, and for each of several hosts.

    Raises:
        ValueError: the DSN cannot be read; the message holds no part of it.
    """
    parsed = _parse(dsn)
    result = {"application_name": application_name, **_KEEPALIVES, **parsed.options}
    if parsed.settings:
        ours = " ".join(f"-c {name}={_escape(value)}" for name, value in parsed.settings.items())
        result["options"] = f"{parsed.options.get('options', '')} {ours}".strip()
    if not _positive(parsed.options.get("connect_timeout")):
        result["connect_timeout"] = str(math.ceil(connect_timeout))
    asked = {
        "sslmode": tls.mode, "sslrootcert": tls.ca_file, "sslcert": tls.cert_file, "sslkey": tls.key_file
    }  # fmt: skip
    result |= {key: str(value) for key, value in asked.items() if value is not None}
    result["client_encoding"] = "UTF8"
    return result


def settings_in(dsn: str) -> Mapping[str, str]:
    """The run-time settings that the DSN makes, ``lower-case name -> value``, those in ``options`` too.

    Raises:
        ValueError: as :func:`connection_parameters` does.
    """
    parsed = _parse(dsn)
    found = {
        match[1].replace("-", "_"): re.sub(r"\\(.)", r"\1", match[2])
        for match in _OPTION.finditer(parsed.options.get("options", ""))
    }
    return {name.lower(): value for name, value in (found | parsed.settings).items()}


def seconds_in(value: str | None) -> float | None:
    """A duration setting of the server (``2500`` is milliseconds, ``30s``) in seconds.

    ``None`` is none, and zero, which the server takes for no limit.
    """
    match = _SERVERS_DURATION.fullmatch((value or "").strip())
    return (float(match[1]) * _UNITS[match[2] or "ms"] or None) if match else None


def host_and_database(dsn: str) -> str:
    """``host:port/database`` for people, without user and password; of several hosts all.

    Raises:
        ValueError: as :func:`connection_parameters` does.
    """
    options = _parse(dsn).options
    hosts = (options.get("host") or options.get("hostaddr") or "localhost").split(",")
    ports = (options.get("port") or "5432").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    places = (
        host if host.startswith(("/", "@")) else f"{host or 'localhost'}:{port or 5432}"
        for host, port in zip(hosts, ports, strict=False)
    )
    name = options.get("dbname")
    return ",".join(places) + (f"/{name}" if name and "=" not in name and "://" not in name else "")


def _parse(dsn: str) -> _Parsed:
    text = dsn.strip()
    parsed = _from_url(text) if "://" in text.split("=", 1)[0] else _from_words(text)
    for port in parsed.options.get("port", "").split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(
                "the DSN's port is not a number from 1 to 65535; if its password holds / or ?, write them "
                "as %2F and %3F"
            )
    if parsed.options.get("sslinline", "") not in ("", "false"):
        raise ValueError("the DSN's sslinline is not supported: name files with the key tls instead")
    return parsed


def _from_url(text: str) -> _Parsed:
    match = _URL.match(text)
    if match is None or match[1].lower() not in _SCHEMES:
        raise ValueError("the DSN is not a URL of PostgreSQL: it starts with postgresql://")
    _scheme, authority, path, query = match.groups(default="")
    # libpq would take what follows the first @ for a host, and show it when it cannot be found.
    if authority.count("@") > 1 or ("@" not in authority and "@" in path):
        raise ValueError("the DSN's user or password holds @ or /: write them as %40 and %2F")
    known, settings, given = [], {}, set()
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(
                "the DSN has a parameter without a value after its ?; a ? in its password is written %3F"
            )
        name = unquote(name)
        if name in _KNOWN:
            known.append(part)
            given.add(name)
        elif name == "sslinline" or name not in _OF_OTHER_DRIVERS:
            # Go's drivers, the only ones that took such parameters, read a plus as a space.
            settings[name] = unquote_plus(value)
    socket: dict[str, str] = {}
    place = authority.rpartition("@")[2]
    if "/" in path[1:] and not place.partition(":")[0] and not given & {"host", "hostaddr"}:
        # sql_exporter's form of a socket: its folder, then the database.
        folder, _, name = path.rpartition("/")
        path, socket = f"/{name}", {"host": unquote(folder)}
    rest = f"?{'&'.join(known)}" if known else ""
    options = _read_by_libpq(f"postgresql://{authority}{path}{rest}") | socket
    return _checked(options, settings)


def _from_words(text: str) -> _Parsed:
    options: dict[str, str] = {}
    settings: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            raise ValueError("the DSN is neither a URL (postgresql://…) nor words like host=… dbname=…")
        name, value = match.groups()
        value = value[1:-1] if value.startswith("'") else value
        value = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        if name in _KNOWN and name != "ssl":
            options[name] = value
        elif name not in _OF_OTHER_DRIVERS:
            settings[name] = value
        at = match.end()
    if not options:
        raise ValueError("the DSN is empty: it names no database")
    return _checked(options, settings)


def _checked(options: dict[str, str], settings: dict[str, str]) -> _Parsed:
    if "sslinline" in settings:
        options["sslinline"] = settings.pop("sslinline")
    if any(not re.fullmatch(r"[A-Za-z_][\w.]*", name, re.ASCII) for name in settings):
        raise ValueError(
            "the DSN has a parameter whose name cannot be that of a setting; if its user or password holds "
            "?, & or spaces, escape them"
        )
    if any("\0" in value for value in _all(options, settings)):
        raise ValueError("the DSN holds a zero byte")
    return _Parsed(options, settings)


def _all(*mappings: Mapping[str, str]) -> Iterable[str]:
    return (value for mapping in mappings for value in mapping.values())


def _read_by_libpq(url: str) -> dict[str, str]:
    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error as error:
        # libpq quotes what it did not understand: say in our own words what that was.
        if "percent-encoded" in str(error):
            why = "a % is not followed by two hexadecimal digits: write a literal % as %25"
        elif "IPv6" in str(error):
            why = "its IPv6 address lacks the ]"
        else:
            why = "it should look like postgresql://user:password@host:5432/database"
    raise ValueError(f"the DSN cannot be read: {why}")


def _positive(value: str | None) -> bool:
    return value is not None and value.strip().isdigit() and int(value) > 0


def _escape(value: str) -> str:
    """*value* as libpq's ``options`` want it: the server splits them at spaces that no backslash precedes."""
    return re.sub(r"([\s\\])", r"\\\1", value)
