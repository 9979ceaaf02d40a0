"""The program with a sink that writes events into a file: ``filesink.py FILE ARGUMENTS…``.

It stands where Kafka would, for tests of what comes before; it is subscribed as the Kafka sink is.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import exporter.app
from exporter.cli import main
from exporter.config.schema import Settings
from exporter.sinks.base import Sink, SinkContext


class FileSink(Sink):
    """Appends a line for each event, then moves its position: killed in between, it writes one again."""

    name = "kafka"

    def __init__(self, file: Path, streams: frozenset[str], context: SinkContext) -> None:
        self.streams = streams
        self._file = file
        self._outbox: Any = context.store.outbox

    def run(self, stopping: threading.Event) -> None:
        with self._outbox.bell() as bell:
            while not stopping.is_set():
                bell.clear()
                for entry in self._outbox.read(self.name, self._outbox.position(self.name), 10):
                    event = entry.event
                    line = {"id": event.id, "type": event.type, "key": event.key, "data": event.data.decode()}
                    with self._file.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    self._outbox.advance(self.name, entry.position)
                bell.wait(0.2)


def sinks(settings: Settings, context: SinkContext, streams: frozenset[str]) -> list[Sink]:
    """The sink, if a broker is configured."""
    return [FileSink(FILE, streams, context)] if settings.sinks.kafka else []


if __name__ == "__main__":
    FILE = Path(sys.argv[1])
    exporter.app.build_sinks = sinks
    main(sys.argv[2:])
