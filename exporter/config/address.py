"""Addresses to listen on, as people write them: host:port, or the path of a Unix socket."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_PORT = re.compile(r"[0-9]{1,5}")
# Go programs write unix:///run/x.sock, everybody else unix:/run/x.sock.
_SOCKET = re.compile(r"(?://)?(?P<path>/[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*)")
_UNIX = "unix:"
_LONGEST_PATH = 107
"""Bytes that Linux has room for in the address of a Unix socket."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of one host; ``host`` empty means every address of the machine, IPv4 and IPv6."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixPath:
    """A Unix socket; ``path`` is absolute."""

    path: str


Address = HostPort | UnixPath


def read_address(text: str) -> Address:
    """What *text* names; two spellings of one address give equal results.

    Raises:
        ValueError: nobody can listen there; the text goes on after "it".
    """
    if text.startswith(_UNIX):
        return UnixPath(_read_path(text.removeprefix(_UNIX)))
    host, colon, port = text.rpartition(":")
    if not (colon and _PORT.fullmatch(port) and int(port) <= 65535 and _is_host(host)):
        raise ValueError(
            "must be host:port, such as 127.0.0.1:9101, [::1]:9101 or :9101 for every interface,"
            " or unix:/path/to.sock"
        )
    return HostPort(host.strip("[]"), int(port))


def _read_path(text: str) -> str:
    match = _SOCKET.fullmatch(text)
    if match is None:
        # A relative one would depend on the folder that the program was started in.
        raise ValueError("must have an absolute path, such as unix:/run/ci-exporter/metrics.sock")
    size = len(os.fsencode(match["path"]))
    if size > _LONGEST_PATH:
        raise ValueError(f"must have a path of at most {_LONGEST_PATH} bytes for a Unix socket, not {size}")
    return match["path"]


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        try:
            return bool(IPv6Address(host[1:-1]))
        except ValueError:
            return False
    return not host or bool(_HOST.fullmatch(host))


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _address(value: str) -> str:
    read_address(value)
    return value


Addresses = Annotated[tuple[Annotated[str, AfterValidator(_address)], ...], BeforeValidator(_one_or_many)]
"""One address to listen on, or a list of them, as a key of the configuration."""
