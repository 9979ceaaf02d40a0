"""What is to be run where: the query files of every database, and the families they feed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape, glob
from importlib.resources import files
from pathlib import Path

from collectors.postgres.families import OWN, family_of, kind_of, own_labels
from collectors.postgres.overlay import Overlay
from collectors.postgres.queryfile import read_query_file
from collectors.postgres.settings import SHIPPED, PostgresConfig
from collectors.postgres.spec import Metric, Query, QueryFile
from exporter.errors import ConfigError, Problem
from exporter.families import Family

_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Job:
    """One query file of one database: what one poll runs.

    ``labels`` are on every series of it. ``names`` say how each of its queries is called in metrics and
    messages: as in the file, and more exactly where that would not be unique in the database.
    """

    database: str
    file: QueryFile
    labels: Mapping[str, str]
    names: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its lasting identity, under which totals are kept."""
        return f"{self.database}/{self.file.name}"

    @property
    def queries(self) -> list[tuple[str, Query]]:
        """The queries with their names, in the order in which they run."""
        return list(zip(self.names, self.file.queries, strict=True))


@dataclass(frozen=True, slots=True)
class Plan:
    """All jobs by key; ``families`` by metric name, those of our own not included."""

    jobs: Mapping[str, Job]
    families: Mapping[str, Family]

    @property
    def shared(self) -> frozenset[Family]:
        """Families that several jobs feed, and so might with the very same series."""
        feeders = Counter(name for job in self.jobs.values() for name in {m.name for m in job.file.metrics})
        return frozenset(self.families[name] for name, jobs in feeders.items() if jobs > 1)

    @property
    def kept(self) -> frozenset[Family]:
        """Families whose rows are events, so that their totals are kept."""
        metrics = (metric for job in self.jobs.values() for metric in job.file.metrics)
        return frozenset(self.families[metric.name] for metric in metrics if metric.once)


def make_plan(config: PostgresConfig) -> Plan:
    """Read every file that *config* names.

    Raises:
        ConfigError: with the problems of all files.
    """
    problems: list[Problem] = []
    jobs: dict[str, Job] = {}
    used: set[str] = set()
    for database, settings in config.databases.items():
        label = config.label_of_database
        labels = {**({label: database} if label else {}), **settings.labels}
        problems += _bad_labels(database, label, settings.labels)
        reserved = frozenset(labels)
        found = [
            file
            for path in _paths(database, settings.files, problems)
            if (file := _read(path, config.overlays, reserved, problems))
        ]
        used |= {file.name for file in found}
        for job in _jobs(database, found, labels, problems):
            jobs[job.key] = job
    if not problems:  # a file that cannot be read may be the one that an overlay is for
        problems += [
            Problem(f"collectors.postgres.overlays.{name}", "no query file has this collector_name")
            for name in config.overlays
            if name not in used
        ]
    families = _families(jobs, problems)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Plan(jobs, families)


def shipped_files() -> list[Path]:
    """The query files that come with the program."""
    return sorted(Path(str(files("ci_exporter.queries"))).glob("*.collector.yml"))


def shipped_families() -> list[Family]:
    """The families that those feed, by name."""
    jobs = {path.name: Job("", read_query_file(path), {}, ()) for path in shipped_files()}
    return list(_families(jobs, []).values())


def _bad_labels(database: str, label: str | None, labels: Mapping[str, str]) -> list[Problem]:
    """What is wrong with the names of labels that the configuration puts on every series."""
    places = {f"collectors.postgres.databases.{database}.labels.{name}": name for name in labels}
    if label:
        places["collectors.postgres.database_label"] = label
    return [
        Problem(place, "is not a label name: letters, digits and _, no digit first, not le, no __ in front")
        for place, name in places.items()
        if not _LABEL.fullmatch(name) or name == "le"
    ]


def _paths(database: str, patterns: tuple[Path, ...], problems: list[Problem]) -> list[Path]:
    """The files that *patterns* name, each once, in order."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        paths = _matches(pattern)
        if not paths and _may_be_shipped(pattern):
            # The folder that comes with the program, wherever it was installed to.
            paths = [path for path in shipped_files() if path.match(pattern.name)]
        if not paths:
            problems.append(
                Problem(f"collectors.postgres.databases.{database}.files", f"no file matches {pattern}")
            )
        found.update(dict.fromkeys(paths))
    return list(found)


def _may_be_shipped(pattern: Path) -> bool:
    """Whether *pattern* may mean what comes with the program: as the default, or where no folder hides it."""
    return pattern == SHIPPED or (pattern.parent.name == "queries" and not pattern.parent.exists())


def _matches(pattern: Path) -> list[Path]:
    """The files that *pattern* means; what is there under the very name is meant by it, brackets and all."""
    if pattern.is_file():
        return [pattern]
    folder = next((parent for parent in pattern.parents if parent.is_dir()), Path())
    found = glob(str(Path(escape(str(folder))) / pattern.relative_to(folder)))
    return [path for path in map(Path, sorted(found)) if path.is_file()]


def _read(
    path: Path, overlays: Mapping[str, Overlay], reserved: frozenset[str], problems: list[Problem]
) -> QueryFile | None:
    """The file at *path* with its overlay, or ``None`` and its problems noted."""
    try:
        file = read_query_file(path, reserved=reserved)
        overlay = overlays.get(file.name)
        return read_query_file(path, overlay, reserved=reserved) if overlay else file
    except ConfigError as error:
        problems += error.problems
        return None


def _jobs(
    database: str, found: list[QueryFile], labels: Mapping[str, str], problems: list[Problem]
) -> list[Job]:
    """The jobs of one database."""
    by_name: dict[str, QueryFile] = {}
    for file in found:
        if other := by_name.get(file.name):
            message = f"{other.path.name} has this collector_name already; rename one of them"
            problems.append(Problem("collector_name", message, str(file.path), 1))
        by_name.setdefault(file.name, file)
    users = Counter(name for file in by_name.values() for name in {query.name for query in file.queries})
    return [Job(database, file, labels, _names(file, users)) for file in by_name.values()]


def _names(file: QueryFile, users: Mapping[str, int]) -> tuple[str, ...]:
    """What to call the queries of *file*; *users* tells how many files of the database use a name."""
    seen: Counter[str] = Counter()
    names = []
    for query in file.queries:
        seen[query.name] += 1
        name = query.name if users[query.name] == 1 else f"{file.name}.{query.name}"
        names.append(name if seen[query.name] == 1 else f"{name}.{seen[query.name]}")
    return tuple(names)


def _families(jobs: Mapping[str, Job], problems: list[Problem]) -> dict[str, Family]:
    """``metric name -> family``, over all files and databases."""
    added = dict.fromkeys(label for job in jobs.values() for label in job.labels)
    metrics: dict[str, list[Metric]] = defaultdict(list)
    paths: dict[str, str] = {}
    named = {metric.name for job in jobs.values() for metric in job.file.metrics}
    for job in jobs.values():
        before: list[Metric] = []
        for metric in job.file.metrics:
            same = metrics[metric.name]
            same.append(metric)
            paths.setdefault(metric.name, str(job.file.path))
            found = _clashes(metric, same[0], job.labels) + _mixed_totals(metric, before)
            if metric.once and _stem_taken(metric, named):
                found.append(
                    "is a kept total, and a metric of its name without _total is there, too; rename one"
                )
            before.append(metric)
            problems += [
                Problem(f"metrics.{metric.name}", message, str(job.file.path), metric.line or None)
                for message in found
            ]
    problems += _derived(metrics, paths)
    if problems:
        return {}
    return {
        name: family_of(found, added, whole=_stem_taken(found[0], named)) for name, found in metrics.items()
    }


def _derived(metrics: Mapping[str, list[Metric]], paths: Mapping[str, str]) -> list[Problem]:
    """Metrics that have the name of a histogram's own series."""
    return [
        Problem(
            f"metrics.{name}{suffix}",
            f"is also a series of the histogram {name}; rename one",
            paths[f"{name}{suffix}"],
            metrics[f"{name}{suffix}"][0].line or None,
        )
        for name, found in metrics.items()
        if kind_of(found[0]) == "histogram"
        for suffix in ("_bucket", "_sum", "_count")
        if f"{name}{suffix}" in metrics
    ]


def _stem_taken(metric: Metric, named: set[str]) -> bool:
    """Whether OpenMetrics' names of the counter *metric*, which are without ``_total``, are among *named*."""
    stem = metric.name.removesuffix("_total")
    taken = not named.isdisjoint((stem, f"{stem}_created"))
    return taken and stem != metric.name and kind_of(metric) == "counter"


def _clashes(metric: Metric, first: Metric, labels: Mapping[str, str]) -> list[str]:
    """What keeps *metric* from being shown beside *first*, the first one of its name."""
    found = []
    if metric.name in {family.name for family in OWN}:
        found.append("this name is one of the exporter's own; choose another")
    if kind_of(metric) != kind_of(first):
        found.append(f"is a {kind_of(metric)} here and a {kind_of(first)} elsewhere; a name has one type")
    elif metric.buckets != first.buckets:
        found.append("has other buckets elsewhere; a name has one set of them")
    elif bool(metric.once) != bool(first.once):
        found.append("counts each row once in one place only; a name has once_by everywhere or nowhere")
    if clash := sorted(set(own_labels(metric)) & labels.keys()):
        found.append(
            f"the label {clash[0]} is put on every series of this database; rename it here, or set"
            " database_label or labels of the database"
        )
    return found


def _mixed_totals(metric: Metric, before: list[Metric]) -> list[str]:
    """Whether the totals of *metric* could not be told from those of one *before* it in its file."""
    labels = set(own_labels(metric))
    for other in before:
        constant = dict(other.static_labels)
        apart = any(constant.get(label, text) != text for label, text in metric.static_labels)
        if metric.once and other.name == metric.name and set(own_labels(other)) == labels and not apart:
            return ["counts into the same totals as another metric here; give each a static label of its own"]
    return []
