"""What ``check`` tells of alerts: templates that fail, and what would have been sent lately."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from exporter.config.load import Config
from exporter.errors import ConfigError
from exporter.model.alerts import Notice
from exporter.store.connect import look_into

DAYS = 7
_SHOWN = 50


def check_templates(config: Config) -> None:
    """Try every template of a rule on a sample.

    Raises:
        ConfigError: with all that is wrong, and where.
    """
    alerts = config.settings.alerts
    if alerts is None:
        return
    from exporter.sinks.alerts.rehearsing import template_problems

    try:
        problems = template_problems(alerts, config.settings.zone)
    except ConfigError as error:
        problems = error.problems
    if problems:
        raise ConfigError([config.located(problem) for problem in problems])


def rehearsed(config: Config, providers: Mapping[str, str], now: datetime, *, online: bool) -> Iterator[str]:
    """Lines on what the rules would have sent in the last days, as far as the store knows.

    Raises:
        StoreError: there is a store, but it cannot be read.
    """
    alerts, zone = config.settings.alerts, config.settings.zone
    if alerts is None or not alerts.enabled:
        return
    from exporter.sinks.alerts.rehearsing import rehearse

    url = config.settings.store.url.get_secret_value()
    if not online and not url.startswith("sqlite"):
        yield "alerts: with --online, what the rules would have sent in the last days is shown"
        return
    with look_into(url) as connection:
        if connection is None:
            yield "alerts: not tried on stored runs: there is no store of this version yet"
            return
        found = rehearse(alerts, connection, providers, zone, now, DAYS)
    yield f"alerts: in the last {DAYS} days, the rules would have sent {len(found.notices)} messages"
    for notice in found.notices[-_SHOWN:]:
        yield f"  {notice.created_at.astimezone(zone):%Y-%m-%d %H:%M} {_line(notice)}"
    if len(found.notices) > _SHOWN:
        yield f"  … these are the last {_SHOWN}"
    for fault in found.faults:
        yield f"  warning: {fault}"
    for name in found.untried:
        yield f"  rule {name} was not tried: it is about values that are not stored"


def _line(notice: Notice) -> str:
    return f"{notice.channel}, {notice.alerts[0].rule}, {notice.kind.value}: {notice.title}"
