"""From alerts to messages: what is owed to people, when, in which groups and in which words."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from exporter.config.alerts import AlertsSettings
from exporter.model.alerts import Alert, AlertState, Notice, NoticeKind, Told
from exporter.sinks.alerts.book import Book
from exporter.sinks.alerts.context import Describer, link, plain
from exporter.sinks.alerts.quiet import Quiet
from exporter.sinks.alerts.templates import Template, TemplateFault
from exporter.sinks.alerts.texts import TEXTS
from exporter.sinks.alerts.watch import Scene, Watch

log = logging.getLogger(__name__)

LONGEST_TITLE = 250
LONGEST_TEXT = 4_000
_LONGEST_OF_MANY = 1_000
_LISTED = 20
FLAPPING = "flapping"
_NOT_NEW = {"repeated": ", still", FLAPPING: ", again and again"}
"""What a title about several ends with, so that nobody takes it for news."""


@dataclass(frozen=True, slots=True)
class Owed:
    """That people are to be told of ``state``, not before ``due``; ``word`` is what templates call it."""

    state: AlertState
    kind: NoticeKind
    word: str
    due: datetime


class Voice:
    """What one rule says: its templates, or ours where it has none or they fail.

    ``fault`` is how the last one failed, ``None`` if none did.
    """

    def __init__(self, watch: Watch[Any], describer: Describer) -> None:
        rule = watch.rule
        self.watch = watch
        self._describer = describer
        self._texts = TEXTS[rule.kind]
        self._ours = (Template(self._texts.title, LONGEST_TITLE), Template(self._texts.text, LONGEST_TEXT))
        self.title = self._own("title", rule.title, LONGEST_TITLE) or self._ours[0]
        self.text = self._own("text", rule.text, LONGEST_TEXT) or self._ours[1]
        self.fault: str | None = None

    def _own(self, key: str, source: str | None, longest: int) -> Template | None:
        try:
            return Template(source, longest) if source is not None else None
        except TemplateFault as error:
            raise TemplateFault(f"{key}: {error}") from None

    def alert(self, owed: Owed, scene: Scene) -> Alert:
        """What people and their tools are told of one alert."""
        context = self._describer.context(self.watch, owed.state, owed.word, scene)
        try:
            title, text = self.title.render(context), self.text.render(context)
        except TemplateFault as error:
            if self.fault is None:
                extra = {"rule": self.watch.rule.name, "error": str(error)}
                log.warning("a template failed; the default one is used", extra=extra)
            self.fault = str(error)
            title, text = (one.render(context) for one in self._ours)
        run = context["fixed_by"] or context["run"]
        return Alert(
            fingerprint=owed.state.fingerprint,
            rule=self.watch.rule.name,
            severity=self.watch.rule.severity,
            labels=dict(owed.state.labels),
            title=plain(title, LONGEST_TITLE) or self.watch.rule.name,
            text=text,
            started_at=owed.state.started_at,
            resolved_at=owed.state.resolved_at,
            url=link(run["url"]) if run else "",
            momentary=bool(owed.state.about.get("once")) or not self.watch.rule.resolved,
        )

    def try_out(self, state: AlertState, word: str, scene: Scene, *, any_label: bool) -> None:
        """Render both templates for *state*; with *any_label*, as if it had every label that they name.

        Raises:
            TemplateFault: one fails.
        """
        context = self._describer.context(self.watch, state, word, scene)
        if any_label:
            context["labels"] = context["alert"]["labels"] = _AnyLabel(context["labels"])
        for key, template in (("title", self.title), ("text", self.text)):
            try:
                template.render(context)
            except TemplateFault as error:
                raise TemplateFault(f"{key}: {error}") from None

    def many(self, alerts: Sequence[Alert], word: str) -> tuple[str, str]:
        """Title and text of one message about several *alerts*; *word* as in :class:`Owed`."""
        phrase = self._texts.many_over if word == "resolved" else self._texts.many
        title = phrase.format(n=len(alerts), of=_of_whom(alerts)) + _NOT_NEW.get(word, "")
        lines = [f"- {one.title}" + (f"\n  {one.url}" if one.url else "") for one in alerts[:_LISTED]]
        if len(alerts) > _LISTED:
            lines.append(f"- and {len(alerts) - _LISTED} more")
        return plain(title, LONGEST_TITLE), "\n".join(lines)


class _AnyLabel(dict[str, str]):
    """Labels of a sample, of which more may turn out to exist."""

    def __missing__(self, name: str) -> str:
        return name


def _of_whom(alerts: Sequence[Alert]) -> str:
    """`` of group X`` or `` of the project``, if all *alerts* are of one."""
    projects = {alert.labels.get("project", "") for alert in alerts}
    if len(projects) == 1:
        (project,) = projects
        return f" of {plain(project)}" if project else ""
    groups = {project.partition("/")[0] for project in projects}
    return f" of group {plain(groups.pop())}" if len(groups) == 1 else ""


class Teller:
    """Makes messages of what is owed, and notes in the book what people know then."""

    def __init__(
        self, settings: AlertsSettings, watches: Sequence[Watch[Any]], book: Book, zone: tzinfo
    ) -> None:
        self._settings = settings
        self._book = book
        self._wait = timedelta(seconds=settings.group_wait_seconds)
        describer = Describer(zone)
        self.voices = {watch.rule.name: Voice(watch, describer) for watch in watches}
        self._quiet = {
            watch.rule.name: Quiet(hours, zone)
            for watch in watches
            if (hours := watch.rule.quiet_hours or settings.quiet_hours)
        }

    def due(self, now: datetime) -> bool:
        """Whether anything is to be told now."""
        return any(self._due(voice, now) for voice in self.voices.values())

    def next_due(self) -> datetime | None:
        """When the next message is due, if nothing else happens; quiet hours are left out of account."""
        states = [(voice, state) for voice in self.voices.values() for state in self._states(voice)]
        return min((owed.due for voice, state in states if (owed := self._owed(voice, state))), default=None)

    def tell(self, scene: Scene) -> list[Notice]:
        """The messages that are due, and what else goes into the same groups."""
        notices: list[Notice] = []
        for voice in self.voices.values():
            for group in self._due(voice, scene.now):
                notices += self._notices(voice, group, scene)
                for owed in group:
                    self._note(owed, scene.now)
        return notices

    def _due(self, voice: Voice, now: datetime) -> list[list[Owed]]:
        """The groups of what is owed by one rule of which at least one is due."""
        rule = voice.watch.rule
        quiet = self._quiet.get(rule.name)
        groups: dict[tuple[str, ...], list[Owed]] = defaultdict(list)
        for state in self._states(voice):
            owed = self._owed(voice, state)
            if owed and (owed.due <= now or owed.kind is not NoticeKind.REPEATED):
                groups[owed.word, owed.kind.value, self._group(rule.group_by, state)].append(owed)
        if quiet and groups and quiet.hold(rule.severity, now):
            return []
        return [group for group in groups.values() if min(owed.due for owed in group) <= now]

    def _states(self, voice: Voice) -> list[AlertState]:
        return self._book.of_rule(voice.watch.rule.name)

    def _owed(self, voice: Voice, state: AlertState) -> Owed | None:
        """What is still to be told of *state*."""
        waited = state.changed_at + self._wait
        if state.flapping:
            if state.flapping_told:
                return None
            known = state.told is Told.FIRING
            return Owed(state, NoticeKind.REPEATED if known else NoticeKind.FIRING, FLAPPING, waited)
        if state.stands and state.told is not Told.FIRING:
            return Owed(state, NoticeKind.FIRING, "firing", waited)
        if state.stands and state.told_at and (pause := self._pause(voice)):
            return Owed(state, NoticeKind.REPEATED, "repeated", state.told_at + pause)
        if not state.stands and state.told is Told.FIRING and voice.watch.rule.resolved:
            return Owed(state, NoticeKind.RESOLVED, "resolved", waited)
        return None

    def _pause(self, voice: Voice) -> timedelta | None:
        """After what time a rule tells again; ``None`` for never."""
        seconds = voice.watch.rule.repeat_interval_seconds
        if seconds is None:
            seconds = self._settings.repeat_interval_seconds
        return timedelta(seconds=seconds) if seconds else None

    def _group(self, by: str | None, state: AlertState) -> str:
        project = state.labels.get("project", "")
        match by or self._settings.group_by:
            case "group":
                return project.partition("/")[0]
            case "project":
                return project
            case "alert":
                return state.fingerprint
        return ""

    def _notices(self, voice: Voice, group: Iterable[Owed], scene: Scene) -> list[Notice]:
        told = sorted(group, key=lambda owed: (owed.state.started_at, sorted(owed.state.labels.items())))
        alerts = [voice.alert(owed, scene) for owed in told]
        kind = told[0].kind
        if len(alerts) == 1:
            title, body = alerts[0].title, alerts[0].text
        else:
            title, body = voice.many(alerts, told[0].word)
            alerts = [replace(one, text=one.text[:_LONGEST_OF_MANY]) for one in alerts]
        channels = voice.watch.rule.channels
        return [
            Notice(channel, kind, title, body, tuple(alerts), scene.now)
            for channel in (self._settings.channels if channels is None else dict.fromkeys(channels))
        ]

    def _note(self, owed: Owed, now: datetime) -> None:
        """People know."""
        if owed.state.about.get("once"):
            self._book.drop(owed.state)
            return
        told = Told.RESOLVED if owed.kind is NoticeKind.RESOLVED else Told.FIRING
        flapping_told = owed.state.flapping_told or owed.word == FLAPPING
        self._book.put(replace(owed.state, told=told, told_at=now, flapping_told=flapping_told))
