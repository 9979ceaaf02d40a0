"""What may stand under ``alerts``: when people are told, what, and over which channels."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from exporter.config.channels import ChannelSettings
from exporter.config.rules import BranchBroken, GroupBy, QuietHours, Rule
from exporter.config.section import Section


class Flapping(Section):
    """When something that breaks and recovers again and again is told once, and then no more."""

    changes: int = Field(default=6, ge=2, description="so many changes are told, within the window")
    window_seconds: float = Field(
        default=7200, gt=0, description="the window, and how long it must be quiet to be stable again"
    )


class AlertsSettings(Section):
    """Alerts to people."""

    enabled: bool = Field(default=True, description="whether rules are watched and people are told")
    group_by: GroupBy = Field(
        default="group",
        description="what becomes one message: alerts of one rule, one top-level group, one project, or each",
    )
    group_wait_seconds: float = Field(
        default=10, ge=0, le=3600, description="wait for more alerts that go into the same message"
    )
    repeat_interval_seconds: float | None = Field(
        default=86400, ge=0, description="tell again what still stands after this time; 0 or null: never"
    )
    evaluation_interval_seconds: float = Field(
        default=5, ge=0.1, le=600, description="how often to look at what no event tells, such as time"
    )
    max_event_age_seconds: float = Field(
        default=86400, gt=0, description="runs that failed longer ago, seen after a pause, alert no one"
    )
    quiet_hours: QuietHours | None = Field(default=None, description="when people are left alone")
    flapping: Flapping = Field(default=Flapping(), description="what breaks and recovers again and again")
    channels: dict[str, ChannelSettings] = Field(
        default_factory=dict, description="ways to reach people, by name"
    )
    rules: tuple[Rule, ...] | None = Field(
        default=None, description="what people are told about (default: default branches that break)"
    )

    @property
    def effective_rules(self) -> tuple[Rule, ...]:
        """The rules that are watched."""
        if self.rules is not None:
            return self.rules
        return (BranchBroken(kind="branch_broken", name="default-branch-broken"),)

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [rule.name for rule in self.effective_rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are named {', '.join(twice)}; rename one")
        known = ", ".join(sorted(self.channels)) or "none"
        for rule in self.effective_rules:
            if strangers := sorted(set(rule.channels or ()) - self.channels.keys()):
                named = ", ".join(strangers)
                raise ValueError(
                    f"rule {rule.name} names channels that do not exist: {named} (known: {known})"
                )
        return self
