"""A fleet of runners and the jobs that wait for it, and how they become samples; knows no vendor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from exporter import ci_families
from exporter.clock import timestamp
from exporter.families import Family, Sample
from exporter.model.runners import RunnerType

PROJECT, GROUP, INSTANCE = RunnerType.PROJECT.value, RunnerType.GROUP.value, RunnerType.INSTANCE.value
TYPES = (INSTANCE, GROUP, PROJECT)
ONLINE, OFFLINE, STALE, NEVER_CONTACTED = "online", "offline", "stale", "never_contacted"
STATUSES = (ONLINE, OFFLINE, STALE, NEVER_CONTACTED)
UNKNOWN = RunnerType.UNKNOWN.value
_NOBODY = "none"
_OTHER_TAGS = "other"
_LONGEST_LABEL = 1_000


@dataclass(frozen=True, slots=True)
class Runner:
    """One runner, by its id at the source.

    ``tags`` are ``None`` while unknown. ``projects`` (ids) and ``groups`` (paths) are whose jobs a runner of
    that type takes, ``None`` if the source does not tell. ``jobs_running`` is ``None`` while unknown.
    ``named`` is the name by which a source knows its runners that gives them no numbers; then the id is
    only their place in the list.
    """

    runner_id: int
    runner_type: str
    status: str
    paused: bool
    description: str
    contacted_at: datetime | None = None
    tags: tuple[str, ...] | None = None
    run_untagged: bool = True
    version: str = ""
    platform: str = ""
    architecture: str = ""
    projects: frozenset[str] | None = None
    groups: frozenset[str] | None = None
    jobs_running: int | None = None
    named: str = ""

    @property
    def label(self) -> str:
        """What tells its series from those of others."""
        return self.named or str(self.runner_id)

    @property
    def available(self) -> bool:
        """Whether it may take a job now."""
        return self.status == ONLINE and not self.paused

    def accepts(self, tags: frozenset[str]) -> bool:
        """Whether it takes jobs with *tags*; one whose own are unknown might."""
        if self.tags is None:
            return True
        return tags <= set(self.tags) if tags else self.run_untagged


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that waits for a runner; ``project`` is an id, ``path`` begins with those of the groups above."""

    job_id: int
    tags: frozenset[str]
    project: str
    path: str
    queued_at: datetime


@dataclass(frozen=True, slots=True)
class Fleet:
    """What one poll saw; ``waiting`` is ``None`` if the queue was not, or could not be, read."""

    runners: Sequence[Runner]
    waiting: Sequence[WaitingJob] | None


@dataclass(slots=True)
class _Takers:
    """Whose jobs are taken, of those with certain tags."""

    instance: bool = False
    any_group: bool = False
    any_project: bool = False
    groups: set[str] = field(default_factory=set)
    projects: set[str] = field(default_factory=set)

    @classmethod
    def among(cls, runners: Iterable[Runner]) -> _Takers:
        """What *runners* cover."""
        takers = cls()
        for runner in runners:
            takers._add(runner)
        return takers

    def _add(self, runner: Runner) -> None:
        if runner.runner_type == PROJECT:
            self.any_project |= runner.projects is None
            self.projects |= runner.projects or set()
        elif runner.runner_type == GROUP:
            self.any_group |= runner.groups is None
            self.groups |= runner.groups or set()
        else:
            self.instance = True

    def narrowest(self, job: WaitingJob) -> str:
        """The narrowest type of runner that takes *job*, ``none`` if no runner does."""
        if self.any_project or job.project in self.projects:
            return PROJECT
        if self.any_group or self.groups & _above(job.path):
            return GROUP
        return INSTANCE if self.instance else _NOBODY


class _ByTag:
    """Runners by their tags: thousands of both, looked at one by one, would keep a poll busy for minutes."""

    def __init__(self, runners: Iterable[Runner]) -> None:
        self._untagged: list[Runner] = []
        self._unknown: list[Runner] = []
        self._with: dict[str, list[Runner]] = {}
        for runner in runners:
            if runner.accepts(frozenset()):
                self._untagged.append(runner)
            if runner.tags is None:
                self._unknown.append(runner)
            for tag in runner.tags or ():
                self._with.setdefault(tag, []).append(runner)

    def accepting(self, tags: frozenset[str]) -> list[Runner]:
        """The runners that take jobs with *tags*."""
        if not tags:
            return self._untagged
        rarest = min((self._with.get(tag, []) for tag in tags), key=len)
        return self._unknown + [runner for runner in rarest if runner.accepts(tags)]


def _above(path: str) -> set[str]:
    """The paths of all groups that a project is in."""
    parts = path.split("/")[:-1]
    return {"/".join(parts[: depth + 1]) for depth in range(len(parts))}


def samples(
    provider: str, fleet: Fleet, shown: Sequence[Runner], *, max_tag_sets: int
) -> dict[Family, list[Sample]]:
    """Everything that is exposed of *fleet*; only the runners *shown* have series of their own."""
    found: dict[Family, list[Sample]] = {family: [] for family in ci_families.RUNNER_FAMILIES}
    found[ci_families.RUNNERS] = _counts(provider, fleet.runners)
    for runner in sorted(shown, key=lambda runner: runner.runner_id):
        _add_runner(found, provider, runner)
    _add_queue(found, provider, fleet, max_tag_sets)
    return found


def _counts(provider: str, runners: Iterable[Runner]) -> list[Sample]:
    """How many runners there are of each type and status; 0 where there are none."""
    counts = Counter({(kind, status): 0 for kind in TYPES for status in STATUSES})
    counts.update((runner.runner_type, runner.status) for runner in runners)
    return [Sample((provider, *key), float(count)) for key, count in sorted(counts.items())]


def info(provider: str, runner: Runner) -> Sample:
    """The sample that describes *runner*."""
    about = (runner.description, runner.version, runner.platform, runner.architecture)
    labels = map(_short, (*about, ",".join(sorted(runner.tags or ()))))
    return Sample((provider, runner.label, runner.runner_type, *labels), 1.0)


def _short(text: str) -> str:
    """*text*, cut to what a label value may cost: the source allows any length."""
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def _add_runner(found: dict[Family, list[Sample]], provider: str, runner: Runner) -> None:
    """Add what is exposed of one runner; what is unknown is left out."""
    labels = (provider, runner.label)
    found[ci_families.RUNNER_INFO].append(info(provider, runner))
    found[ci_families.RUNNER_ONLINE].append(Sample(labels, float(runner.status == ONLINE)))
    found[ci_families.RUNNER_PAUSED].append(Sample(labels, float(runner.paused)))
    if runner.contacted_at is not None:
        contact = Sample(labels, timestamp(runner.contacted_at))
        found[ci_families.RUNNER_LAST_CONTACT].append(contact)
    if runner.jobs_running is not None:
        found[ci_families.RUNNER_JOBS].append(Sample(labels, float(runner.jobs_running)))


def _add_queue(found: dict[Family, list[Sample]], provider: str, fleet: Fleet, max_tag_sets: int) -> None:
    """Add the waiting jobs, each once: by its tags, and by who may take it."""
    kept = _most_frequent([job.tags for job in fleet.waiting or ()], max_tag_sets)
    available = _ByTag(runner for runner in fleet.runners if runner.available)
    takers: dict[frozenset[str], _Takers] = {}
    queue: dict[tuple[str, str], list[datetime]] = {}
    for job in fleet.waiting or ():
        if job.tags not in takers:
            takers[job.tags] = _Takers.among(available.accepting(job.tags))
        tags = _short(",".join(sorted(job.tags))) if job.tags in kept else _OTHER_TAGS
        queue.setdefault((takers[job.tags].narrowest(job), tags), []).append(job.queued_at)
    for key, since in sorted(queue.items()):
        found[ci_families.QUEUE_JOBS].append(Sample((provider, *key), float(len(since))))
        oldest = Sample((provider, *key), timestamp(min(since)))
        found[ci_families.QUEUE_OLDEST].append(oldest)


def _most_frequent(sets: Iterable[frozenset[str]], at_most: int) -> set[frozenset[str]]:
    """The sets of tags with the most jobs; of equals, the first by name."""
    counts = Counter(sets)
    return set(sorted(counts, key=lambda tags: (-counts[tags], sorted(tags)))[:at_most])
