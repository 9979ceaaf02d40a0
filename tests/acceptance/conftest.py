"""A stand-in GitLab and the real program, for tests that look at both from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from collectors.gitlab.standin.client import StandIn
from tests.support.process import ExporterProcess, unmeasured

StartStandIn = Callable[..., StandIn]
MakeExporter = Callable[..., ExporterProcess]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends everything that a test started, the last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start_standin(stack: ExitStack) -> StartStandIn:
    """Starts stand-ins; time stands still in them unless a speed is given."""

    def start(**options: Any) -> StandIn:
        with unmeasured():
            return stack.enter_context(StandIn.start(**options))

    return start


@pytest.fixture
def make_exporter(stack: ExitStack, tmp_path: Path) -> MakeExporter:
    """Makes exporters on a stand-in; ``gitlab`` keys override what is fit for tests."""

    def make(
        standin: StandIn, *, name: str = "exporter", store: str | None = None, **gitlab: Any
    ) -> ExporterProcess:
        config = exporter_config(standin, store or f"sqlite:///{tmp_path / 'pipelines.db'}", gitlab)
        return stack.enter_context(ExporterProcess(tmp_path, config, name=name))

    return make


def exporter_config(standin: StandIn, store: str, gitlab: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that polls fast."""
    return {
        "store": {"url": store},
        "engine": {"capacity": 4, "fetch_timeout_seconds": 10},
        "collectors": {
            "gitlab": {
                "url": standin.url,
                "token": standin.token,
                "groups": [{"path": "acme"}],
                "operations_per_second": 1000,
                "poll_interval_seconds": 0.2,
                "poll_interval_max_seconds": 0.4,
                **gitlab,
            }
        },
    }
