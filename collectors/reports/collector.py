"""The collector of reported runs: it polls nothing, and adopts every project that is reported."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar

from pydantic import Field, ValidationError

from collectors._ci import CiCollector, RunsConfig
from collectors._hooks import HookSettings, equal, signed
from collectors.reports.mapping import jobs_of, run_of
from collectors.reports.report import Report
from exporter.contract import Batch, Context, Discovery, Position, Schedule, Unit
from exporter.errors import BadAnswer
from exporter.hooks import Hook, HookNews, NotUnderstood

SIGNATURE = "x-ci-exporter-signature-256"
_HOURLY = Schedule(3600, 3600, 3600)
_LONGEST_RUN = timedelta(days=7)  # of which the end is awaited: the job that was to report it may have died


class ReportsConfig(RunsConfig):
    """What reports prove themselves with, and what is shown of them."""

    hooks: HookSettings = Field(
        default_factory=HookSettings, description="what reports prove themselves with"
    )


class Reports(CiCollector[ReportsConfig]):
    """Runs that were reported; a project is there from its first report, and stays."""

    name = "reports"
    provider: ClassVar[str] = "generic"
    config_model = ReportsConfig
    hook_name: ClassVar[str] = "generic"
    adopts: ClassVar[bool] = True

    def __init__(self, config: ReportsConfig, context: Context) -> None:
        super().__init__(config, context)
        self._key = config.hooks.key

    @property
    def schedule(self) -> Schedule:
        """There is nothing to poll; to look at it costs next to nothing."""
        return _HOURLY

    def discover(self) -> Discovery:
        """Nothing: projects are adopted."""
        return Discovery(())

    def poll(self, unit: Unit, position: Position) -> Batch:
        """That runs whose end nobody reported for long are gone; one that is told after all comes back."""
        before = self.context.clock.now() - _LONGEST_RUN
        lost = [run.run_id for run in position.known.unfinished() if run.updated_at < before]
        return Batch(deleted_runs=tuple(lost))

    def accepts_hooks(self) -> bool:
        """Whether there is a secret."""
        return bool(self._key)

    def hook_is_authentic(self, hook: Hook) -> bool:
        """Whether *hook* has the secret as its bearer token, or is signed with it."""
        scheme, _, token = hook.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return equal(token.strip(" "), self._key)
        return signed(hook, SIGNATURE, self._key, prefix="sha256=")

    def hook_id(self, hook: Hook) -> str:
        """The Idempotency-Key."""
        return hook.headers.get("idempotency-key", "")

    def read_hook(self, hook: Hook) -> Iterable[HookNews]:
        """The run of a report, and its jobs.

        Raises:
            NotUnderstood: it is no report; the message tells the keys, and no values.
        """
        try:
            report = Report.model_validate_json(hook.body)
        except ValidationError as error:
            raise NotUnderstood(_what_is_wrong(error)) from None
        refs = self.config.refs
        try:
            run = run_of(report, hook.received_at, refs.selects)
        except BadAnswer as error:
            raise NotUnderstood(str(error)) from None
        if not run.selected and refs.count == "selected":
            return []
        jobs = tuple(jobs_of(report, run)) if self.config.jobs.enabled else ()
        return [HookNews(Unit(report.project, report.project), Batch(runs=(run,), jobs=jobs))]


def _what_is_wrong(error: ValidationError) -> str:
    """Which keys are not as they should be; no values, which may be anything."""
    keys = {".".join(map(str, problem["loc"])) or "the whole" for problem in error.errors()}
    return f"no report: {', '.join(sorted(keys))[:500]}"
