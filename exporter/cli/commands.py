"""What the commands do that read a configuration."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from exporter import __version__, logs
from exporter.app import App, ConfigSource, refuse_idleness
from exporter.cli import output
from exporter.cli.alerts import check_templates, rehearsed
from exporter.cli.interpreter import tune
from exporter.cli.notifying import check_channels
from exporter.cli.parser import overrides
from exporter.cli.progress import ProgressBar
from exporter.clock import SystemClock
from exporter.config.load import Config
from exporter.contract import Backfills, Collector, Demonstrates
from exporter.errors import ConfigError, ExporterError, SinkError, Stopped
from exporter.parts import Parts
from exporter.plugins import collector_classes, refuse_foreign_packages
from exporter.rounds.backfill import Progress, backfill
from exporter.rounds.once import first_error, run_once
from exporter.sinks.base import Sink, SinkContext
from exporter.sinks.building import build_sinks
from exporter.store.base import Store
from exporter.store.sql import SqlStore
from exporter.web.tls import load as load_identity
from exporter.web.webread import load_web_config


def _source(options: argparse.Namespace) -> ConfigSource:
    return ConfigSource(options.config, os.environ, overrides(options))


def _load(options: argparse.Namespace) -> Config:
    """The checked configuration, with logging set up as it says."""
    config = _source(options).load()
    logs.configure(config.settings.log.level, config.settings.log.format, sys.stderr)
    return config


def serve(options: argparse.Namespace) -> int:
    """Run until told to stop."""
    refuse_foreign_packages()
    tune()
    App(_source(options)).run()
    # Polls that were abandoned have threads of their own: they must not keep the process alive.
    logging.shutdown()
    os._exit(0)


def demo(options: argparse.Namespace) -> int:
    """Run on the stand-ins that collectors bring."""
    from exporter.cli.demo import run_demo

    directory = options.directory or Path(tempfile.mkdtemp(prefix="ci-exporter-demo-"))
    sources: dict[str, Any] = {
        name: cls for name, cls in collector_classes().items() if isinstance(cls, Demonstrates)
    }
    run_demo(directory, sources, overrides(options))
    logging.shutdown()
    os._exit(0)


def check(options: argparse.Namespace) -> int:
    """Check the configuration, and with ``--online`` every source."""
    config = _load(options)
    parts = Parts(config, SqlStore("sqlite://"), rehearsal=True)
    sinks = _sinks(config, parts)
    for warning in _web_warnings(config):
        print(f"warning: {warning}", file=sys.stderr)
    check_channels(config)
    check_templates(config)
    for line in rehearsed(config, parts.providers(), parts.clock.now(), online=options.online):
        print(line, file=sys.stderr)
    if not options.online:
        output.print_config(config)
        print("configuration ok", file=sys.stderr)
        return 0
    store = SqlStore(config.settings.store.url.get_secret_value())
    print(f"store: ok ({store.name})", file=sys.stderr)
    store.close()
    failures = run_once(parts.rounds, capacity=config.settings.engine.capacity)
    # All of them: whoever mends something wants to know of everything.
    good = [output.print_source(rounds, failures[rounds.name]) for rounds in parts.rounds]
    good += [_takes_events(sink) for sink in sinks]
    parts.close()
    return 0 if all(good) else 1


def _sinks(config: Config, parts: Parts) -> list[Sink]:
    """The sinks of *config*, for trying them out.

    Raises:
        ConfigError: one cannot be built.
    """
    metrics = parts.metrics
    context = SinkContext(parts.store, parts.clock, metrics.sinks, metrics.work, __version__)
    streams = frozenset(stream for one in parts.collectors.values() for stream in one.streams)
    try:
        return build_sinks(config.settings, context, streams)
    except ConfigError as error:
        raise ConfigError([config.located(problem) for problem in error.problems]) from None


def _takes_events(sink: Sink) -> bool:
    """Whether the receiver of *sink* answers as it should; says what it found out."""
    try:
        for line in sink.try_out():
            print(f"{sink.name}: {line}", flush=True)
    except SinkError as error:
        for line in str(error).splitlines():
            print(f"{sink.name}: failed: {line}", flush=True)
        return False
    finally:
        sink.close()
    return True


def _web_warnings(config: Config) -> Iterator[str]:
    """What works in the web configuration file, but hardly as it was meant.

    Raises:
        ConfigError: OpenSSL does not take its TLS settings as a whole.
    """
    path = config.settings.metrics.web_config_file
    if path is None:
        return
    web = load_web_config(path)
    yield from map(str, web.warnings)
    fault = load_identity(web.tls).fault(SystemClock().now()) if web.tls else None
    if fault:
        yield f"{path}: {fault}"


def once(options: argparse.Namespace) -> int:
    """One round, then print, push or write what it brought."""
    config = _load(options)
    refuse_idleness(config)
    parts = Parts(config, SqlStore(config.settings.store.url.get_secret_value()))
    lease = parts.store.lease()
    if not lease.acquire():
        raise ExporterError("another process polls for this store; stop it, or set another store.url")
    _end_on_sigterm(parts)
    error = first_error(run_once(parts.rounds, capacity=config.settings.engine.capacity))
    lease.release()
    if options.push:
        output.push(parts.registry, options.push)
    if options.textfile:
        output.write_textfile(parts.registry, options.textfile)
    if not options.push and not options.textfile:
        output.print_metrics(parts.registry, options.format)
    parts.close()
    if error:
        raise error
    return 0


def backfill_(options: argparse.Namespace) -> int:
    """Fill in history."""
    config = _load(options)
    parts = Parts(config, SqlStore(config.settings.store.url.get_secret_value()))
    chosen = [
        collector
        for name, collector in parts.collectors.items()
        if options.collector in (None, name) and isinstance(collector, Backfills)
    ]
    if not chosen:
        wanted = f"named {options.collector} " if options.collector else ""
        raise ConfigError(f"no collector {wanted}with a history is configured and enabled")
    _end_on_sigterm(parts)
    end = parts.clock.now()
    failures: dict[str, list[str]] = {}
    failed = 0
    for collector in chosen:
        try:
            progress = _backfilled(collector, parts.store, end, options.days, config)
        except Stopped:
            raise
        except ExporterError as failure:
            # A source that is away must not keep the history of the others from being read.
            failures[collector.name] = [str(failure)]
            continue
        output.print_backfill(collector.name, progress)
        failed += progress.failed
    parts.close()
    if error := first_error(failures):
        raise error
    return 1 if failed else 0


def _backfilled(
    collector: Collector[Any], store: Store, end: datetime, days: int, config: Config
) -> Progress:
    """Fill in the last *days* of one collector, and show how far it is."""
    with ProgressBar(f"backfill {collector.name}", sys.stderr) as bar:
        return backfill(
            collector,
            store,
            start=end - timedelta(days=days),
            end=end,
            capacity=config.settings.engine.capacity,
            report=lambda done: bar.show(done.units_done, done.units, f"{done.runs} rows new or changed"),
        )


def _end_on_sigterm(parts: Parts) -> None:
    """Let SIGTERM end a long command cleanly: what is saved stays, the rest is read at the next run."""

    def end(_number: int, _frame: FrameType | None) -> None:
        # Beside us: this thread may be in the middle of a method of that very event.
        threading.Thread(target=parts.stopping.set).start()
        raise Stopped("stopped before the end; run it again to go on")

    signal.signal(signal.SIGTERM, end)
