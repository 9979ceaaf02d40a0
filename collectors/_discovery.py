"""Collecting what there is to watch: by name, or from lists."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from collectors._http import NotThere
from exporter.contract import Discovery, Trouble, Unit, UnitTrouble


class Discoverer(ABC):
    """Collects one discovery; a name that leads nowhere costs only itself.

    ``source`` is who says so, ``forbidden`` what a 403 of it means. *unit_of* makes a unit of what the source
    gives; those that the globs in *exclude* find are left out everywhere.
    """

    source: ClassVar[str]
    forbidden: ClassVar[str] = "this token may not read it"

    def __init__(self, unit_of: Callable[[Any], Unit], exclude: Collection[str]) -> None:
        self._unit_of = unit_of
        self._exclude = exclude
        self._units: dict[str, Unit] = {}
        self._troubles: list[UnitTrouble] = []

    @property
    def discovery(self) -> Discovery:
        """All that was collected."""
        return Discovery(tuple(self._units.values()), tuple(self._troubles))

    @abstractmethod
    def _take(self, unit: Unit, given: Any, *, named: bool) -> bool:
        """Watch *unit*, which was *named* or is of a list, unless something is against it; whether it is."""

    def _named(self, name: str, ask: Callable[[str], Any]) -> None:
        """Take the one unit of that name, or id."""
        try:
            given = ask(name)
        except NotThere as error:
            self._miss(name, error)
            return
        unit = self._unit_of(given)
        if not name.isdigit() and unit.name.lower() != name.strip("/").lower():
            detail = f"it is {unit.name} now; change the configuration"
            self._troubles.append(UnitTrouble(name, Trouble.MOVED, detail))
        if not _matches(unit.name, self._exclude):
            self._take(unit, given, named=True)

    def _listed(self, name: str, pages: Iterable[list[Any]], exclude: Collection[str] = ()) -> list[Unit]:
        """Take all units of a list but the excluded ones; returns those that are watched."""
        taken = []
        exclude = (*self._exclude, *exclude)
        try:
            for page in pages:
                for given in page:
                    unit = self._unit_of(given)
                    if not _matches(unit.name, exclude) and self._take(unit, given, named=False):
                        taken.append(unit)
        except NotThere as error:
            self._miss(name, error)
        return taken

    def _miss(self, name: str, error: NotThere) -> None:
        """Tell what a 403 or 404 means for *name*."""
        if error.status == 404:
            detail = f"{self.source} says 404: it does not exist, or is hidden"
            self._troubles.append(UnitTrouble(name, Trouble.NOT_FOUND, detail))
        else:
            detail = f"{self.source} says 403: {self.forbidden}"
            self._troubles.append(UnitTrouble(name, Trouble.FORBIDDEN, detail))


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
