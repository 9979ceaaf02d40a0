"""The row on what leaves the exporter: events to sinks such as Kafka, notifications, alerts."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.engine import HERE, MINE, now, quantile, rate
from deploy.grafana.boards.panels import Column, Head, Query, lines, rows
from deploy.grafana.boards.promql import age, total

# All of it is absent without a sink: that is how most run, and no fault.
NO_SINK = "no sink is configured"
NO_CHANNEL = "no channel for notifications is configured"


def sinks() -> list[Panel]:
    """Panels 81 to 89: events and their backlog, then notifications and alerts."""
    return [*_deliveries(), *_notifications()]


def _deliveries() -> list[Panel]:
    each = Head(
        81,
        "Sinks",
        "none",
        "Each sink: whether what it last tried succeeded, and what it has still to deliver. Dead letters are"
        " events that it could never deliver; the table dead_letters of the store has the reasons.",
        NO_SINK,
        width=14,
    )
    read = Head(
        82,
        "Events read per second, by result",
        "ops",
        "Events that sources told; duplicate ones were there before.",
        "no source of events is configured",
        width=10,
    )
    delivered = Head(
        83,
        "Deliveries per second, by sink and result",
        "ops",
        "Events by what became of them at the sink; an attempt that failed is repeated.",
        NO_SINK,
    )
    claims = Head(
        89,
        "Claims per second, by sink and result",
        "ops",
        "Events of sinks that ask Redis who tells them: claimed is we, taken another producer, failed_open"
        " perhaps both, since Redis could not be asked.",
        "no sink asks Redis",
    )
    waiting = Head(
        84,
        "Events that wait, by sink",
        "short",
        "Events in the outbox that the sink has still to deliver. They rise while it is down.",
        NO_SINK,
    )
    oldest = Head(
        85,
        "Age of the oldest event that waits, by sink",
        "s",
        "How long ago it was saved; no curve while nothing waits.",
        "nothing waits, or no sink is configured",
    )
    backlog = now("ci_exporter_outbox_events")
    saved = now("ci_exporter_outbox_oldest_event_timestamp_seconds")
    asked = [
        f"max by (instance, sink) ({backlog})",
        f"min by (instance, sink) ({now('ci_exporter_sink_success')})",
        f"max by (instance, sink) ({age(now('ci_exporter_sink_last_success_timestamp_seconds'))})",
        f"max by (instance, sink) ({age(saved)})",
        f"max by (instance, sink) ({now('ci_exporter_dead_letters')})",
    ]
    columns = [
        Column("instance", "Instance"),
        Column("sink", "Sink"),
        Column("B", "Succeeds", "none", mappings=looks.yes_no(good=True)),
        Column("C", "Succeeded ago", "s"),
        Column("A", "Events wait", "short"),
        Column("D", "Oldest waits for", "s", looks.rising(300, 900)),
        Column("E", "Dead letters", "short", looks.ANY_IS_BAD),
    ]
    results = total(rate("ci_exporter_sink_deliveries_total", scope=HERE), "sink, result")
    asked_for = total(rate("ci_exporter_claims_total", scope=HERE), "sink, result")
    return [
        rows(each, asked, columns, "Events wait"),
        lines(read, Query(total(rate("ci_exporter_events_total", scope=MINE), "result"), "{{result}}")),
        lines(delivered, Query(results, "{{sink}}: {{result}}")),
        lines(claims, Query(asked_for, "{{sink}}: {{result}}")),
        lines(waiting, Query(f"max by (sink) ({backlog})", "{{sink}}")),
        lines(oldest, Query(f"max by (sink) ({age(saved)})", "{{sink}}")),
    ]


def _notifications() -> list[Panel]:
    told = Head(
        86,
        "Notifications per second, by channel and result",
        "ops",
        "Attempts to notify people; error is repeated, given_up is not.",
        NO_CHANNEL,
        width=8,
    )
    took = Head(
        87,
        "Duration of notifications, p95",
        "s",
        "95 % of the attempts took no longer.",
        NO_CHANNEL,
        width=8,
    )
    standing = Head(
        88,
        "Alerts that stand",
        "none",
        "Alerts of the exporter's own rules, not of Prometheus.",
        "no alert stands, or no rule is configured",
        width=8,
    )
    results = total(rate("ci_exporter_notifications_total", scope=HERE), "channel, result")
    alerts = f"max by (rule, severity) ({now('ci_exporter_alerts_active')}) > 0"
    columns = [Column("rule", "Rule"), Column("severity", "Severity"), Column("A", "Alerts", "short")]
    return [
        lines(told, Query(results, "{{channel}}: {{result}}")),
        lines(
            took, Query(quantile("ci_exporter_notification_duration_seconds", "channel", HERE), "{{channel}}")
        ),
        rows(standing, [alerts], columns, "Alerts"),
    ]
