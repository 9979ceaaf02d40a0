"""What messages say unless a rule says otherwise, by kind of rule."""

from __future__ import annotations

from typing import NamedTuple


class Texts(NamedTuple):
    """Templates of one kind of rule, and what several alerts of it are called together.

    ``many`` and ``many_over`` have the number and `` of group X``, or nothing, put in.
    """

    title: str
    text: str
    many: str
    many_over: str


_RUN = """\
{% if run %}
{% if run.username or run.commit_title or run.sha %}
Commit: {{ (run.sha or "")[:8] }} {{ run.commit_title or "" }}{% if run.username %} (by {{ run.username }}){% endif %}

{% endif %}
Run: {{ run.run_id }}{% if run.pipeline %} of {{ run.pipeline }}{% endif %}, {{ run.status }}, started by {{ run.source }}\
{% if run.finished_at %}, ended {{ run.finished_at|when }}{% endif %}{% if run.url %}

{{ run.url }}{% endif %}

{% if jobs %}
Failed jobs:
{% for job in jobs %}
- {{ job.stage }} / {{ job.name }}{% if job.failure_reason %}: {{ job.failure_reason }}{% endif %}\
{% if job.url %} {{ job.url }}{% endif %}

{% endfor %}
{% if more_jobs %}
- and {{ more_jobs }} more
{% endif %}
{% endif %}
{% if state != "resolved" %}
Last good run: {% if last_good %}{{ last_good.run_id }}{% if last_good.finished_at %}, {{ last_good.finished_at|when }}{% endif %}\
{% if last_good.url %} {{ last_good.url }}{% endif %}{% else %}none known{% endif %}

{% endif %}
{% else %}
The run is gone.
{% endif %}
"""
_FIXED = """\
{% if state == "resolved" %}
It was so for {{ broken_for|duration }}\
{% if fixed_by %}; run {{ fixed_by.run_id }}{% if fixed_by.username %} of {{ fixed_by.username }}{% endif %} mended it\
{% if fixed_by.commit_title %}: {{ fixed_by.commit_title }}{% endif %}{% if fixed_by.url %}

{{ fixed_by.url }}{% endif %}{% else %}.{% endif %}

{% if run %}
Before, run {{ run.run_id }} had failed{% if jobs %}: {{ jobs|map(attribute="name")|join(", ") }}{% endif %}.
{% endif %}
{% else %}
Broken for: {{ broken_for|duration }}, since {{ alert.started_at|when }}
{% if state == "flapping" %}
It changed so often that nothing more is told until it is stable.
{% endif %}
"""
_BROKEN = _FIXED + _RUN + "{% endif %}"
_NOW_AND_THEN = "{% if state == 'flapping' %} again and again{% elif state == 'repeated' %} still{% endif %}"
_SINCE = """\
{% if state == "resolved" %}
It was so for {{ broken_for|duration }}.
{% else %}
Since {{ alert.started_at|when }}, for {{ broken_for|duration }}.
{% if state == "flapping" %}
It changed so often that nothing more is told until it is stable.
{% endif %}
{% endif %}
"""

TEXTS: dict[str, Texts] = {
    "run_failed": Texts(
        "{{ project }}: "
        "{% if state == 'resolved' %}{{ ref }} succeeds again"
        "{% elif state == 'flapping' %}{{ ref }} fails again and again"
        "{% else %}a pipeline of {{ ref }} {{ run.status if run and run.status != 'success' else 'failed' }}{% endif %}",
        _BROKEN,
        "{n} pipelines{of} failed",
        "{n} pipelines{of} succeed again",
    ),
    "branch_broken": Texts(
        "{{ project }}: {{ ref }} "
        "{% if state == 'resolved' %}works again"
        "{% elif state == 'flapping' %}breaks again and again"
        "{% else %}is {% if state == 'repeated' %}still {% endif %}broken{% endif %}",
        _BROKEN,
        "{n} branches{of} are broken",
        "{n} branches{of} work again",
    ),
    "job_failing": Texts(
        "{{ project }}: job {{ labels.job }} on {{ ref }} "
        "{% if state == 'resolved' %}succeeds again"
        "{% else %}failed {{ times }} times in a row{% endif %}",
        _BROKEN,
        "{n} jobs{of} fail in every run",
        "{n} jobs{of} succeed again",
    ),
    "run_stuck": Texts(
        "{{ project }}: a run of {{ ref }} "
        "{% if state == 'resolved' %}is no longer stuck{% else %}is stuck for {{ value|duration }}{% endif %}",
        "{% if state != 'resolved' %}Usual or allowed are at most {{ limit|duration }}.\n{% endif %}"
        + _SINCE
        + _RUN,
        "{n} runs{of} are stuck",
        "{n} runs{of} are no longer stuck",
    ),
    "queue_slow": Texts(
        "{{ project }}: {% if labels.job is defined %}job {{ labels.job }}{% else %}a run of {{ ref }}{% endif %} "
        "{% if state == 'resolved' %}starts in time again{% else %}waited {{ value|duration }} to start{% endif %}",
        "{% if state != 'resolved' %}Allowed are {{ limit|duration }}.\n{% endif %}" + _SINCE + _RUN,
        "{n} queues{of} are slow",
        "{n} queues{of} are fast again",
    ),
    "runners_offline": Texts(
        "{{ labels.provider }}: {{ value|round|int }} of {{ runners|round|int }} {{ labels.runner_type }} runners "
        "{% if state == 'resolved' %}were online; there are enough again{% else %}are online{% endif %}",
        _SINCE,
        "{n} fleets of runners are offline",
        "{n} fleets of runners are online again",
    ),
    "collector_failing": Texts(
        "Collector {{ labels.collector }} "
        "{% if state == 'resolved' %}works again{% else %}fails" + _NOW_AND_THEN + "{% endif %}",
        _SINCE + "{% if state != 'resolved' %}What it shows is old; the log says why.{% endif %}",
        "{n} collectors fail",
        "{n} collectors work again",
    ),
    "sink_failing": Texts(
        "Sink {{ labels.sink }} "
        "{% if state == 'resolved' %}works again{% else %}fails" + _NOW_AND_THEN + "{% endif %}",
        _SINCE
        + "{% if state != 'resolved' %}Events wait and are delivered later; the log says why.{% endif %}",
        "{n} sinks fail",
        "{n} sinks work again",
    ),
    "rows": Texts(
        "{{ alert.rule }}: {{ own_labels.values()|join(' ') or family }} "
        "{% if state == 'resolved' %}is well again{% else %}is {{ value }} (limit {{ limit }}){% endif %}",
        "{{ family }}\n{% for name, value in own_labels.items() %}{{ name }}: {{ value }}\n{% endfor %}"
        + _SINCE,
        "{n} rows are over a limit",
        "{n} rows are well again",
    ),
}
