"""How the environments of one project stand, from one poll to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import TypeAdapter

from collectors.gitlab.deployments.mapping import SHOWN, Environment
from collectors.gitlab.deployments.settings import Environments
from exporter.model.delivery import Behind, Commit, Deployment, Standing
from exporter.model.runs import Status


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the polling of one project stands, as saved with each batch.

    ``updated_at`` is the newest change read, and ``catching_up`` whether more were waiting behind it.
    ``unread`` are deployments of which GitLab said nothing usable.
    ``standings`` are the environments that are shown, by the name under which they are; ``head`` is the
    newest commit of the default branch, and ``compared`` the pairs of commits whose distance is known.
    ``environments_read_at`` is when both were read.
    """

    updated_at: datetime | None = None
    catching_up: bool = False
    unread: tuple[int, ...] = ()
    environments_read_at: datetime | None = None
    head: Commit | None = None
    standings: dict[str, Standing] = field(default_factory=dict)
    compared: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return CURSORS.dump_json(self, exclude_none=True).decode()


CURSORS = TypeAdapter(Cursor)


def select(
    environments: Iterable[Environment], selection: Environments
) -> tuple[dict[str, list[Environment]], dict[str, list[Environment]]]:
    """Environments by the name under which they are shown, and those for which there is no room."""
    by_label: dict[str, list[Environment]] = {}
    for one in sorted(environments, key=lambda one: one.number):
        if (label := selection.label(one.name)) is not None:
            by_label.setdefault(label, []).append(one)
    labels = list(by_label)
    room = selection.max_environments
    return {label: by_label[label] for label in labels[:room]}, {
        label: by_label[label] for label in labels[room:]
    }


def listed(found: Mapping[str, list[Environment]], before: Mapping[str, Standing]) -> dict[str, Standing]:
    """The standings of the environments that there are now; the others vanish.

    A group has the tier of its oldest environment.
    """
    standings = {}
    for label, members in found.items():
        known = before.get(label, Standing(members[0].tier))
        standings[label] = replace(known, tier=members[0].tier, environments=len(members))
    return standings


def with_deployments(
    standings: Mapping[str, Standing], deployments: Iterable[Deployment], selection: Environments
) -> dict[str, Standing]:
    """*standings* with what *deployments*, in any order, say of the newest ones."""
    after = dict(standings)
    for one in deployments:
        label = selection.label(one.environment)
        if label is None or label not in after or one.status not in SHOWN:
            continue
        standing = after[label]
        if _is_newest(one, standing.newest):
            standing = replace(standing, newest=one)
        if one.status is Status.SUCCESS and _is_newest(one, standing.deployed):
            standing = replace(standing, deployed=one)
        after[label] = standing
    return after


def _is_newest(one: Deployment, known: Deployment | None) -> bool:
    """Whether *one* is newer than what is known, or the same as it is now."""
    if known is None or one.deployment_id != known.deployment_id:
        return known is None or one.deployment_id > known.deployment_id
    return one.updated_at >= known.updated_at


def behind(old: Commit, head: Commit, commits: int) -> Behind:
    """How far *old* is behind *head*, which has *commits* that it lacks."""
    if old.committed_at is None or head.committed_at is None:
        return Behind(commits, None)
    return Behind(commits, max(0.0, (head.committed_at - old.committed_at).total_seconds()))
