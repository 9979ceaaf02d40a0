"""What a rule at work is: it hears of changes, or looks from time to time, and says what is wrong."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar

from exporter.config.rules import AnyRule
from exporter.model.alerts import AlertState
from exporter.sinks.alerts.book import Book, Subject
from exporter.sinks.alerts.changes import Change
from exporter.sinks.base import Shown
from exporter.store.records import Records

R = TypeVar("R", bound=AnyRule)

# What a rule says to whom and how; a change of it is no reason to forget what stands.
_PRESENTATION = {
    "channels",
    "group_by",
    "labels",
    "quiet_hours",
    "repeat_interval_seconds",
    "resolved",
    "severity",
    "text",
    "title",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """The moment in which a rule looks: the time, what is stored, and what is shown (``None``: unknown).

    ``providers`` are those of the targets that are configured.
    """

    now: datetime
    records: Records
    providers: Mapping[str, str]
    shown: Shown | None = None


@dataclass(frozen=True, slots=True)
class Globs:
    """Globs of a rule: a text must match one of those without ``!``, if there are any, and none with it."""

    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]

    @classmethod
    def of(cls, globs: Sequence[str]) -> Globs:
        """*globs* as they are written."""
        return cls(
            tuple(glob for glob in globs if not glob.startswith("!")),
            tuple(glob[1:] for glob in globs if glob.startswith("!")),
        )

    def match(self, text: str | None) -> bool:
        """Whether *text* is meant."""
        return _match(self, text or "")


@lru_cache(maxsize=10_000)
def _match(globs: Globs, text: str) -> bool:
    if any(fnmatch.fnmatchcase(text, glob) for glob in globs.unwanted):
        return False
    return not globs.wanted or any(fnmatch.fnmatchcase(text, glob) for glob in globs.wanted)


class Watch(Generic[R]):
    """One rule at work. ``replayable`` ones can be tried on stored history."""

    replayable: ClassVar[bool] = True

    def __init__(self, rule: R, book: Book) -> None:
        self.rule = rule
        self.book = book
        self.definition = _definition(rule)

    @property
    def hears_jobs(self) -> bool:
        """Whether changes of jobs mean anything to it."""
        return False

    def begin(self, scene: Scene, *, first: bool) -> None:
        """A process begins to watch; *first*: nobody ever did with this store."""

    def change(self, change: Change, scene: Scene) -> None:
        """Something happened."""

    def look(self, scene: Scene) -> None:
        """Time has passed."""

    def keep_house(self, scene: Scene) -> None:
        """End silently what no longer exists; asked every minute."""

    def facts(self, state: AlertState, scene: Scene) -> dict[str, Any]:
        """What templates are told about *state* besides itself."""
        return {}

    def standing(self) -> list[AlertState]:
        """The alerts of the rule that stand."""
        return [state for state in self.book.of_rule(self.rule.name) if state.stands]

    def stand(self, subject: Subject, scene: Scene) -> None:
        """Note that *subject* is wrong."""
        labels: Mapping[str, str] = {**subject.labels, **self.rule.labels}
        labelled = Subject(subject.identity, labels, subject.about, subject.since)
        self.book.stand(self.rule.name, self.definition, labelled, scene.now)

    def end(self, state: AlertState, scene: Scene, **about: Any) -> None:
        """Note that what *state* tells of is well again."""
        self.book.mend(state, scene.now, silently=not self.rule.resolved, **about)


def _definition(rule: AnyRule) -> str:
    """A hash of what *rule* looks for."""
    said = rule.model_dump(mode="json", exclude=_PRESENTATION)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
