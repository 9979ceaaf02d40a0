"""Scrapes of 150,000 series over HTTP, by a client in a process of its own, against `generate_latest()`."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from prometheus_client import generate_latest

from exporter import ci_families
from exporter.exposition import CollectorPage, Exposition
from exporter.families import Distribution, Sample, Samples
from exporter.registry import Registry
from exporter.selfmetrics import SelfMetrics
from exporter.web.app import WebParts, build_app
from exporter.web.landing import LandingPage
from exporter.web.listen import bind
from exporter.web.server import WebServer

PROJECTS, REFS, JOBS = 500, 20, 6
_CLIENT = """
import http.client, json, sys, time
host, port, encoding, rounds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
connection = http.client.HTTPConnection(host, port)
for line in sys.stdin:
    started = time.perf_counter()
    connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
    body = connection.getresponse().read()
    print(json.dumps([time.perf_counter() - started, len(body)]), flush=True)
"""


def project_samples(project: int, seed: int) -> Samples:
    """About 300 series of one project, with values made from *seed*."""
    chance = random.Random(seed)
    where = ("gitlab", f"group/subgroup/project-{project:04d}")
    refs = [(*where, "", f"branch-{number}", "branch", "push") for number in range(REFS)]
    jobs = [(*where, "test", f"job-{number}") for number in range(JOBS)]
    gauges = (
        ci_families.LAST_DURATION,
        ci_families.LAST_QUEUE,
        ci_families.LAST_RUN_ID,
        ci_families.LAST_CREATED,
        ci_families.LAST_FINISHED,
    )

    def distribution(buckets: int) -> Distribution:
        return Distribution(tuple(chance.randrange(100) for _ in range(buckets)), chance.random() * 1e4)

    return {
        **{family: [Sample(labels, chance.random() * 1e4) for labels in refs] for family in gauges},
        ci_families.PIPELINE_STATUS: [Sample((*labels, "success"), 1.0) for labels in refs],
        ci_families.JOB_RUNS: [Sample((*labels, "success", ""), chance.random() * 99) for labels in jobs],
        ci_families.JOB_DURATION: [Sample(labels, distribution(13)) for labels in jobs],
        ci_families.JOB_QUEUE: [Sample(labels, distribution(12)) for labels in jobs],
    }


def resident_megabytes() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


class Client:
    """Scrapes on demand from another process, as Prometheus would."""

    def __init__(self, address: str, encoding: str) -> None:
        host, port = address.rsplit(":", 1)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CLIENT, host, port, encoding, "0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.scrape()

    def scrape(self) -> tuple[float, int]:
        """Seconds and bytes of one scrape."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, size = json.loads(self._process.stdout.readline())
        return seconds, size

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)


def main() -> None:
    """Print one line per case: milliseconds, ratio to the baseline, and the target."""
    exposition = Exposition(max_series_per_family=10**9)
    registry = Registry(exposition, SelfMetrics("bench"))
    page = exposition.page("gitlab", ci_families.FAMILIES)
    collector = SimpleNamespace(
        name="gitlab",
        declared=ci_families.FAMILIES,
        polled=True,
        collect=page.collect,
        describe=lambda: [family.metric() for family in ci_families.FAMILIES],
    )
    registry.add(collector)  # type: ignore[arg-type]
    for project in range(PROJECTS):
        page.swap(str(project), project_samples(project, project))
    parts = WebParts(
        render=lambda form, gzip, names, collectors: registry.pieces(
            form, gzip=gzip, names=names, collectors=collectors
        ),
        readiness=lambda: None,
        landing=lambda: LandingPage("bench", "0", ""),
        reload=lambda: None,
        set_log_level=lambda level: None,
    )
    server = WebServer(build_app(parts), bind(["127.0.0.1:0"]))
    server.start()
    baseline = []
    for _ in range(3):
        started = time.perf_counter()
        generate_latest(page)  # type: ignore[arg-type]
        baseline.append(time.perf_counter() - started)
    base = min(baseline)
    print(f"{datetime.now(UTC):%F} {page.series()} series")
    print(f"baseline generate_latest(): {base * 1e3:.0f} ms (best of 3)")
    for encoding in ("identity", "gzip"):
        _cases(page, server.addresses[0], encoding, base)
    print(f"resident memory of the server process: {resident_megabytes():.0f} MB (target < 400)")
    server.stop()


def _cases(page: CollectorPage, address: str, encoding: str, base: float) -> None:
    client = Client(address, encoding)
    client.scrape()
    quiet = [client.scrape()[0] for _ in range(9)]
    _report(f"{encoding}: nothing changed", median(quiet), base, 100)
    some = []
    for turn in range(5):
        started = time.perf_counter()
        for project in range(0, PROJECTS, 100):
            page.swap(str(project), _fresh[turn % 2][project])
        some.append(time.perf_counter() - started + client.scrape()[0])
    _report(f"{encoding}: 1 % of the projects changed, render and scrape", median(some), base, 50)
    everything = []
    for turn in range(4):
        started = time.perf_counter()
        for project in range(PROJECTS):
            page.swap(str(project), _fresh[turn % 2][project])
        everything.append(time.perf_counter() - started + client.scrape()[0])
    _report(f"{encoding}: everything changed, render and scrape", median(everything), base, 10)
    client.close()


def _report(case: str, seconds: float, base: float, target: int) -> None:
    print(f"{case}: {seconds * 1e3:.1f} ms = 1/{base / seconds:.0f} of the baseline (target 1/{target})")


_fresh = [
    [project_samples(project, seed + project) for project in range(PROJECTS)] for seed in (10_000, 20_000)
]

if __name__ == "__main__":
    main()
