"""Uses the installed `ci-exporter` as a newcomer would: lists, demo, metrics, one round, and a clean end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

READY_SECONDS = 120
END_SECONDS = 5


def run(*arguments: str, env: dict[str, str] | None = None) -> str:
    """The output of one command that must succeed."""
    done = subprocess.run(
        ["ci-exporter", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | (env or {}),
    )
    if done.returncode:
        sys.exit(f"ci-exporter {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def get(url: str) -> str | None:
    """The body of a 200, else ``None``."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError):
        return None


def wait(what: str, log: Path, find: Callable[[], str | None]) -> str:
    """What *find* finds once it finds something."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.2)
    sys.exit(f"no {what} within {READY_SECONDS} s; the log says:\n{log.read_text()}")


def _address(log: str) -> str | None:
    """Where the demo listens, once it has said so."""
    found = re.search(r"^  overview +(\S+?)/$", log, re.MULTILINE)
    return found[1] if found else None


def demo(work: Path) -> None:
    """Start the demo, keep its metrics, take one round from its source, and end it."""
    directory, log = work / "demo", work / "demo.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            ["ci-exporter", "demo", "--directory", str(directory), "--web.listen-address", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL,
            stderr=stream,
        )
    try:
        url = wait("address", log, lambda: _address(log.read_text()))
        wait("readiness", log, lambda: get(f"{url}/-/ready"))
        metrics = wait("metrics", log, lambda: get(f"{url}/metrics"))
        (work / "metrics.txt").write_text(metrics)
        config = ("--config", str(directory / "config.yaml"))
        run("check", "--online", *config)
        once = run("once", *config, env={"CI_EXPORTER__STORE__URL": f"sqlite:///{work / 'once.db'}"})
        for text in (metrics, once):
            if "\nci_pipeline_runs_total{" not in text:
                sys.exit("no ci_pipeline_runs_total among the metrics")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(END_SECONDS)
        print(
            f"{metrics.count(chr(10))} lines of metrics; ended {time.monotonic() - began:.1f} s after SIGTERM"
        )
        if code:
            sys.exit(f"exit code {code} after SIGTERM; the log says:\n{log.read_text()}")
    finally:
        process.kill()


def main() -> None:
    """Run it all."""
    print(run("version"), run("collectors"), sep="", end="")
    run("metrics", "--format", "markdown")
    demo(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
