"""How fast the API answers over HTTP from 1,000,000 stored runs, to a client in a process of its own.

Run it as ``PYTHONPATH=. python tests/bench/bench_api.py [FILE]``; FILE is made if it is not there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import quantiles

from exporter.clock import FixedClock
from exporter.store.sql import SqlStore
from exporter.web.app import WebParts, build_app
from exporter.web.landing import LandingPage
from exporter.web.listen import bind
from exporter.web.server import WebServer
from tests.bench.bench_history import NOW, generate

TIMES = 20
PATHS = (
    "/healthz",
    "/api/stats/summary",
    "/api/stats/summary?from=now-30d&to=now",
    "/api/stats/summary?project=group-1*&status=failed",
    "/api/pipelines?limit=100",
    "/api/pipelines?limit=100&sort=-duration",
    "/api/pipelines?limit=100&format=csv",
    "/api/pipelines?limit=1000",
    "/api/projects?from=now-7d",
    "/api/stats/timeseries?from=now-7d",
    "/api/stats/jobs?from=now-7d",
    "/api/stats/dora",
)
_CLIENT = """
import http.client, json, sys, time
host, port, path, times = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
connection = http.client.HTTPConnection(host, port)
seconds = []
for _ in range(times):
    started = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, (path, body)
    seconds.append(time.perf_counter() - started)
print(json.dumps([seconds, len(body)]))
"""


def measure(address: str, path: str) -> str:
    """What asking for *path* many times took, after one to warm up."""
    host, _, port = address.rpartition(":")
    command = [sys.executable, "-c", _CLIENT, host, port, path, str(TIMES + 1)]
    worked = time.process_time()
    seconds, size = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    # Of this process, which only serves: what a busy machine does not change.
    worked = 1000 * (time.process_time() - worked) / (TIMES + 1)
    cuts = quantiles(seconds[1:], n=20, method="inclusive")
    times = f"p50 {1000 * cuts[9]:7.1f} ms   p95 {1000 * cuts[18]:7.1f} ms   processor {worked:7.1f} ms"
    return f"{path:52} {times}   {size / 1024:6.0f} KB"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(directory) / "million.db"
        if not file.exists():
            generate(file)
        with closing(SqlStore(f"sqlite:///{file}")) as store:
            parts = WebParts(
                render=lambda fmt, gzip, names, collectors: [],
                readiness=lambda: None,
                landing=lambda: LandingPage("n", "1", "d"),
                reload=lambda: None,
                set_log_level=lambda level: None,
                history=store.history(lambda: {"gitlab": "gitlab"}),
                clock=FixedClock(NOW),
            )
            server = WebServer(build_app(parts), bind(["127.0.0.1:0"]))
            server.start()
            for path in PATHS:
                print(measure(server.addresses[0], path), flush=True)
            server.stop()


if __name__ == "__main__":
    main()
