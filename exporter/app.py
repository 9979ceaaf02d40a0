"""The one place that knows every part: builds them, starts them, reloads and stops them."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import BaseModel, SecretStr

from exporter import __version__, logs
from exporter.clock import timestamp
from exporter.config.load import NEED_RESTART, Config, load
from exporter.config.secrets import SecretUrl
from exporter.contract import Collector
from exporter.errors import ConfigError
from exporter.notify import Notifier
from exporter.parts import Parts, close_all
from exporter.plugins import collector_classes
from exporter.receiving import Receiving
from exporter.rendering import Format
from exporter.rounds.scheduler import Engine
from exporter.serving import Serving
from exporter.showing import ShownByRegistry
from exporter.signals import Signals
from exporter.sinks.base import Sink, SinkContext
from exporter.sinks.building import build_sinks
from exporter.sinks.couriers import Couriers
from exporter.store.sql import SqlStore
from exporter.web.app import WebParts
from exporter.web.landing import LandingPage
from exporter.web.status.known import NAMES, Known, read_known
from exporter.web.status.shapes import CollectorState, Standing
from exporter.web.webread import load_web_config

log = logging.getLogger(__name__)

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})
_SINKS_END_SECONDS = 3.0
_INTAKE_ENDS_SECONDS = 0.3
_STOP_SECONDS = 4.0  # of the five that are promised; the rest is for the lease and the way out


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Where the configuration comes from, so that it can be read again."""

    path: Path | None
    env: Mapping[str, str]
    overrides: Mapping[str, Any]

    def load(self) -> Config:
        """Read and check it and the web configuration file; raises `ConfigError` with every problem."""
        models = {name: cls.config_model for name, cls in collector_classes().items()}
        config = load(self.path, models=models, env=self.env, overrides=self.overrides)
        if config.settings.metrics.web_config_file is not None:
            load_web_config(config.settings.metrics.web_config_file)
        register_secrets(config)
        return config


def register_secrets(config: Config) -> None:
    """Have no secret of *config* logged."""
    for secret in _secrets([config.settings, config.collectors]):
        logs.register_secret(secret)


def refuse_idleness(config: Config) -> None:
    """Refuse to run with nothing to do.

    Raises:
        ConfigError: no collector is configured and enabled.
    """
    if not config.collectors:
        where = f"{config.path}: " if config.path else ""
        raise ConfigError(
            f"{where}no collector is configured: write a block under collectors: (config.example.yaml shows"
            " them all), or look around with `ci-exporter demo`"
        )


def config_text(config: Config) -> str:
    """*config* as it is understood, as YAML, secrets masked."""
    return yaml.safe_dump(config.redacted(), sort_keys=False, allow_unicode=True)


def _secrets(value: Any) -> Iterator[str]:
    """Every secret anywhere in *value*, and the passwords of secret URLs by themselves."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _secrets(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _secrets(inner)
    elif isinstance(value, SecretUrl):
        password = urlsplit(value.get_secret_value()).password
        yield from (password, unquote(password)) if password else ()
    elif isinstance(value, SecretStr):
        yield value.get_secret_value()


class App:
    """The running service."""

    def __init__(self, source: ConfigSource) -> None:
        self._source = source
        self._config = source.load()
        refuse_idleness(self._config)
        settings = self._config.settings
        self._telemetry_path = settings.metrics.path
        logs.configure(settings.log.level, settings.log.format, sys.stderr)
        # Ports first: the commonest mistake should cost nothing, and leave nothing behind.
        self.serving = Serving(settings)
        with ExitStack() as undo:
            undo.callback(self.serving.close)
            self.parts = Parts(self._config, SqlStore(settings.store.url.get_secret_value()))
            undo.pop_all()
        self.engine = Engine(
            self.parts.store,
            self.parts.metrics,
            self.parts.clock,
            capacity=settings.engine.capacity,
            retention_days=settings.store.retention_days,
            dead_letter_days=settings.store.dead_letter_days,
            stopping=self.parts.stopping,
        )
        self.parts.wake = self.engine.wake
        self.couriers = Couriers(self.parts.store.outbox, self.parts.metrics.sinks, self.parts.clock)
        self.couriers.exchange(self._build_sinks(self._config, self.parts.collectors), 0.0)
        self.receiving = (
            Receiving(
                self._config, self.parts, lambda: self.engine.rounds, self.engine.wake, self.serving.left
            )
            if settings.hooks.enabled
            else None
        )
        self.engine.led = self._lead
        self._reloading = threading.Lock()
        self._notifier = Notifier(os.environ)
        self._loaded()

    def start(self) -> None:
        """Show what the store has, listen, and begin to poll."""
        self.engine.adopt(self.parts.rounds)
        if self.receiving:
            self.receiving.start()
        self.serving.start(self._web_parts())
        self.parts.metrics.certificate_expiry = self.serving.certificate_expiry
        self.engine.start()
        log.info(
            "started",
            extra={
                "version": __version__,
                "collectors": ", ".join(self.parts.collectors) or "none",
                "listening": self.serving.listening(),
            },
        )

    def _lead(self, leading: bool) -> None:
        """This process polls from now on, or does so no more."""
        self.couriers.lead(leading)
        if self.receiving:
            self.receiving.lead(leading)

    def turns(self, seconds: float) -> bool:
        """Whether every web server and the scheduler come round to new work, each within *seconds*."""
        return self.serving.turns(seconds) and self.engine.turns(seconds)

    def _web_parts(self) -> WebParts:
        metrics = self._config.settings.metrics
        return WebParts(
            render=self._render,
            readiness=self.engine.not_ready,
            landing=self._landing,
            reload=self.reload,
            set_log_level=logs.set_level,
            telemetry_path=self._telemetry_path,
            lifecycle=metrics.lifecycle,
            config=lambda: config_text(self._config),
            history=self.parts.history if metrics.api else None,
            clock=self.parts.clock,
            standing=self._standing,
            zone=self._config.settings.zone,
            hooks=self.receiving.door if self.receiving else None,
        )

    def _render(self, form: Format, gzip: bool, names: Any, collectors: Any) -> list[bytes]:
        return self.parts.registry.pieces(form, gzip=gzip, names=names, collectors=collectors)

    def _landing(self) -> LandingPage:
        return LandingPage(
            name="ci-exporter",
            version=__version__,
            description="Prometheus exporter for CI: every finished run counted exactly once.",
            links=[
                (self._telemetry_path, "Metrics"),
                ("/status", "Status of all projects"),
                ("/api/openapi.json", "JSON API: runs, statistics, and this description of it"),
                ("/healthz", "Health"),
                ("/-/ready", "Readiness"),
                ("/-/config", "Configuration"),
            ],
            collectors=[(name, *self._freshness(name)) for name in self.parts.collectors],
        )

    def _freshness(self, name: str) -> tuple[datetime | None, str]:
        """When the collector last succeeded, and how it stands."""
        stamp = self.parts.registry.get_sample_value(
            "ci_exporter_last_success_timestamp_seconds", {"collector": name}
        )
        rounds = self.engine.rounds.get(name)
        state = (rounds.not_ready() if rounds else None) or "up to date"
        return datetime.fromtimestamp(stamp, UTC) if stamp else None, state

    def _standing(self) -> Standing:
        """What the status page shows besides the history."""
        known = read_known(self.parts.registry.render(Format.TEXT, names=NAMES).decode())
        return Standing([self._collector_state(name, known) for name in self.parts.collectors], known.waiting)

    def _collector_state(self, name: str, known: Known) -> CollectorState:
        collector, rounds = self.parts.collectors[name], self.engine.rounds.get(name)
        success = known.last_success.get(name)
        trouble = rounds.not_ready() if rounds else None
        if trouble is not None:
            trouble = trouble.removeprefix(f"{name}: ")
        elif name in known.failing:
            trouble = "some of what it reads failed the last time; the log says what"
        return CollectorState(
            name=name,
            provider=collector.provider,
            polled=collector.polled,
            last_success=datetime.fromtimestamp(success, UTC) if success else None,
            trouble=trouble,
        )

    # -- reload --------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the configuration again and go on with it; a bad one changes nothing.

        Raises:
            ConfigError: with every problem.
        """
        with self._reloading, self._announced():
            try:
                config, collectors, sinks = self._load_anew()
            except ConfigError as error:
                self.parts.metrics.reload_successful.set(0)
                log.error(  # noqa: TRY400 - the problems say it all
                    "reload refused, the old configuration stays",
                    extra={"problems": [str(problem) for problem in error.problems]},
                )
                raise
            self._warn_of_restart(config)
            self.couriers.exchange(sinks, _SINKS_END_SECONDS)
            old = list(self.parts.collectors.values())
            self.parts.exchange(collectors)
            self.engine.replace(self.parts.rounds)
            if self.receiving:
                self.receiving.renew(config)
            self._config = config.running(self._config.settings)
            logs.set_level(config.settings.log.level)
            self.serving.reload()
            self._loaded()
            close_all(old)
            log.info("configuration reloaded", extra={"collectors": ", ".join(collectors) or "none"})

    @contextmanager
    def _announced(self) -> Iterator[None]:
        """Tell systemd when a reload begins and ends."""
        self._notifier.reloading()
        try:
            yield
        finally:
            self._notifier.ready(self._status())

    def _status(self) -> str:
        """The service in a line, for ``systemctl status``."""
        return f"{', '.join(self.parts.collectors)}; listening: {self.serving.listening()}"

    def _build_sinks(self, config: Config, collectors: Mapping[str, Collector[Any]]) -> list[Sink]:
        """New sinks as *config* wants them."""
        context = SinkContext(
            store=self.parts.store,
            clock=self.parts.clock,
            metrics=self.parts.metrics.sinks,
            work=self.parts.metrics.work,
            version=__version__,
            zone=config.settings.zone,
            shown=ShownByRegistry(self.parts.registry, lambda: self.engine.not_ready() is None),
        )
        streams = frozenset(stream for one in collectors.values() for stream in one.streams)
        try:
            return build_sinks(config.settings, context, streams)
        except ConfigError as error:
            raise ConfigError([config.located(problem) for problem in error.problems]) from None

    def _load_anew(self) -> tuple[Config, dict[str, Collector[Any]], list[Sink]]:
        """The configuration as it is now, with collectors and sinks built from it.

        Raises:
            ConfigError: also for what a collector raises while it is built: the old one must go on.
        """
        try:
            config = self._source.load()
            collectors = self.parts.build(config)
            return config, collectors, self._build_sinks(config, collectors)
        except ConfigError:
            raise
        except Exception as error:
            log.exception("a collector or sink could not be built")
            raise ConfigError(f"a collector or sink could not be built: {type(error).__name__}") from error

    def _loaded(self) -> None:
        self.parts.metrics.reload_successful.set(1)
        self.parts.metrics.reload_timestamp.set(timestamp(self.parts.clock.now()))

    def _warn_of_restart(self, config: Config) -> None:
        """Say which changes a reload cannot bring."""
        for section in NEED_RESTART:
            if getattr(config.settings, section) != getattr(self._config.settings, section):
                log.warning("a change needs a restart to take effect", extra={"section": section})

    # -- stop ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop within 5 seconds: polls in flight end or are abandoned unsaved, requests are answered."""
        log.info("stopping")
        self._notifier.stopping()
        self.parts.stopping.set()
        enders = [
            threading.Thread(target=server.stop, args=(_STOP_SECONDS,)) for server in self.serving.servers
        ]
        for ender in enders:
            ender.start()
        # Beside the polls: all have the whole time to end what they began.
        others_ended: list[bool] = []
        others = [self.couriers.stop]
        if self.receiving:
            others += [self.receiving.stop_reading, self.receiving.stop_receiving]
        for stop in others:
            ender = threading.Thread(target=lambda stop=stop: others_ended.append(stop(_STOP_SECONDS)))
            ender.start()
            enders.append(ender)
        ended = self.engine.stop(_STOP_SECONDS)
        for ender in enders:
            ender.join()
        if self.receiving:
            # Only now: until here, a server may have had hooks to acknowledge.
            others_ended.append(self.receiving.stop(_INTAKE_ENDS_SECONDS))
        self.serving.close_left()
        if ended and all(others_ended):
            self.parts.close()
        log.info("stopped", extra={"polls_abandoned": not ended})

    def run(self, started: Callable[[App], None] | None = None) -> None:
        """Start, serve until SIGTERM or SIGINT, reload on SIGHUP, stop."""
        signals = Signals((*_ENDING, signal.SIGHUP))
        self.start()
        if started:
            started(self)
        self._notifier.ready(self._status())
        self._notifier.watch(self.turns)
        while _ENDING.isdisjoint(signals.wait()):
            # A bad configuration is logged, and shown by ci_exporter_config_last_reload_successful.
            with suppress(ConfigError):
                self.reload()
        self.stop()
