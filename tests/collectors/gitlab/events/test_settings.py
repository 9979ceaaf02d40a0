"""Whose events are read when little is said of it, and what the variables of the replaced system do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from collectors.gitlab.events.settings import EventsConfig
from exporter.config.load import Config, load
from exporter.plugins import collector_classes

OURS = "https://git.example.com/api/v4"
REPLACED = {
    "GITLAB_BASE_URL": OURS,
    "GITLAB_PRIVATE_TOKEN": "top-secret",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092,kafka-2:9092",
    "KAFKA_TOPIC": "data-bus.gitlab.events",
}


def loaded(env: dict[str, str]) -> Config:
    return load(None, models={name: cls.config_model for name, cls in collector_classes().items()}, env=env)


@pytest.mark.parametrize(
    ("given", "projects", "users"),
    [
        ({"url": OURS}, "visible", True),
        ({}, "member", False),
        ({"url": "https://GitLab.com/api/v4"}, "member", False),
        ({"url": OURS, "projects": [7]}, "none", False),
        ({"url": OURS, "groups": [{"path": "g"}]}, "none", False),
        ({"url": OURS, "users": ["ada"]}, "none", False),
        ({"url": OURS, "users": ["ada"], "all_projects": "member"}, "member", False),
        ({"url": OURS, "all_users": False}, "visible", False),
        ({"groups": [{"path": "g"}], "all_users": True}, "none", True),
    ],
)
def test_whose_events_are_read(given: dict[str, Any], projects: str, users: bool) -> None:
    config = EventsConfig.model_validate(given)
    assert (config.everything, config.everybody) == (projects, users)


def test_variables_of_the_replaced_system_are_enough() -> None:
    config = loaded(REPLACED)
    assert set(config.collectors) == {"gitlab", "gitlab_events"}
    block: Any = config.collectors["gitlab_events"]
    assert (block.url, block.token.get_secret_value()) == (OURS, "top-secret")
    assert config.settings.sinks.kafka is not None


@pytest.mark.parametrize("name", ["GITLAB_BASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC"])
def test_events_are_not_read_for_nobody_and_not_from_nowhere(name: str) -> None:
    env = {key: value for key, value in REPLACED.items() if key != name}
    assert "gitlab_events" not in loaded(env).collectors


def test_all_variables_of_the_replaced_system_are_understood() -> None:
    more = {
        "SCHEDULING_POLL_INTERVAL": "600",
        "GITLAB_PER_PAGE_PAGINATION": "10",
        "CACHE_TTL": "1440",
        "OPERATIONS_PER_SECOND": "1",
    }
    block: Any = loaded(REPLACED | more).collectors["gitlab_events"]
    assert (block.poll_interval_seconds, block.per_page) == (600, 10)
    assert (block.cache_ttl_minutes, block.operations_per_second) == (1440, 1)


@pytest.mark.parametrize("minutes", [0, -1, float("inf")])
def test_a_memory_that_is_none_is_refused(minutes: float) -> None:
    with pytest.raises(ValidationError):
        EventsConfig(cache_ttl_minutes=minutes)
