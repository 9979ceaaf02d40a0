"""How fast webhooks are acknowledged and shown while rounds run: a real process, a real sender.

    python -m tests.bench.bench_hooks [--rate 500] [--seconds 10] [--units 50] [--pause 2] [--shared]

The sender is a process of its own on kept connections, as a source behind a proxy is; it sends at a fixed
rate however slow the answers are. Meanwhile each unit is polled every few seconds, and every poll brings
forty changed runs that have to be saved; with a short pause (0.05) rounds take all of a core.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from tests.support.hooked import SECRET, body_of, install, signed
from tests.support.process import ExporterProcess, free_port, wait_until

_PADDING = "x" * 2500  # hooks of CI systems have 2 to 20 kB
_CONNECTIONS = 32


async def _send_all(port: int, rate: float, bodies: list[bytes]) -> list[tuple[float, int]]:
    """``(seconds, status)`` of each hook; late sends count from when they were due."""
    due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    results: list[tuple[float, int]] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            at, body = await due.get()
            fields = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
            head = f"POST /hooks/hooked HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            results.append((time.perf_counter() - at, int(answer.split()[1])))
            due.task_done()

    senders = [asyncio.create_task(connection()) for _ in range(_CONNECTIONS)]
    await asyncio.sleep(0.2)
    begin = time.perf_counter()
    for number, body in enumerate(bodies):
        at = begin + number / rate
        while (left := at - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        due.put_nowait((at, body))
    await due.join()
    for sender in senders:
        sender.cancel()
    return results


def _sender(port: int, rate: float, bodies: list[bytes], results: Any) -> None:
    gc.disable()
    results.put(asyncio.run(_send_all(port, rate, bodies)))


def _bodies(number: int, units: list[str]) -> list[bytes]:
    now = datetime.now(UTC).isoformat()
    return [
        body_of(units[index % len(units)], [1_000_000 + index, "success", now], padding=_PADDING)
        for index in range(number)
    ]


def _answers(port: int) -> None:
    """Wait until hooks are answered."""
    requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30)


@contextmanager
def _rounds(source: Path, units: list[str]) -> Iterator[None]:
    """Let every poll find runs that changed."""
    over = threading.Event()

    def change() -> None:
        turn = 0
        while not over.wait(1.0):
            turn += 1
            now = datetime.now(UTC).isoformat()
            runs = [[number, "running" if number + turn & 1 else "pending", now] for number in range(1, 41)]
            source.with_suffix(".new").write_text(json.dumps(dict.fromkeys(units, runs)))
            source.with_suffix(".new").replace(source)

    thread = threading.Thread(target=change)
    thread.start()
    yield
    over.set()
    thread.join()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _counted(text: str) -> float:
    lines = (line for line in text.splitlines() if line.startswith("ci_pipeline_runs_total{"))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def measure(folder: Path, options: argparse.Namespace) -> None:
    units = [f"group/app-{number}" for number in range(options.units)]
    source = folder / "found.json"
    port = free_port()
    polls = {"poll_interval_seconds": options.pause, "poll_interval_max_seconds": options.pause}
    config = {
        "store": {"url": options.url or f"sqlite:///{folder}/runs.db"},
        "hooks": {"enabled": True, **({} if options.shared else {"addr": f"127.0.0.1:{port}"})},
        "collectors": {"hooked": {"secret": SECRET, "units": units, "source": str(source), **polls}},
    }
    number = round(options.rate * options.seconds)
    imported = install(folder / "installed")
    with ExporterProcess(folder, config, import_from=(imported,), measured=False) as exporter:
        exporter.start().wait_ready()
        results: Any = multiprocessing.Queue()
        target = exporter.port if options.shared else port
        _answers(target)
        arguments = (target, options.rate, _bodies(number, units), results)
        sender = multiprocessing.Process(target=_sender, args=arguments)
        with _rounds(source, units):
            sender.start()
            before = _cpu(exporter.process.pid)
            answers = results.get()
            sent = time.perf_counter()
            print(f"CPU {_cpu(exporter.process.pid) - before:.2f} s while sending")
            wait_until(lambda: _counted(exporter.scrape()) >= number, "all hooks are shown")
            shown = time.perf_counter() - sent
        sender.join()
        _report(answers, number, shown, exporter.scrape())


def _report(answers: list[tuple[float, int]], number: int, shown: float, text: str) -> None:
    seconds = sorted(answer[0] for answer in answers)
    at = {
        share: seconds[min(len(seconds) - 1, int(len(seconds) * share))] * 1000 for share in (0.5, 0.9, 0.99)
    }
    kept = sum(status == 202 for _, status in answers)
    print(f"hooks {number}, acknowledged {kept}, lost {number - _counted(text):g}")
    print(f"ack ms: p50 {at[0.5]:.1f}  p90 {at[0.9]:.1f}  p99 {at[0.99]:.1f}  worst {seconds[-1] * 1000:.1f}")
    print(f"after the last ack, all were on /metrics within {shown:.2f} s")
    wanted = "ci_exporter_hooks_processing_seconds_bucket"
    print("\n".join(line for line in text.splitlines() if line.startswith(wanted)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--units", type=int, default=50)
    parser.add_argument("--shared", action="store_true", help="send to the address of the metrics")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two polls of a unit")
    parser.add_argument("--url", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options)


if __name__ == "__main__":
    main()
