"""What a running program costs, seen from outside: time and CPU of scrapes, memory. For benches only."""

from __future__ import annotations

import http.client
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Scrapes:
    """What scrapes of one kind took."""

    milliseconds: list[float] = field(default_factory=list)
    cpu: float = 0
    body: bytes = b""

    def __str__(self) -> str:
        times = self.milliseconds
        return (
            f"{median(times):.1f} ms ({min(times):.1f}–{max(times):.1f}), CPU {self.cpu / len(times):.1f} ms,"
            f" {len(self.body):,} bytes"
        )


class Scraped:
    """A running program under a name to print, looked at from outside."""

    def __init__(self, name: str, pid: int, port: int) -> None:
        self.name, self.pid, self.port = name, pid, port

    def scrape(self, encoding: str, into: Scrapes | None = None) -> bytes:
        """The body of one GET on a fresh connection, its cost added to *into*."""
        cpu, started = self._cpu(), time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        milliseconds = (time.perf_counter() - started) * 1e3
        assert response.status == 200, body
        if into is not None:
            into.milliseconds.append(milliseconds)
            into.cpu += self._cpu() - cpu
            into.body = body
        return body

    def _cpu(self) -> float:
        """Milliseconds of CPU that the process used so far."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / _TICKS * 1e3

    def megabytes(self) -> tuple[float, float]:
        """Resident memory now and at most."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        now, most = (re.search(rf"{key}:\s+(\d+)", status) for key in ("VmRSS", "VmHWM"))
        assert now is not None
        assert most is not None
        return int(now[1]) / 1024, int(most[1]) / 1024
