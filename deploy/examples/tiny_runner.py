"""A small CI runner: runs a command for each new commit of a Git branch, and shows itself to Prometheus.

python tiny_runner.py URL BRANCH 127.0.0.1:9101 make test

Needs git and ci-exporter. Outputs go to runner.log; how a commit ended, to the repository as refs/ci/RESULT/COMMIT.
"""

import signal
import subprocess
import sys
import tempfile
import threading

from ci_exporter import (
    RESULT_TO_STATUS,
    Backoff,
    FetchResult,
    MetricsServer,
    RunnerMetrics,
    Schedule,
    jittered,
)

url, branch, address, *command = sys.argv[1:]
metrics = RunnerMetrics("act_runner", version="1.0", name="tiny", capacity=1)
pace, stopping, seen = Backoff(Schedule(base=2, maximum=60)), threading.Event(), ""


def git(*arguments, folder="."):
    done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, check=True, timeout=60)
    return done.stdout.decode()


def run(commit):
    with metrics.job() as job, tempfile.TemporaryDirectory() as folder:
        git("clone", "--quiet", "--branch", branch, url, folder)
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        result = "failure" if done.returncode else "success"
        job.status = RESULT_TO_STATUS[result]
        with metrics.report_log(), open("runner.log", "ab") as log:
            log.write(done.stdout)
        with metrics.report_state():
            git("push", "--quiet", "origin", f"{commit}:refs/ci/{result}/{commit}", folder=folder)


for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stopping.set())
with MetricsServer(metrics, addr=address):
    while not stopping.wait(jittered(pace.interval)):
        result = FetchResult.ERROR
        try:
            with metrics.fetch(method="ls-remote") as fetch:
                head = git("ls-remote", url, f"refs/heads/{branch}")[:40]
                fetch.found(head not in ("", seen))
            if fetch.result is FetchResult.TASK:
                run(head)
                seen = head
            result = fetch.result
        except (OSError, subprocess.SubprocessError) as error:
            print(error, file=sys.stderr)
        pace.note(result)
        metrics.backoff(pace.interval)
