"""What GitHub's webhooks say: the state of a run or job, as lists and answers tell it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from collectors._hooks import body_object, signed
from collectors.github import mapping
from collectors.github.mapping import Unknown
from collectors.github.memory import Memory
from collectors.github.settings import GitHubConfig
from exporter.contract import Batch, Unit
from exporter.errors import BadAnswer
from exporter.hooks import Hook, HookNews, NotUnderstood

_RUN, _JOB = "workflow_run", "workflow_job"


class HookReader:
    """Reads hooks from memory alone.

    A run that ended is saved as far as its hook tells, and its repository is polled at once: only the jobs
    tell how long it waited, and the poll counts it. Where no jobs are read, the hook suffices.
    """

    def __init__(self, config: GitHubConfig, unknown: Unknown, memory: Memory) -> None:
        self._config = config
        self._unknown = unknown
        self._memory = memory

    def is_authentic(self, hook: Hook) -> bool:
        """Whether the body is signed with our secret."""
        return signed(hook, "x-hub-signature-256", self._config.hooks.key, prefix="sha256=")

    def read(self, hook: Hook) -> Iterable[HookNews]:
        """What *hook* says.

        Raises:
            NotUnderstood: it is of another event, or of another shape than documented.
        """
        event = hook.headers.get("x-github-event", "")
        if event not in (_RUN, _JOB):
            raise NotUnderstood("the event is neither workflow_run nor workflow_job")
        body = body_object(_as_json(hook))
        try:
            unit = mapping.unit(body.get("repository"))
            return list(self._run(unit, body) if event == _RUN else self._job(unit, body))
        except BadAnswer as error:
            raise NotUnderstood(str(error)) from None

    def _run(self, unit: Unit, body: dict[str, Any]) -> Iterator[HookNews]:
        given = body.get(_RUN)
        if isinstance(given, dict):
            given = {"repository": body.get("repository")} | given
        entry = mapping.entry(given, self._unknown)
        kind = self._memory.kind_of(unit, entry)
        finished = entry.status.finished
        suffices = not finished or not self._config.jobs.enabled
        if kind is not None:
            selected = self._config.refs.selects(kind, entry.ref)
            if not selected and self._config.refs.count == "selected":
                return
            run = mapping.run(entry, kind, (), selected=selected, complete=suffices)
            yield HookNews(unit, Batch(runs=(run,), busy=not finished))
        if kind is None or not suffices:
            self._memory.tell(unit.key, entry.run_id)
            yield HookNews(unit)

    def _job(self, unit: Unit, body: dict[str, Any]) -> Iterator[HookNews]:
        """A job, whole as it is; where only runs of some refs count, the poll of its run tells which."""
        if not self._config.jobs.enabled or self._config.refs.count == "selected":
            return
        job = mapping.job(body.get(_JOB), self._unknown)
        if not mapping.is_copy(job):
            yield HookNews(unit, Batch(jobs=(job.record,), busy=not job.record.status.finished))


def _as_json(hook: Hook) -> Hook:
    """*hook* with JSON as its body, also where GitHub sends a form: that is what it offers first."""
    if not hook.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return hook
    try:
        fields = parse_qs(hook.body.decode(), strict_parsing=True, max_num_fields=10)
    except ValueError:
        raise NotUnderstood("the body is no form") from None
    return replace(hook, body=fields.get("payload", [""])[0].encode())
