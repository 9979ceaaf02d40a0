"""What to keep of two sightings of one record."""

from __future__ import annotations

from dataclasses import replace

from exporter.model.runs import JobRun, PipelineRun


def newer_run(old: PipelineRun, new: PipelineRun) -> PipelineRun:
    """What to keep of two sightings of one run: the newer state, and every fact only one of them has.

    An older ``updated_at``, or a lower status at an equal time, never overwrites. A list entry never
    erases the details of an equally new answer.
    """
    if (new.updated_at, new.status.rank) < (old.updated_at, old.status.rank) or (
        new.updated_at == old.updated_at and new.status is old.status and old.complete and not new.complete
    ):
        kept, other = old, new
    else:
        kept, other = new, old
    return replace(
        kept,
        username=kept.username or other.username,
        web_url=kept.web_url or other.web_url,
        sha=kept.sha or other.sha,
        commit_title=kept.commit_title or other.commit_title,
        number=other.number if kept.number is None else kept.number,
        selected=new.selected,
    )


def newer_job(old: JobRun, new: JobRun) -> JobRun:
    """What to keep of two sightings of one job.

    Jobs carry no time of change. One that finished stays so: a retry is a new job. Only a skipped one,
    which never finished at any time, may be started after all, under the same id.
    """
    if old.status.finished and not new.status.finished:
        return old if old.started_at or old.finished_at else new
    if old.finished_at and (new.finished_at is None or new.finished_at < old.finished_at):
        return old
    return old if new.status.rank < old.status.rank else new
