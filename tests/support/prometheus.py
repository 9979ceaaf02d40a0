"""A real Prometheus on loopback that scrapes what a test wants."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
import yaml

from tests.support.process import PATIENCE, free_port, wait_until
from tests.support.tools import require


class Prometheus:
    """Scrapes one target every second; a context manager that ends it."""

    def __init__(
        self, folder: Path, target: str, *, rules: Path | None = None, alertmanager: str | None = None
    ) -> None:
        program = require("prometheus", "prometheus")
        self.url = f"http://127.0.0.1:{free_port()}"
        told = [alertmanager] if alertmanager else []
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "ci-exporter", "static_configs": [{"targets": [target]}]}],
            "rule_files": [str(rules)] if rules else [],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": told}]}]},
        }
        path = folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        with (folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    f"--config.file={path}",
                    f"--storage.tsdb.path={folder / 'tsdb'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The instant vector that *expression* gives now."""
        answer = self._get("query", query=expression)
        return [(row["metric"], float(row["value"][1])) for row in answer["result"]]

    def series(
        self, expression: str, seconds: float, step: float = 5
    ) -> list[tuple[dict[str, str], list[float]]]:
        """What *expression* gave at each *step* of the last *seconds*, series by series."""
        now = time.time()
        asked = {"query": expression, "start": now - seconds, "end": now, "step": step}
        answer = self._get("query_range", **asked)
        return [(row["metric"], [float(value) for _, value in row["values"]]) for row in answer["result"]]

    def label_values(self, label: str, selector: str) -> list[str]:
        """The values that *label* has in the series of *selector*."""
        return list(self._get(f"label/{label}/values", **{"match[]": selector}))

    def _get(self, path: str, **asked: Any) -> Any:
        response = requests.get(f"{self.url}/api/v1/{path}", params=asked, timeout=PATIENCE)
        answer: dict[str, Any] = response.json()
        assert answer["status"] == "success", (asked, answer)
        return answer["data"]

    def scalar(self, expression: str) -> float:
        """The one value of *expression*."""
        rows = self.query(expression)
        assert len(rows) == 1, (expression, rows)
        return rows[0][1]

    def wait_scrapes(self, number: int = 2) -> None:
        """Wait for some more successful scrapes."""

        def scraped() -> float:
            try:
                rows = self.query("count_over_time(up[1h]) and up == 1")
            except (requests.RequestException, AssertionError):
                return 0
            return rows[0][1] if rows else 0

        goal = scraped() + number
        wait_until(lambda: scraped() >= goal, "Prometheus scraped the exporter")


class Alertmanager:
    """A real Alertmanager on loopback, that knows what *folder* holds; a context manager that ends it."""

    def __init__(self, folder: Path, config: Path, address: str = "") -> None:
        program = require("prometheus-alertmanager", "prometheus-alertmanager")
        self.address = address or f"127.0.0.1:{free_port()}"
        with (folder / "alertmanager.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    f"--config.file={config}",
                    f"--storage.path={folder / 'alertmanager'}",
                    f"--web.listen-address={self.address}",
                    "--cluster.listen-address=",
                ],
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """The alerts of that name that fire now; none while it does not answer."""
        try:
            answer = requests.get(f"http://{self.address}/api/v2/alerts?active=true", timeout=PATIENCE)
            found: list[dict[str, Any]] = answer.json()
        except (requests.RequestException, ValueError):
            return []
        return [alert for alert in found if alert["labels"]["alertname"] == name]
