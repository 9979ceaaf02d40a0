"""The metrics of any program over HTTP: the same hardened server, without the rest of the exporter."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.errors import ConfigError
from exporter.rendering import Format
from exporter.web.app import WebParts, build_app
from exporter.web.groups import Group
from exporter.web.landing import LandingPage
from exporter.web.listen import bind
from exporter.web.server import WebServer

log = logging.getLogger(__name__)

_GROUPS = frozenset({Group.METRICS, Group.HEALTH})
_GZIP_LEVEL = 1


class Collects(Protocol):
    """Anything that prometheus_client can collect from."""

    def collect(self) -> Iterable[Metric]: ...


class MetricsServer:
    """``/metrics`` and ``/healthz`` of a program that brings its own metrics; a context manager.

    It listens from :meth:`start` until :meth:`stop`, on loopback unless told otherwise, with the timeouts and
    caps of the exporter itself, and adds the metrics of process and Python to those of *sources*. The port is
    taken when the object is made, so that a taken one is an error before anything else starts.
    """

    def __init__(
        self, *sources: Collects, addr: str | Sequence[str] = "127.0.0.1:9101", path: str = "/metrics"
    ) -> None:
        """Bind *addr*: ``host:port`` or ``unix:/path``, or several of them.

        Raises:
            ExporterError: an address cannot be taken.
            ValueError: two sources have a metric of one name.
        """
        self._registry = CollectorRegistry(auto_describe=True)
        for source in sources:
            self._registry.register(source)
        for ours in (ProcessCollector, PlatformCollector):
            with suppress(ValueError):  # the registry of prometheus_client, as a source, has them already
                ours(registry=self._registry)
        parts = WebParts(
            render=self._render,
            readiness=lambda: None,
            landing=lambda: LandingPage("Metrics", "", "", links=[(path, "Metrics"), ("/healthz", "Health")]),
            reload=_nothing,
            set_log_level=_refuse,
            telemetry_path=path,
        )
        app = build_app(parts, _GROUPS)
        self._server = WebServer(app, bind([addr] if isinstance(addr, str) else addr))
        self._path = path

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as ``host:port`` or ``unix:/path``; a port of 0 has become a real one."""
        return self._server.addresses

    def start(self) -> Self:
        """Return once scrapes are answered."""
        self._server.start()
        log.info("metrics server started", extra={"listening": ", ".join(self.addresses), "path": self._path})
        return self

    def stop(self, timeout: float = 5.0) -> None:
        """Finish the scrapes in flight, within *timeout* seconds; then the port is free again."""
        self._server.stop(timeout)
        log.info("metrics server stopped")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _render(
        self, form: Format, zipped: bool, names: Sequence[str], collectors: Sequence[str]
    ) -> Sequence[bytes]:
        if collectors:
            raise LookupError("there are no collectors to choose from here; leave out collect[]")
        source = self._registry.restricted_registry(names) if names else self._registry
        generate = generate_openmetrics if form is Format.OPENMETRICS else generate_latest
        body = generate(source)
        return [gzip.compress(body, _GZIP_LEVEL) if zipped else body]


def _nothing() -> None:
    """There is no configuration to reload; its endpoint is not answered either."""


def _refuse(level: str) -> None:
    raise ConfigError(f"the log level cannot be set to {level} here")
