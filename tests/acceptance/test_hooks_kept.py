"""What was acknowledged is shown in the end: through kill -9, restarts, a full disk, on another replica."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.hooked import SECRET, body_of, install, signed
from tests.support.process import ExporterProcess, wait_until

APP = "group/app"
Make = Callable[..., ExporterProcess]
# Kilobytes that a file may have: room for the store, and for some hundred hooks.
SMALL_DISK = ("bash", "-c", 'ulimit -f 600; exec "$@"', "bash")


@pytest.fixture
def make(stack: ExitStack, tmp_path: Path) -> Make:
    """Makes exporters with a collector that is told by hooks, all on one store."""
    imported = install(tmp_path / "installed")

    def make_one(name: str = "exporter", store: str = "") -> ExporterProcess:
        config = {
            "store": {"url": store or f"sqlite:///{tmp_path}/runs.db"},
            "hooks": {"enabled": True},
            "collectors": {"hooked": {"secret": SECRET, "units": [APP]}},
        }
        exporter = ExporterProcess(tmp_path, config, name=name, import_from=(imported,))
        return stack.enter_context(exporter)

    return make_one


def send(exporter: ExporterProcess, numbers: range, **more: Any) -> list[int]:
    """The statuses with which hooks of finished runs *numbers* are answered."""
    now = datetime.now(UTC).isoformat()
    return [
        _send(exporter, body_of(APP, [number, "success", now], **more), str(number)) for number in numbers
    ]


def _send(exporter: ExporterProcess, body: bytes, delivery: str) -> int:
    headers = signed(body, delivery=delivery)
    url = f"{exporter.url}/hooks/hooked"
    return exporter.session.post(url, data=body, headers=headers, timeout=30).status_code


def shown(exporter: ExporterProcess) -> float:
    """How many runs were counted, as a scrape shows it."""
    lines = exporter.scrape().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("ci_pipeline_runs_total{"))


def test_hooks_are_acknowledged_beside_a_save_that_hangs_and_outlive_kill_9(
    make: Make, tmp_path: Path
) -> None:
    exporter = make().start().wait_ready()
    with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert send(exporter, range(1, 21)) == [202] * 20
        assert shown(exporter) == 0
        exporter.kill()
        writer.execute("ROLLBACK")
    exporter.start().wait_ready()
    wait_until(lambda: shown(exporter) == 20, "all that was acknowledged is shown")
    # The source, which perhaps never heard our answer, sends some of them again.
    assert send(exporter, range(15, 23)) == [200] * 6 + [202] * 2
    wait_until(lambda: shown(exporter) == 22, "the new ones are shown, and no other counts twice")
    assert exporter.terminate() == 0


def test_a_restart_in_the_middle_of_a_flood_loses_and_doubles_nothing(make: Make) -> None:
    exporter = make().start().wait_ready()
    sent = 0
    for _ in range(2):
        assert set(send(exporter, range(sent, sent + 100))) == {202}
        sent += 100
        assert exporter.terminate() == 0
        exporter.start().wait_ready()
    wait_until(lambda: shown(exporter) == sent, "all are shown once")


def test_a_full_disk_is_no_acknowledgement_and_what_was_acknowledged_is_there_afterwards(
    make: Make,
) -> None:
    exporter = make().start(launcher=SMALL_DISK).wait_ready()
    statuses: list[int] = []
    wait_until(
        lambda: (
            statuses.extend(send(exporter, range(len(statuses), len(statuses) + 10), padding="x" * 20_000))
            or 503 in statuses
        ),
        "the disk is full",
    )
    assert set(statuses) == {202, 503}
    assert exporter.answers("/healthz")
    exporter.kill()
    exporter.start().wait_ready()
    kept = statuses.count(202)
    wait_until(lambda: shown(exporter) == kept, "all that was acknowledged is shown")
    missing = [number for number, status in enumerate(statuses) if status == 503]
    again = [send(exporter, range(number, number + 1), padding="x" * 20_000) for number in missing]
    assert again == [[202]] * len(missing)
    wait_until(lambda: shown(exporter) == len(statuses), "what was refused could come again")


def test_a_replica_that_stands_by_receives_for_the_one_that_polls(make: Make, postgres_database: str) -> None:
    first = make("first", postgres_database).start().wait_ready()
    second = make("second", postgres_database).start().wait_ready()
    assert "ci_exporter_leader 0.0" in second.scrape()
    assert send(second, range(1, 11)) == [202] * 10
    assert send(first, range(5, 16)) == [200] * 6 + [202] * 5
    wait_until(lambda: shown(first) == 15, "the one that polls shows them")
    wait_until(lambda: shown(second) == 15, "the other follows")
    first.kill()
    assert send(second, range(10, 21)) == [200] * 6 + [202] * 5
    wait_until(lambda: shown(second) == 20, "after a takeover")


def test_an_address_of_their_own_answers_hooks_and_nothing_else(make: Make, tmp_path: Path) -> None:
    exporter = make()
    port = ExporterProcess(tmp_path, {}, name="unused").port
    config = {
        "store": {"url": f"sqlite:///{tmp_path}/runs.db"},
        "hooks": {"enabled": True, "addr": f"127.0.0.1:{port}"},
        "collectors": {"hooked": {"secret": SECRET, "units": [APP]}},
    }
    exporter.write_config(config)
    exporter.start().wait_ready()
    assert send(exporter, range(1)) == [404]
    body = body_of(APP, [1, "success", datetime.now(UTC).isoformat()])
    url = f"http://127.0.0.1:{port}"
    assert (
        requests.post(f"{url}/hooks/hooked", data=body, headers=signed(body), timeout=30).status_code == 202
    )
    assert requests.get(f"{url}/metrics", timeout=30).status_code == 404
    assert requests.get(f"{url}/healthz", timeout=30).status_code == 200
    wait_until(lambda: shown(exporter) == 1, "it is shown")
    # A secret that changes with a reload counts from then on.
    config["collectors"]["hooked"]["secret"] = "another secret"
    exporter.write_config(config)
    assert exporter.session.post(f"{exporter.url}/-/reload", timeout=30).status_code == 200
    body = body_of(APP, [2, "success", datetime.now(UTC).isoformat()])
    statuses = [
        requests.post(f"{url}/hooks/hooked", data=body, headers=signed(body, secret), timeout=30).status_code
        for secret in (SECRET, "another secret")
    ]
    assert statuses == [401, 202]
    wait_until(lambda: shown(exporter) == 2, "it is shown")
