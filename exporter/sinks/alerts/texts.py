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


# A line that ends in a tag would lose its line break: what is on a condition there is an expression.
_RUN = """\
{% if run %}
{% if run.commit_title or run.sha %}
Commit: {{ [(run.sha or "")[:8], run.commit_title or ""]|select|join(" ") }}
{% endif %}
{% if run.username %}
By: {{ run.username }}
{% endif %}
Run: {{ run.called }}, {{ run.status }}, started by {{ run.source }}
{% if run.url %}
{{ run.url }}
{% endif %}
{% if jobs %}
Failed jobs:
{% for job in jobs %}
- {{ job.stage }} / {{ job.name }}{{ ": " ~ job.failure_reason if job.failure_reason else "" }} {{ job.url }}
{% endfor %}
{% if more_jobs %}
- and {{ more_jobs }} more
{% endif %}
{% endif %}
{% endif %}
"""
_LAST_GOOD = """\
{% if last_good %}
Last good run: {{ last_good.called }}, ended {{ last_good.finished_at|when }} {{ last_good.url }}
{% else %}
Last good run: none known
{% endif %}
"""
_RECOVERED = """\
It was so for {{ broken_for|duration }}.
{% if fixed_by %}
Mended by run {{ fixed_by.called }}{{ " of " ~ fixed_by.username if fixed_by.username else "" }}\
{{ ": " ~ fixed_by.commit_title if fixed_by.commit_title else "" }} {{ fixed_by.url }}
{% endif %}
{% if run and jobs %}
Before, run {{ run.called }} had failed: {{ jobs|map(attribute="name")|join(", ") }}
{% endif %}
"""
_STABLE = """\
{% if state == "flapping" %}
It changed so often that nothing more is told until it is stable.
{% endif %}
"""
_BROKEN = f"""\
{{% if state == "resolved" %}}
{_RECOVERED}\
{{% else %}}
{_RUN}\
Broken for {{{{ broken_for|duration }}}}, since {{{{ alert.started_at|when }}}}
{_LAST_GOOD}{_STABLE}\
{{% endif %}}
"""
_SINCE = f"""\
{{% if state == "resolved" %}}
It was so for {{{{ broken_for|duration }}}}.
{{% else %}}
For {{{{ broken_for|duration }}}}, since {{{{ alert.started_at|when }}}}
{_STABLE}\
{{% endif %}}
"""
_ALLOWED = """\
{% if state != "resolved" %}
Allowed: {{ limit|duration }}
{% endif %}
"""
_ROW = """\
{{ family }}
{% for name, value in own_labels.items() %}
{{ name }}: {{ value }}
{% endfor %}
"""
_AGAIN = "{% if state == 'flapping' %} again and again{% elif state == 'repeated' %}, still{% endif %}"

TEXTS: dict[str, Texts] = {
    "run_failed": Texts(
        "{{ project }}: "
        "{% if state == 'resolved' %}{{ ref_name }} succeeds again"
        "{% elif state == 'flapping' %}{{ ref_name }} fails again and again"
        "{% else %}a pipeline of {{ ref_name }} failed{% endif %}",
        _BROKEN,
        "{n} pipelines{of} failed",
        "{n} pipelines{of} succeed again",
    ),
    "branch_broken": Texts(
        "{{ project }}: {{ ref_name }} "
        "{% if state == 'resolved' %}works again"
        "{% elif state == 'flapping' %}breaks again and again"
        "{% else %}is {% if state == 'repeated' %}still {% endif %}broken{% endif %}",
        _BROKEN,
        "{n} branches{of} are broken",
        "{n} branches{of} work again",
    ),
    "job_failing": Texts(
        "{{ project }}: job {{ labels.job }} on {{ ref_name }} "
        "{% if state == 'resolved' %}succeeds again"
        "{% else %}failed {{ times }} times in a row{% endif %}",
        _BROKEN,
        "{n} jobs{of} fail in every run",
        "{n} jobs{of} succeed again",
    ),
    "run_stuck": Texts(
        "{{ project }}: a run of {{ ref_name }} is "
        "{% if state == 'resolved' %}no longer stuck{% else %}stuck for {{ value|duration }}{% endif %}",
        _ALLOWED + _SINCE + _RUN,
        "{n} runs{of} are stuck",
        "{n} runs{of} are no longer stuck",
    ),
    "queue_slow": Texts(
        "{{ project }}: "
        "{% if labels.job is defined %}job {{ labels.job }}{% else %}a run of {{ ref_name }}{% endif %}"
        "{% if state == 'resolved' %} starts in time again"
        "{% elif labels.job is not defined and run and run.status == 'pending' %}"
        " has waited {{ value|duration }} and not started"
        "{% else %} waited {{ value|duration }} to start{% endif %}",
        _ALLOWED + _SINCE + _RUN,
        "{n} queues{of} are slow",
        "{n} queues{of} are fast again",
    ),
    "runners_offline": Texts(
        "{% if state == 'resolved' %}Enough {{ labels.runner_type }} runners of {{ labels.provider }} "
        "are online again"
        "{% else %}{{ value|round|int }} of {{ runners|round|int }} {{ labels.runner_type }} runners "
        "of {{ labels.provider }} are online{% endif %}",
        _SINCE,
        "{n} fleets of runners are offline",
        "{n} fleets of runners are online again",
    ),
    "collector_failing": Texts(
        "Collector {{ labels.collector }} "
        f"{{% if state == 'resolved' %}}works again{{% else %}}fails{_AGAIN}{{% endif %}}",
        _SINCE + "{% if state != 'resolved' %}What it shows is old; the log says why.{% endif %}",
        "{n} collectors fail",
        "{n} collectors work again",
    ),
    "sink_failing": Texts(
        "Sink {{ labels.sink }} "
        f"{{% if state == 'resolved' %}}works again{{% else %}}fails{_AGAIN}{{% endif %}}",
        _SINCE
        + "{% if state != 'resolved' %}Events wait and are delivered later; the log says why.{% endif %}",
        "{n} sinks fail",
        "{n} sinks work again",
    ),
    "rows": Texts(
        "{{ alert.rule }}: {{ own_labels.values()|join(' ') or family }} "
        "{% if state == 'resolved' %}is well again"
        "{% else %}is {{ value|number }}, limit {{ limit|number }}{% endif %}",
        "{{ family }}\n{% for name, value in own_labels.items() %}\n{{ name }}: {{ value }}\n{% endfor %}\n"
        + _SINCE,
        "{n} rows are over a limit",
        "{n} rows are well again",
    ),
}
