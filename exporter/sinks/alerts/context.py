"""What templates are given: the alert and the records around it, as texts that cannot do harm."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, tzinfo
from typing import Any

from exporter.model.alerts import AlertState
from exporter.model.runs import JobRun, PipelineRun, RefKind
from exporter.sinks.alerts.watch import Scene, Watch

_LONGEST = 300
_LONGEST_URL = 2_000
_NO_RUN: dict[str, Any] = {"run": None, "jobs": [], "more_jobs": 0, "last_good": None, "fixed_by": None}
_NO_VALUES: dict[str, Any] = {"value": None, "limit": None, "times": None, "runners": None}


def plain(text: str, longest: int = _LONGEST) -> str:
    """*text* of a stranger on one line: no control characters, nothing that turns the direction of text."""
    seen = "".join(
        " " if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") else one for one in text
    )
    line = " ".join(seen.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def link(url: str | None) -> str:
    """*url* if it is one that a browser may open, else nothing."""
    return url if url and len(url) <= _LONGEST_URL and re.fullmatch(r"https?://[\x21-\x7e]+", url) else ""


def ref_name(labels: Mapping[str, str]) -> str:
    """What people call the ref of *labels*, such as ``main``, or ``change request 12``."""
    ref = labels.get("ref", "")
    if labels.get("ref_kind") != RefKind.CHANGE_REQUEST:
        return ref
    # Its number stands between words that every forge chooses for itself, as in refs/…/12/head.
    numbers = [part for part in ref.split("/") if part.isdecimal()]
    return f"change request {numbers[0] if len(numbers) == 1 else ref}"


@dataclass(frozen=True, slots=True)
class Describer:
    """Makes the context of templates; times are in ``zone``."""

    zone: tzinfo

    def context(self, watch: Watch[Any], state: AlertState, word: str, scene: Scene) -> dict[str, Any]:
        """All that a template may name: *word* says what is told (firing, repeated, flapping, resolved)."""
        facts = {name: self._value(value) for name, value in watch.facts(state, scene).items()}
        labels = {plain(name): plain(value) for name, value in state.labels.items()}
        end = state.resolved_at or scene.now
        alert = {
            "rule": watch.rule.name,
            "severity": watch.rule.severity.value,
            "labels": labels,
            "started_at": state.started_at.astimezone(self.zone),
            "resolved_at": state.resolved_at.astimezone(self.zone) if state.resolved_at else None,
        }
        return {
            **_NO_RUN,
            **_NO_VALUES,
            "alert": alert,
            "state": word,
            "labels": labels,
            "own_labels": {name: value for name, value in labels.items() if name not in watch.rule.labels},
            "project": labels.get("project", ""),
            "pipeline": labels.get("pipeline", ""),
            "ref": labels.get("ref", ""),
            "ref_name": ref_name(labels),
            "family": getattr(watch.rule, "family", ""),
            "broken_for": max(0.0, (end - state.started_at).total_seconds()),
            "now": scene.now.astimezone(self.zone),
            **facts,
        }

    def _value(self, value: Any) -> Any:
        if isinstance(value, (PipelineRun, JobRun)):
            told = {field.name: self._value(getattr(value, field.name)) for field in fields(value)}
            told.pop("web_url")
            if isinstance(value, PipelineRun):
                told["called"] = value.called
            return told | {"url": link(value.web_url)}
        if isinstance(value, datetime):
            return value.astimezone(self.zone)
        if isinstance(value, str):
            return plain(value)
        if isinstance(value, Mapping):
            return {plain(str(name)): self._value(inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value(inner) for inner in value]
        return value if value is None or isinstance(value, (bool, int, float)) else None
