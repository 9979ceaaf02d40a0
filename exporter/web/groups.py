"""Which address answers which endpoints."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from exporter.config.address import Address
from exporter.errors import ExporterError
from exporter.web.listen import address_of, bind_each, close_all, parse


class Group(StrEnum):
    """Endpoints that move to another address together; ``exporter.web.app`` says which they are.

    A new member needs its routes there, and its addresses in ``exporter.serving``.
    """

    METRICS = "metrics"
    HEALTH = "health"
    ADMIN = "admin"
    API = "api"
    HOOKS = "hooks"


EVERYTHING = frozenset(Group)
EVERYWHERE = frozenset({Group.HEALTH})
"""Answered on every address."""
OPEN = frozenset({Group.HEALTH})
"""What an address may answer, and no more, to need neither TLS nor a password."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Sockets that answer the same ``groups``."""

    sockets: Sequence[socket.socket]
    groups: frozenset[Group]

    @property
    def guarded(self) -> bool:
        """Whether TLS, passwords and headers of a web configuration file apply here."""
        return not self.groups <= OPEN

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as it would be written in the configuration."""
        return [address_of(one) for one in self.sockets]

    def close(self) -> None:
        """Close the sockets; for a listener that no server took."""
        close_all(self.sockets)


def group_named(name: str) -> Group:
    """The group that a socket of systemd is for; a socket unit that names none is for the metrics."""
    return Group(name) if name in list(Group) else Group.METRICS


def open_listeners(
    addresses: Mapping[Group, Sequence[str]], passed: Sequence[tuple[Group, socket.socket]] = ()
) -> list[Listener]:
    """Listeners on *addresses*, and on the *passed* sockets that are bound already.

    A group without an address of its own is answered where the metrics are. An address that is written for
    two groups answers both.

    Raises:
        ExporterError: an address cannot be taken; nothing stays open then.
    """
    try:
        answers = _answers(addresses, [group for group, _ in passed])
        wanted: dict[Address, set[Group]] = {}
        texts: dict[Address, str] = {}
        for group, written in addresses.items():
            for text in written:
                address = parse(text)
                texts.setdefault(address, text)
                wanted.setdefault(address, set()).update(answers[group])
        bound = bind_each(list(texts.values()), [one for _, one in passed])
    except BaseException:
        close_all([one for _, one in passed])
        raise
    by_groups: dict[frozenset[Group], list[socket.socket]] = {}
    for group, one in passed:
        by_groups.setdefault(answers[group], []).append(one)
    for groups, sockets in zip(wanted.values(), bound, strict=True):
        by_groups.setdefault(frozenset(groups), []).extend(sockets)
    return [Listener(sockets, groups) for groups, sockets in by_groups.items()]


def _answers(
    addresses: Mapping[Group, Sequence[str]], passed: Sequence[Group]
) -> dict[Group, frozenset[Group]]:
    """What is answered on an address that is written for a group."""
    apart = {group for group, written in addresses.items() if written} | set(passed)
    if apart and Group.METRICS not in apart:
        raise ExporterError("none of the sockets that systemd passed is for the metrics")
    found = {group: frozenset({group}) | EVERYWHERE for group in Group}
    found[Group.METRICS] |= EVERYTHING - apart
    return found
