"""What every collector of runners has in common: one fleet that is polled, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from pydantic import Field

from collectors import _fleet
from collectors._api import ApiCollector, Client
from collectors._connection import Connection
from collectors._fleet import Fleet, Runner
from collectors._http import NotThere
from exporter import ci_families
from exporter.contract import Discovery, Schedule, Trouble, Unit, UnitTrouble
from exporter.errors import UnitUnavailable
from exporter.families import Family, Sample


class FleetConfig(Connection):
    """The keys of every collector of runners."""

    poll_interval_seconds: float = Field(default=60, gt=0, description="wait between two polls")
    poll_interval_max_seconds: float = Field(
        default=300, gt=0, description="while the source fails it is asked less and less often, down to this"
    )


C = TypeVar("C", bound=FleetConfig)
A = TypeVar("A", bound=Client)


class FleetCollector(ApiCollector[C, A], Generic[C, A]):
    """All runners that the configuration names as one fleet, the only unit.

    ``fleet_provider`` is the label ``provider`` of what it shows; ``provider`` itself is for collectors that
    keep runs. ``no_room`` is the key that says how many runners have series of their own.
    """

    families = ci_families.RUNNER_FAMILIES
    unit_noun = "fleets"
    fleet_provider: ClassVar[str]
    no_room: ClassVar[str] = "max_runners"

    @property
    def schedule(self) -> Schedule:
        """How often to poll; what a poll brings is always news, so only failures make it rarer."""
        interval = self.config.poll_interval_seconds
        return Schedule(interval, max(interval, self.config.poll_interval_max_seconds))

    def discover(self) -> Discovery:
        """The one fleet there is."""
        return Discovery((Unit(self.name, self.config.host_and_path),))

    def _samples(
        self, fleet: Fleet, chosen: Sequence[Runner], *, at_most: int, max_tag_sets: int
    ) -> dict[Family, list[Sample]]:
        """What is exposed of *fleet*: of the runners *chosen*, the first *at_most* have series of their own.

        Those for which there is no room are counted as left out.
        """
        surplus = [_fleet.info(self.fleet_provider, runner) for runner in chosen[at_most:]]
        self.context.page.note_dropped(ci_families.RUNNER_INFO, self.no_room, surplus)
        return _fleet.samples(self.fleet_provider, fleet, chosen[:at_most], max_tag_sets=max_tag_sets)


# -- scopes ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose runners they are; ``path`` is where the API has them, ``name`` what people call it."""

    path: str
    runner_type: str
    name: str

    @property
    def groups(self) -> frozenset[str] | None:
        """The groups whose jobs its runners take, as a `Runner` has them."""
        return frozenset((self.name,)) if self.runner_type == _fleet.GROUP else None

    @property
    def projects(self) -> frozenset[str] | None:
        """The projects whose jobs its runners take, as a `Runner` has them."""
        return frozenset((self.name,)) if self.runner_type == _fleet.PROJECT else None


def read_each(scopes: Sequence[Scope], read: Callable[[Scope], None], source: str) -> list[UnitTrouble]:
    """Have each scope read; returns why some could not be, in the words of *source*.

    Raises:
        UnitUnavailable: none could.
    """
    troubles = []
    for scope in scopes:
        try:
            read(scope)
        except NotThere as error:
            troubles.append(_trouble(scope, error, source))
    if len(troubles) == len(scopes):
        raise unavailable(troubles)
    return troubles


def _trouble(scope: Scope, error: NotThere, source: str) -> UnitTrouble:
    if error.status == 404:
        detail = f"{source} says 404: it does not exist, or the token may not read its runners"
        return UnitTrouble(scope.name, Trouble.NOT_FOUND, detail)
    return UnitTrouble(
        scope.name, Trouble.FORBIDDEN, f"{source} says 403: this token may not read its runners"
    )


def unavailable(troubles: Sequence[UnitTrouble]) -> UnitUnavailable:
    """The error of a poll in which no scope could be read; it names them, as it is told of the unit."""
    return UnitUnavailable(_named(troubles), troubles[0].reason)


def together(troubles: Sequence[UnitTrouble]) -> UnitTrouble:
    """One trouble that tells all: a poll can report no more."""
    if len(troubles) == 1:
        return troubles[0]
    names = ", ".join(trouble.name for trouble in troubles)
    return UnitTrouble(names, troubles[0].reason, _named(troubles))


def _named(troubles: Sequence[UnitTrouble]) -> str:
    return "; ".join(f"{trouble.name}: {trouble.detail}" for trouble in troubles)
