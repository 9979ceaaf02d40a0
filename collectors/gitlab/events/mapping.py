"""One event of GitLab as one of ours: who, where and when from its JSON, which itself goes on as sent."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from collectors.gitlab.values import Json, instant, instant_or_none, integer, json_object
from exporter.model.events import Event

STREAM = "gitlab"
_TYPE_PREFIX = "com.gitlab.event."
_LONGEST_WORD = 60
# Source: GitLab, app/models/event.rb (action_name) and doc/user/profile/contributions_calendar.md.
ACTIONS = frozenset(
    (
        "accepted",
        "approved",
        "archived",
        "closed",
        "commented_on",
        "created",
        "deleted",
        "destroyed",
        "imported",
        "joined",
        "left",
        "opened",
        "pushed",
        "pushed_new",
        "pushed_to",
        "removed_due_to_membership_expiration_from",
        "reopened",
        "updated",
    )
)


@dataclass(frozen=True, slots=True)
class Instance:
    """The GitLab that events come from: its name in their ids, and the address in their sources."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Happening:
    """What is read of one event; ``project_id`` is ``None`` where it belongs to no project."""

    created_at: datetime
    project_id: str | None
    event: Event


def happening(
    raw: bytes,
    value: Any,
    instance: Instance,
    *,
    remember_until: datetime,
    unknown: Callable[[str], None],
) -> Happening:
    """The event *value*, which was sent as *raw*; the same from whichever list it comes."""
    entry = json_object(value, "event")
    number = None if entry.get("id") is None else integer(entry, "id")
    project = None if entry.get("project_id") is None else str(integer(entry, "project_id"))
    author = None if entry.get("author_id") is None else str(integer(entry, "author_id"))
    created_at = _created_at(entry)
    where = f"projects/{project}" if project else f"users/{author or 'unknown'}"
    return Happening(
        created_at=created_at,
        project_id=project,
        event=Event(
            stream=STREAM,
            id=f"{instance.name}/{_fingerprint(entry) if number is None else number}",
            source=f"{instance.url}/{where}",
            type=_TYPE_PREFIX + _action(entry, unknown),
            subject=_subject(entry) or where,
            time=created_at,
            key=project or f"user:{author or 'unknown'}",
            data=raw,
            number=number,
            remember_until=remember_until,
        ),
    )


def _created_at(entry: Json) -> datetime:
    """When it happened; of a comment that does not tell, when it was written."""
    note = entry.get("note")
    if entry.get("created_at") is None and isinstance(note, dict):
        return instant(note, "created_at")
    return instant(entry, "created_at")


def _fingerprint(entry: Json) -> str:
    """What tells an event without an id, as old versions send them, from all others."""
    push = entry.get("push_data")
    about = [entry.get(key) for key in ("created_at", "project_id", "author_id", "action_name")]
    about += [entry.get("target_type"), entry.get("target_id"), push if isinstance(push, dict) else None]
    text = json.dumps(about, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _action(entry: Json, unknown: Callable[[str], None]) -> str:
    """The action as one word in small letters; a new one is reported, and told all the same."""
    word = _word(entry.get("action_name"))
    if word not in ACTIONS:
        unknown("action")
    return word or "unknown"


def _word(value: Any) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", value.lower()) if isinstance(value, str) else ""
    return words.strip("_")[:_LONGEST_WORD].rstrip("_")


def _subject(entry: Json) -> str:
    """What it was done to: a merge request, a comment, a branch; empty if only the project is named."""
    kind, target = _word(entry.get("target_type")), entry.get("target_id")
    if kind and isinstance(target, int):
        return f"{kind}/{target}"
    push = entry.get("push_data")
    ref = push.get("ref") if isinstance(push, dict) else None
    if isinstance(push, dict) and isinstance(ref, str) and ref:
        clean = re.sub("[\x00-\x1f\x7f\ud800-\udfff]", "\ufffd", ref)
        return f"{_word(push.get('ref_type')) or 'ref'}/{clean}"
    return ""


def instant_of_day(value: Any) -> datetime | None:
    """The begin in UTC of a day such as ``2026-03-01``; ``None`` for what is none."""
    return instant_or_none(f"{value}T00:00:00Z") if isinstance(value, str) and len(value) == 10 else None
