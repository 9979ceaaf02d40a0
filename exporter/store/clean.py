"""Making records storable: nothing a source sends may keep its batch from ever being saved."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from exporter.contract import Batch, Unit
from exporter.families import Labels
from exporter.model.events import Event
from exporter.model.runs import Execution, JobRun, PipelineRun

log = logging.getLogger(__name__)

R = TypeVar("R", PipelineRun, JobRun)
_LARGEST_ID = 2**63 - 1  # of BIGINT
_LONGEST_SECONDS = 1e12
# PostgreSQL has no NUL in text, and no database has lone surrogates. The other control characters go
# too: JSON would write six bytes for each, and labels must fit into an index entry (below).
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
# Bytes. PostgreSQL refuses index entries over 2,704 bytes: a stage, a job name and a reason together,
# even if every character is a quote that JSON doubles, stay below, and so do a pipeline, ref and source.
_LABEL = 400
_NAME = 1000
_LINK = 4000


def storable(value: str, limit: int = _LABEL) -> str:
    """*value*, with what no database takes replaced, and shortened to *limit* bytes of UTF-8.

    A shortened one ends in a hash of the whole, so that two long names never become one.
    """
    if len(value) <= limit // 4 and value.isprintable():
        return value
    value = _UNSTORABLE.sub("\ufffd", value)
    encoded = value.encode()
    if len(encoded) <= limit:
        return value
    mark = hashlib.sha256(encoded).hexdigest()[:16]
    return f"{encoded[: max(0, limit - 20)].decode(errors='ignore')}…{mark}"


def storable_batch(batch: Batch) -> Batch:
    """*batch* with every value storable; records whose id no database can hold are left out."""
    return replace(
        batch,
        cursor=None if batch.cursor is None else _UNSTORABLE.sub("\ufffd", batch.cursor),
        runs=tuple(_run(run) for run in batch.runs if _id_fits("run", run.run_id)),
        jobs=tuple(_job(job) for job in batch.jobs if _id_fits("job", job.job_id, job.run_id)),
        deleted_runs=tuple(known_ids(batch.deleted_runs)),
        refs={kind: frozenset(storable(ref, _NAME) for ref in refs) for kind, refs in batch.refs.items()},
        unit=storable_unit(batch.unit) if batch.unit else None,
        observations=tuple(event._replace(labels=_labels(event.labels)) for event in batch.observations),
        given_up=tuple((family, _labels(labels)) for family, labels in batch.given_up),
        events=tuple(map(_event, batch.events)),
    )


def _event(event: Event) -> Event:
    """*event* with all but its data storable."""
    return _replaced(
        event,
        id=storable(event.id, _NAME),
        source=storable(event.source, _NAME),
        type=storable(event.type),
        subject=storable(event.subject, _NAME),
        key=storable(event.key, _NAME),
    )


def _labels(labels: Labels) -> Labels:
    """*labels*, so that they fit into an index entry all together."""
    limit = 3 * _LABEL // max(3, len(labels))
    return tuple(label and storable(label, limit) for label in labels)


def storable_unit(unit: Unit) -> Unit:
    """*unit* with every text storable."""
    return _replaced(
        unit,
        key=storable(unit.key, _NAME),
        name=storable(unit.name, _NAME),
        default_branch=storable(unit.default_branch, _NAME),
    )


def known_ids(run_ids: Iterable[int]) -> list[int]:
    """Those *run_ids* that can be in a database at all."""
    return [run_id for run_id in run_ids if abs(run_id) <= _LARGEST_ID]


def _run(run: PipelineRun) -> PipelineRun:
    return _replaced(
        run,
        pipeline=storable(run.pipeline),
        ref=storable(run.ref, _NAME),
        source=storable(run.source),
        username=storable(run.username) if run.username else run.username,
        web_url=storable(run.web_url, _LINK) if run.web_url else run.web_url,
        sha=storable(run.sha) if run.sha else run.sha,
        commit_title=storable(run.commit_title) if run.commit_title else run.commit_title,
        number=run.number if run.number is None or abs(run.number) <= _LARGEST_ID else None,
        duration_seconds=_amount(run.duration_seconds),
        queue_seconds=_amount(run.queue_seconds),
        coverage_ratio=_amount(run.coverage_ratio),
        earlier=_earlier(run.earlier),
    )


def _earlier(execution: Execution | None) -> Execution | None:
    if execution is None:
        return None
    return _replaced(execution, duration_seconds=_amount(execution.duration_seconds))


def _job(job: JobRun) -> JobRun:
    return _replaced(
        job,
        stage=storable(job.stage),
        name=storable(job.name),
        failure_reason=storable(job.failure_reason),
        web_url=storable(job.web_url, _LINK) if job.web_url else job.web_url,
        duration_seconds=_amount(job.duration_seconds),
        queue_seconds=_amount(job.queue_seconds),
    )


def _amount(value: float | None) -> float | None:
    """*value*, or ``None`` if it is no amount: NaN and infinity would spoil a total for ever, and a
    negative duration, of clocks that disagree, would make a counter fall."""
    return value if value is not None and 0 <= value <= _LONGEST_SECONDS else None


def _id_fits(what: str, *ids: int) -> bool:
    """Whether *ids* can be stored; says so if not."""
    if len(known_ids(ids)) == len(ids):
        return True
    log.warning("left out: its id is larger than any database can hold", extra={"kind": what, "ids": ids})
    return False


T = TypeVar("T", PipelineRun, JobRun, Unit, Execution, Event)


def _replaced(record: T, **values: Any) -> T:
    """*record* with *values*; itself if nothing changes, as almost always."""
    changed = {name: value for name, value in values.items() if value is not getattr(record, name)}
    return replace(record, **changed) if changed else record
