"""Templates of messages: what they may say, what they may not do, and what strangers may not do by them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest

from exporter.config.alerts import AlertsSettings
from exporter.errors import ConfigError
from exporter.sinks.alerts.context import link, plain
from exporter.sinks.alerts.engine import Engine
from exporter.sinks.alerts.rehearsing import template_problems
from exporter.sinks.alerts.templates import Template, TemplateFault, duration, number
from exporter.sinks.alerts.texts import TEXTS
from exporter.store.sql import SqlStore
from tests.support.lookout import Lookout, job

Watch = Callable[..., Lookout]
BRANCH = {"kind": "branch_broken"}


@pytest.fixture
def watch(sqlite_url: str) -> Watch:
    """Begins to watch, on a store of its own."""
    return lambda *rules, **settings: Lookout(lambda: SqlStore(sqlite_url), *rules, **settings)


def settings(*rules: dict[str, Any]) -> AlertsSettings:
    return AlertsSettings.model_validate(
        {"rules": [{"name": f"r{index}", **rule} for index, rule in enumerate(rules)]}
    )


def render(source: str, **context: Any) -> str:
    return Template(source, 100).render(context)


# -- what they say -------------------------------------------------------------------------------


def test_a_rule_may_have_its_own_words(watch: Watch) -> None:
    lookout = watch(
        BRANCH
        | {
            "title": "{{ state }} {{ alert.severity }} {{ project }} {{ ref }} {{ broken_for|duration }}",
            "text": "{% for job in jobs %}{{ job.name }} {{ job.url }}\n{% endfor %}"
            "{{ labels.team }} {{ run.created_at|when }}",
            "labels": {"team": "web"},
        }
    )
    lookout.run("failed", job("unit"), job("lint"))
    lookout.wait()
    (message,) = lookout.messages()
    assert message.title == "firing warning acme/app main 10 s"
    assert message.body == "unit https://forge/jobs/unit\nlint https://forge/jobs/lint\nweb 2026-03-04 12:00"


def test_times_are_in_the_time_zone_of_the_configuration(watch: Watch) -> None:
    import zoneinfo

    lookout = watch(BRANCH | {"text": "{{ alert.started_at|when }}"}, zone=zoneinfo.ZoneInfo("Asia/Shanghai"))
    lookout.run("failed")
    lookout.wait()
    assert lookout.messages()[0].body == "2026-03-04 20:00"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (90000, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_durations_are_told_in_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_numbers_are_written_as_people_do() -> None:
    assert [number(one) for one in (3.0, 0.25, 1234567.0)] == ["3", "0.25", "1234567"]


@pytest.mark.parametrize("kind", sorted(TEXTS))
def test_the_default_texts_of_every_kind_fit_what_they_are_given(kind: str) -> None:
    needs = {"queue_slow": {"longer_than_seconds": 1}, "rows": {"family": "f", "above": 1}}
    assert template_problems(settings({"kind": kind, **needs.get(kind, {})}), UTC) == []


# -- what they may not do ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ range(10**8)|list }}",
        "{{ [1] * 100000 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ x.__init__.__globals__ }}",
        "{{ nothing }}",
        "{{ x.nothing }}",
        "{{ 1 / 0 }}",
        "{{ x.append(1) }}",
    ],
)
def test_what_a_template_must_not_do_fails_at_once(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(TemplateFault):
        render(source, x=[1])
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "source",
    [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in x recursive %}{{ loop(a) }}{% endfor %}",
        "{% for %}",
        "{{ x",
        "{{ x|center(1000000000) }}",
        "{{ x|nofilter }}",
        "(" * 3 + "{{" + "(" * 5000,
    ],
)
def test_what_could_go_on_for_ever_is_no_template(source: str) -> None:
    with pytest.raises(TemplateFault):
        Template(source, 100)


def test_what_is_too_long_is_cut(watch: Watch) -> None:
    assert render("{% for _ in range(1000) %}abc{% endfor %}") == "abc" * 33 + "…"
    lookout = watch(
        BRANCH | {"text": "{% for a in range(1000) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}"}
    )
    lookout.run("failed")
    lookout.wait()
    assert len(lookout.messages()[0].body) == 4000


def test_one_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.sinks.alerts.templates._SECONDS", -1.0)
    with pytest.raises(TemplateFault, match="takes longer"):
        render("{{ 1 }}")


def test_one_that_fails_on_a_record_does_not_cost_the_message(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    lookout = watch(BRANCH | {"title": "{{ run.username.upper() }} broke it"})
    lookout.run("failed", username=None)
    lookout.wait()
    assert lookout.told() == ["firing: acme/app: main is broken"]
    assert "a template failed" in caplog.text


# -- strangers -----------------------------------------------------------------------------------


def test_texts_of_runs_stay_texts_on_one_short_line(watch: Watch) -> None:
    lookout = watch(BRANCH)
    evil = "{{ 7*7 }} <b>\r\nFailed jobs: \x1b[31m\u202egnp.exe\u2066 " + "x" * 1000
    lookout.run(
        "failed",
        job("unit\nit", failure_reason="a\tb", web_url="javascript:alert(1)"),
        commit_title=evil,
        username="eve\x00\x07",
        web_url="https://forge/\nX-Header: 1",
    )
    lookout.wait()
    (message,) = lookout.messages()
    commit = message.body.splitlines()[0]
    assert commit.startswith("Commit: 01234567 {{ 7*7 }} <b> Failed jobs: \ufffd[31m gnp.exe")
    assert len(commit) < 400
    assert not {"\x1b", "\u202e", "\u2066", "\x00", "\r"} & set(message.body)
    assert "javascript" not in message.body
    assert "- test / unit it: a b" in message.body
    assert message.alerts[0].url == ""


def test_only_links_that_a_browser_opens_are_links() -> None:
    assert link("https://a/b?c=%20#d") == "https://a/b?c=%20#d"
    for bad in (
        None,
        "",
        "javascript:x",
        "https://a b",
        "https://ä/",
        "https://a/" + "x" * 2000,
        " https://a",
    ):
        assert link(bad) == ""


def test_plain_text_is_bounded() -> None:
    assert plain("a\n\n b\ud800c") == "a b c"
    assert plain("x" * 400) == "x" * 299 + "…"


# -- check ---------------------------------------------------------------------------------------


def test_templates_that_are_wrong_are_found_before_they_are_needed() -> None:
    with pytest.raises(ConfigError) as caught:
        Engine(
            settings(BRANCH, BRANCH | {"title": "{{ x"}, BRANCH | {"text": "{% macro a() %}{% endmacro %}"}),
            (),
            UTC,
        )
    assert [str(problem) for problem in caught.value.problems] == [
        "alerts.rules.1.title: the template is wrong: unexpected end of template,"
        " expected 'end of print statement'."
        " (line 1)",
        "alerts.rules.2.text: the template is wrong: macro cannot be used here (line 1)",
    ]


def test_templates_that_name_what_is_not_there_are_found() -> None:
    found = template_problems(
        settings(
            BRANCH | {"title": "{{ comit }}"},
            BRANCH
            | {
                "text": "{{ run.commit_title }} {{ fixed_by.run_id if fixed_by else '' }} {{ last_good.url }}"
            },
            BRANCH | {"text": "{{ fixed_by.run_id }}"},
            BRANCH | {"text": "{{ labels.team }}"},
            BRANCH | {"text": "{{ labels.team }}", "labels": {"team": "x"}},
            {"kind": "rows", "family": "f", "above": 0, "title": "{{ labels.pr_id }} {{ value|number }}"},
        ),
        UTC,
    )
    assert [str(problem).partition(" (")[0] for problem in found] == [
        "alerts.rules.0.title: the template fails when it tells firing: 'comit' is undefined",
        "alerts.rules.2.text: the template fails when it tells firing: 'None' has no attribute 'run_id'",
        "alerts.rules.3.text: the template fails when it tells firing: 'dict object' has no attribute 'team'",
    ]
