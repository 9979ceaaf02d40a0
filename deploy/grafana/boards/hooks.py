"""The row on what sources push: webhooks by what became of them, and those that wait."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.engine import MINE, now, quantile, rate
from deploy.grafana.boards.panels import Column, Head, Query, lines, rows
from deploy.grafana.boards.promql import age, total

# All of it is absent without webhooks: that is how most run, and no fault.
NO_HOOKS = "no collector accepts webhooks"


def hooks() -> list[Panel]:
    """Panels 91 to 93."""
    each = Head(
        91,
        "Webhooks",
        "none",
        "Each collector that accepts webhooks: when the last one came, and what is still to be read.",
        NO_HOOKS,
        width=10,
    )
    came = Head(
        92,
        "Webhooks per second, by result",
        "ops",
        "What became of them. refused had a wrong secret, rejected found no room; not_understood, ignored and"
        " failed ones were accepted before.",
        NO_HOOKS,
        width=7,
    )
    took = Head(
        93,
        "From a webhook to its metrics, p95",
        "s",
        "95 % of the webhooks were saved and shown within this time of their arrival.",
        NO_HOOKS,
        width=7,
    )
    last = age(now("ci_exporter_hooks_last_received_timestamp_seconds"))
    oldest = age(now("ci_exporter_hooks_oldest_waiting_timestamp_seconds"))
    asked = [
        f"max by (instance, collector) ({last})",
        f"max by (instance, collector) ({now('ci_exporter_hooks_waiting')})",
        f"max by (instance, collector) ({oldest})",
    ]
    columns = [
        Column("instance", "Instance"),
        Column("collector", "Collector"),
        Column("A", "Last came ago", "s"),
        Column("B", "Wait", "short"),
        Column("C", "Oldest waits for", "s", looks.rising(10, 60)),
    ]
    results = total(rate("ci_exporter_hooks_received_total", scope=MINE), "collector, result")
    return [
        rows(each, asked, columns, "Last came ago"),
        lines(came, Query(results, "{{collector}}: {{result}}")),
        lines(
            took,
            Query(quantile("ci_exporter_hooks_processing_seconds", "collector", MINE), "{{collector}}"),
        ),
    ]
