"""A collector that is told by hooks, as an installed package; and a sender that proves itself to it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from prometheus_client.metrics_core import Metric
from pydantic import Field, SecretStr

from exporter import ci_families
from exporter.contract import Batch, Collector, Discovery, PolledConfig, Position, Unit
from exporter.families import Samples
from exporter.hooks import Hook, HookNews, NotUnderstood
from exporter.model.runs import PipelineRun, RefKind, Status
from exporter.model.views import UnitView

SECRET = "hook-secret-Lw7q"
ABOUT = "2026-03-01T12:00:00+00:00"


class HookedConfig(PolledConfig):
    secret: SecretStr | None = Field(default=None, description="what hooks are signed with")
    units: tuple[str, ...] = Field(default=("group/app",), description="what there is to watch")
    source: Path | None = Field(default=None, description="file with what a poll finds: unit -> runs")


class Hooked(Collector[HookedConfig]):
    """Hooks say what runs there are: ``{"unit", "runs": [[id, status]], …}``; polls read a file of the same.

    A hook without ``runs`` asks for a poll; one with ``explode`` makes the collector raise.
    """

    name = "hooked"
    provider = "hooked"
    config_model = HookedConfig
    families = ci_families.FAMILIES
    hook_name: ClassVar[str] = "hooked"
    adopts: ClassVar[bool] = False

    def __init__(self, config: HookedConfig, context: Any) -> None:
        super().__init__(config, context)
        self.read: list[Hook] = []
        self.polls: list[str] = []

    def discover(self) -> Discovery:
        return Discovery(tuple(Unit(name, name) for name in self.config.units))

    def poll(self, unit: Unit, position: Position) -> Batch:
        self.polls.append(unit.key)
        source = self.config.source
        found = json.loads(source.read_text()) if source and source.exists() else {}
        return Batch(runs=tuple(_run(run) for run in found.get(unit.key, [])))

    def collect(self) -> Iterator[Metric]:
        return self.context.page.collect()

    def unit_samples(self, view: UnitView) -> Samples | None:
        return ci_families.unit_samples(view, ci_families.RunOptions(self.provider))

    # -- hooks

    def accepts_hooks(self) -> bool:
        return self.config.secret is not None

    def hook_is_authentic(self, hook: Hook) -> bool:
        secret = self.config.secret.get_secret_value() if self.config.secret else ""
        return hmac.compare_digest(hook.headers.get("x-signature", ""), _signature(hook.body, secret))

    def hook_id(self, hook: Hook) -> str:
        return hook.headers.get("x-delivery", "")

    def read_hook(self, hook: Hook) -> Iterable[HookNews]:
        self.read.append(hook)
        body = json.loads(hook.body)
        if body.get("explode"):
            raise TypeError("a bug of the collector's")
        if "unit" not in body:
            raise NotUnderstood("it speaks of no unit")
        unit = Unit(body["unit"], body["unit"])
        if "runs" not in body:
            return [HookNews(unit)]
        return [HookNews(unit, Batch(runs=tuple(_run(run) for run in body["runs"])))]


class Reported(Hooked):
    """One that knows its units from hooks alone."""

    name = "reported"
    provider = "reported"
    hook_name = "reported"
    adopts = True

    def discover(self) -> Discovery:
        return Discovery(())


def _run(told: list[Any]) -> PipelineRun:
    run_id, status, *rest = told
    at = datetime.fromisoformat(rest[0] if rest else ABOUT)
    status = Status(status)
    return PipelineRun(
        run_id=run_id,
        ref="main",
        ref_kind=RefKind.BRANCH,
        source="push",
        status=status,
        created_at=at,
        updated_at=at,
        finished_at=at if status.finished else None,
        duration_seconds=30.0 if status.finished else None,
    )


def _signature(body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def body_of(unit: str = "group/app", *runs: list[Any], **more: Any) -> bytes:
    """What a source would send of *runs*."""
    told = {"unit": unit, **({"runs": list(runs)} if runs else {}), **more}
    return json.dumps(told).encode()


def signed(body: bytes, secret: str = SECRET, delivery: str = "") -> dict[str, str]:
    """The headers with which a source sends *body*."""
    headers = {"x-signature": _signature(body, secret), "content-type": "application/json"}
    return headers | ({"x-delivery": delivery} if delivery else {})


def install(folder: Path) -> Path:
    """Put into *folder* what makes an installed package of this module, for whoever has it on its path."""
    info = folder / "hooked_metrics-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hooked-metrics\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[ci_exporter.collectors]\nhooked = tests.support.hooked:Hooked\n"
        "reported = tests.support.hooked:Reported\n"
    )
    return folder
