"""What GitLab's answers about runners mean, those of old versions too."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.gitlab.fleet import mapping
from collectors.gitlab.fleet.settings import RunnersConfig
from exporter.errors import BadAnswer

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
FIXTURES = Path(__file__).with_name("fixtures")
NODE: dict[str, Any] = {
    "id": "gid://gitlab/Ci::Runner/47",
    "runnerType": "PROJECT_TYPE",
    "status": "ONLINE",
    "paused": False,
    "description": "r",
    "contactedAt": "2026-03-02T07:59:59Z",
    "tagList": ["b", "a"],
    "runUntagged": False,
    "jobExecutionStatus": "IDLE",
    "managers": {"nodes": []},
    "projects": {"pageInfo": {"hasNextPage": False}, "nodes": [{"id": "gid://gitlab/Project/7"}, None]},
    "groups": None,
}


def listed(**given: Any) -> mapping.ListEntry:
    words: list[str] = []
    entry = mapping.list_entry({"id": 1, **given}, unknown=words.append)
    assert words == given.pop("unknown", [])
    return entry


def test_the_lists_of_old_versions_are_understood() -> None:
    entries = [
        mapping.list_entry(entry, unknown=pytest.fail)
        for name in ("all-runners", "group_runners")
        for entry in json.loads((FIXTURES / f"{name}.json").read_text())
    ]
    assert [(entry.runner_id, entry.runner_type, entry.status, entry.paused) for entry in entries] == [
        (1, "instance", "online", False),
        (3, "instance", "offline", False),
        (6, "project", "online", False),
        (8, "project", "offline", False),
        (3, "instance", "never_contacted", False),
        (6, "instance", "offline", False),
        (8, "project", "never_contacted", False),
    ]


def test_the_detail_of_an_old_version_has_its_own_version() -> None:
    entry = listed(is_shared=False, status="online")
    detail = json.loads((FIXTURES / "runner-detail.json").read_text())
    runner = mapping.rest_runner(entry, detail, ())
    assert (runner.version, runner.tags, runner.projects) == ("1.2.3", ("mysql", "ruby"), frozenset({"1"}))
    assert runner.contacted_at == datetime(2016, 1, 25, 16, 39, 48, tzinfo=UTC)


def test_the_version_is_that_of_the_process_seen_last() -> None:
    managers = [
        {"id": 1, "contacted_at": "2026-03-02T07:00:00.5Z", "version": "18.5.0"},
        {"id": 3, "contacted_at": None, "version": "18.9.0"},
        {"id": 2, "contacted_at": "2026-03-02T06:00:00Z", "version": "17.0.0"},
    ]
    runner = mapping.rest_runner(listed(status="online"), {"version": ""}, managers)
    assert runner.version == "18.5.0"


def test_whom_a_runner_serves_is_read_from_its_detail() -> None:
    detail = {
        "groups": [{"id": 1, "name": "B", "web_url": "https://h/gitlab/groups/a/groups/b%20c"}],
        "projects": [],
    }
    runner = mapping.rest_runner(listed(status="online"), detail, ())
    assert runner.groups == frozenset({"a/groups/b c"})
    assert runner.projects is None


@pytest.mark.parametrize(("word", "kind"), [("asleep", "runner_status"), ("online", "")])
def test_new_words_of_gitlab_are_unknown_and_told(word: str, kind: str) -> None:
    told: list[str] = []
    entry = mapping.list_entry({"id": 1, "runner_type": "group_type", "status": word}, unknown=told.append)
    assert (entry.status == "unknown") is bool(kind)
    assert told == ([kind] if kind else [])
    node = {**NODE, "status": word.upper(), "runnerType": "PLANET_TYPE"}
    runner, _ = mapping.graphql_runner(node, unknown=told.append)
    assert runner.runner_type == "unknown"


def test_a_node_of_graphql_is_a_runner() -> None:
    runner, busy = mapping.graphql_runner(NODE, unknown=pytest.fail)
    assert not busy
    assert (runner.runner_id, runner.runner_type, runner.status) == (47, "project", "online")
    assert (runner.tags, runner.projects, runner.groups) == (("a", "b"), frozenset({"7"}), None)


def test_a_part_of_the_projects_is_not_taken_for_all() -> None:
    projects = {**NODE["projects"], "pageInfo": {"hasNextPage": True}}
    runner, _ = mapping.graphql_runner({**NODE, "projects": projects}, unknown=pytest.fail)
    assert runner.projects is None


def test_a_job_without_a_waiting_time_waits_since_it_was_created() -> None:
    job = {"id": 5, "created_at": "2026-03-02T07:00:00.7Z", "queued_duration": None, "tag_list": ["x"]}
    waiting = mapping.rest_waiting(job, "7", "a/p", NOW)
    assert (waiting.queued_at, waiting.tags) == (datetime(2026, 3, 2, 7, tzinfo=UTC), frozenset({"x"}))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "nodes", "pageInfo", "web_url", "fullPath"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(NODE)), value=anything)
def test_whatever_graphql_answers_is_a_runner_or_a_bad_answer(key: str, value: Any) -> None:
    with suppress(BadAnswer):
        mapping.graphql_runner({**NODE, key: value}, unknown=lambda _: None)


@given(
    key=st.sampled_from(["contacted_at", "tag_list", "projects", "groups", "version", "platform"]),
    value=anything,
)
def test_whatever_rest_answers_is_a_runner_or_a_bad_answer(key: str, value: Any) -> None:
    with suppress(BadAnswer):
        mapping.rest_runner(listed(status="online"), {key: value}, ())


def test_a_block_says_whose_runners_are_watched() -> None:
    with pytest.raises(ValueError, match="needs `instance: true`, `groups` or `projects`"):
        RunnersConfig.model_validate({})
    assert RunnersConfig.model_validate({"enabled": False}).groups == ()
    assert RunnersConfig.model_validate({"groups": ["/acme/"], "projects": [4711]}).projects == ("4711",)


def test_the_variables_of_replaced_systems_make_no_block() -> None:
    assert "GITLAB_PRIVATE_TOKEN" in RunnersConfig.env_names
    assert not RunnersConfig.env_enables
