"""What commands print, push and write."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPException, InvalidURL
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, push_to_gateway
from prometheus_client.metrics_core import Metric

from exporter.app import config_text
from exporter.config.load import Config
from exporter.contract import Explains, Trouble
from exporter.errors import ExporterError, SinkError
from exporter.hooks import AcceptsHooks
from exporter.registry import Registry
from exporter.rendering import Format
from exporter.rounds.backfill import Progress
from exporter.rounds.once import unreadable
from exporter.rounds.round import CollectorRounds

_JOB = "ci-exporter"
_ADVICE = {
    Trouble.NOT_FOUND: "correct the name, or let the token see it",
    Trouble.FORBIDDEN: "let the token read it, by its scope and its user's role, or leave it out",
}
_EXPORTED = {"job": "exported_job", "instance": "exported_instance"}


def print_config(config: Config) -> None:
    """The whole configuration as it is understood, secrets masked."""
    print(config_text(config), end="")


def print_source(rounds: CollectorRounds, failures: list[str]) -> bool:
    """What ``check --online`` found out about one collector, and whether that is as it should be."""
    collector = rounds.collector
    units = len(rounds.states())
    print(f"{rounds.name}: {rounds.page.series()} series from {units} {collector.unit_noun}")
    troubles = rounds.troubles()
    told = {unreadable(one.name, one.detail) for one in troubles if one.reason in _ADVICE}
    wrong = [failure + _remedy(rounds) for failure in failures if failure not in told]
    for trouble in troubles:
        advice = _ADVICE.get(trouble.reason)
        if advice is None:
            print(f"  {trouble.name}: {trouble.reason.value}: {trouble.detail}")
        else:
            wrong.append(f"{trouble.name}: {trouble.reason.value}: {trouble.detail}; {advice}")
    waits_for_hooks = isinstance(collector, AcceptsHooks) and collector.adopts
    if not units and not wrong and not waits_for_hooks:
        wrong.append(
            f"it finds no {collector.unit_noun}: name some that it may read in collectors.{rounds.name}"
        )
    for failure in wrong:
        print(f"  failed: {failure}")
    if isinstance(collector, Explains):
        for line in collector.explain():
            print(line, flush=True)
    return not wrong


def _remedy(rounds: CollectorRounds) -> str:
    """What to do about a failure that is not one of a single unit."""
    if rounds.halted:
        return f"; put one that is accepted into collectors.{rounds.name}"
    if not rounds.discovered:
        return f"; check the address in collectors.{rounds.name}, and that it answers"
    return ""


def print_backfill(name: str, progress: Progress) -> None:
    """How a backfill ended."""
    print(
        f"{name}: {progress.units_done} projects read, {progress.runs} rows new or changed,"
        f" {progress.counted} executions added to live totals, {progress.failed} projects failed"
    )


def print_metrics(registry: Registry, form: str) -> None:
    """The exposition on stdout."""
    if form == "json":
        print(json.dumps(_as_json(registry), indent=2))
        return
    sys.stdout.buffer.write(registry.render(Format[form.upper()]))
    sys.stdout.buffer.flush()


def _as_json(registry: Registry) -> dict[str, Any]:
    """``family -> {type, help, samples}``."""
    return {
        metric.name: {
            "type": metric.type,
            "help": metric.documentation,
            "samples": [
                {"name": sample.name, "labels": sample.labels, "value": sample.value}
                for sample in metric.samples
            ],
        }
        for metric in registry.collect()
    }


def push(registry: Registry, url: str) -> None:
    """Replace our group at a Pushgateway.

    Raises:
        SinkError: it did not take it.
    """
    grouped = CollectorRegistry()
    grouped.register(_Grouped(registry))
    try:
        push_to_gateway(url, job=_JOB, registry=grouped)
    except InvalidURL:
        # Its text would show a password that was put where the port should be.
        raise SinkError("--push is no address of a Pushgateway: write it as http://host:port") from None
    except (OSError, ValueError, HTTPException) as error:
        raise SinkError(
            f"the Pushgateway did not take the metrics: {str(error) or type(error).__name__}"
        ) from error


class _Grouped:
    """The metrics as a Pushgateway can take them.

    It overwrites the labels ``job`` and ``instance`` with those of the group, which would make one series
    of all jobs of a stage. They get the names that a scrape by Prometheus gives them.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            renamed = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            for sample in metric.samples:
                labels = {_EXPORTED.get(name, name): value for name, value in sample.labels.items()}
                renamed.add_sample(sample.name, labels, sample.value)
            yield renamed


def write_textfile(registry: Registry, path: Path) -> None:
    """Write the exposition for node_exporter, which must never read half a file.

    Raises:
        ExporterError: the file cannot be written; an earlier one is untouched.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(registry.render(Format.TEXT))
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise ExporterError(f"cannot write {path}: {error.strerror}") from error
