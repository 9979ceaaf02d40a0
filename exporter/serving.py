"""Everything that listens for HTTP: bound before anything else begins, then one server for each listener."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime

from exporter import logs
from exporter.clock import SystemClock
from exporter.config.hooks import HooksSettings
from exporter.config.schema import MetricsSettings, Settings
from exporter.store.connect import ends_with_us
from exporter.web.app import PROBES, WebParts, build_app, build_log_level_app
from exporter.web.gate import Gate
from exporter.web.groups import EVERYWHERE, Group, Listener, group_named, open_listeners
from exporter.web.hooks import PREFIX
from exporter.web.limits import DEFAULT_LIMITS, Limits
from exporter.web.listen import address_of, bind, close_all
from exporter.web.server import WebServer
from exporter.web.systemd import are_passed, passed_sockets
from exporter.web.webconfig import TlsConfig
from exporter.web.webfile import WebConfigFile

log = logging.getLogger(__name__)

_HOOKS_ALONE = frozenset({Group.HOOKS}) | EVERYWHERE
_LARGEST_AT_ONCE = 4  # hooks of the largest size that may be in memory


class Serving:
    """The listeners that the settings ask for, and the servers on them once started.

    Addresses that are for hooks alone are bound and left to another process, which is given them as
    *listeners*, unless the store is in the memory of this one.

    Raises:
        ExporterError: an address cannot be taken, or systemd passed no socket though it should.
    """

    def __init__(self, settings: Settings, listeners: Sequence[Listener] = ()) -> None:
        metrics = settings.metrics
        self.servers: list[WebServer] = []
        self._clock = SystemClock()
        self._hooks = settings.hooks
        self._open_paths = PROBES if metrics.probes_without_password else frozenset()
        web_file = metrics.web_config_file
        self._web = WebConfigFile(web_file) if web_file and metrics.enabled else None
        with ExitStack() as undo:
            self._listeners = list(listeners) or _open_listeners(metrics, settings.hooks)
            shares = not ends_with_us(settings.store.url.get_secret_value())
            others = settings.hooks.enabled and shares and not listeners
            self._left = [one for one in self._listeners if others and one.groups == _HOOKS_ALONE]
            undo.callback(self._close_listeners)
            taken = [one for listener in self._listeners for one in listener.sockets]
            port = None if listeners else settings.log.port
            self._log_sockets = bind([f"127.0.0.1:{port}"], taken) if port else []
            undo.pop_all()

    @property
    def left(self) -> list[socket.socket]:
        """What is bound, and left to the process that receives hooks."""
        return [one for listener in self._left for one in listener.sockets]

    def close_left(self) -> None:
        """Give back the addresses that were left to another process, which has ended."""
        for listener in self._left:
            listener.close()

    def close(self) -> None:
        """Give the addresses back; for a program that does not start after all."""
        close_all(self._log_sockets)
        self._close_listeners()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()

    def start(self, parts: WebParts) -> None:
        """Answer, each listener with what belongs to it."""
        self.servers += [self._server(parts, one) for one in self._listeners if one not in self._left]
        if self._log_sockets:
            self.servers.append(WebServer(build_log_level_app(logs.set_level), self._log_sockets))
        for server in self.servers:
            server.start()

    def _server(self, parts: WebParts, listener: Listener) -> WebServer:
        """The server for *listener*."""
        app = build_app(parts, listener.groups)
        limits, hooks = self._limits(listener), parts.hooks
        refused = hooks.refused if hooks else lambda _target, _status: None
        if self._web is None or not listener.guarded:
            return WebServer(app, listener.sockets, limits, refused=refused)
        web = self._web
        gate = Gate(app, web.current, self._open_paths, open_folders=(PREFIX,), clock=self._clock)
        return WebServer(
            gate,
            listener.sockets,
            limits,
            tls=self._tls(),
            headers=lambda: web.current().headers,
            refused=refused,
        )

    def _limits(self, listener: Listener) -> Limits:
        """What a client of *listener* may cost: one that sends hooks may send more."""
        if not self._hooks.enabled or Group.HOOKS not in listener.groups:
            return DEFAULT_LIMITS
        largest = self._hooks.max_body_bytes
        bodies = max(DEFAULT_LIMITS.bodies_bytes, _LARGEST_AT_ONCE * largest)
        return replace(DEFAULT_LIMITS, upload_prefix=PREFIX, upload_bytes=largest, bodies_bytes=bodies)

    def reload(self) -> None:
        """Read the web configuration file anew."""
        if self._web:
            self._web.reload()

    def turns(self, seconds: float) -> bool:
        """Whether every server comes round to new work, each within *seconds*."""
        return all(server.turns(seconds) for server in self.servers)

    def addresses(self) -> list[str]:
        """Where the metrics are: URLs, and ``unix:/path`` for Unix sockets."""
        found = [one for one in self._listeners if Group.METRICS in one.groups]
        return [url for listener in found for url in self._urls(listener)]

    def _urls(self, listener: Listener) -> list[str]:
        scheme = "https" if listener.guarded and self._tls() else "http"
        return [_url(address, scheme) for address in listener.addresses]

    def listening(self) -> str:
        """Every address, and what it answers, for the log."""
        told = [
            f"{url} ({', '.join(self._answered(listener))})"
            for listener in self._listeners
            for url in self._urls(listener)
        ] + [f"{_url(address_of(one))} (log level)" for one in self._log_sockets]
        return ", ".join(told) or "nowhere (metrics.enabled is false)"

    def _answered(self, listener: Listener) -> list[Group]:
        """What is answered on *listener*."""
        off = frozenset() if self._hooks.enabled else {Group.HOOKS}
        return [group for group in Group if group in listener.groups - off]

    def _tls(self) -> Callable[[], TlsConfig | None] | None:
        """What gives the TLS settings of the moment; ``None`` means plain HTTP."""
        web = self._web
        return (lambda: web.current().tls) if web and web.current().tls else None

    def certificate_expiry(self) -> datetime | None:
        """Until when the certificate that clients see is valid."""
        found = (server.certificate_not_after() for server in self.servers)
        return next((instant for instant in found if instant), None)


def _open_listeners(metrics: MetricsSettings, hooks: HooksSettings) -> list[Listener]:
    """What answers HTTP, bound; nothing when the server is off.

    Raises:
        ExporterError: an address cannot be taken, or systemd passed no socket though it should.
    """
    if not metrics.enabled:
        return []
    if not metrics.systemd_socket and are_passed(os.environ):
        log.warning("systemd passed sockets on which nobody will answer: set metrics.systemd_socket: true")
    passed = passed_sockets(os.environ) if metrics.systemd_socket else []
    addresses = {
        Group.METRICS: () if metrics.systemd_socket else metrics.addr,
        Group.HEALTH: metrics.health_addr,
        Group.ADMIN: metrics.admin_addr,
        Group.API: metrics.api_addr if metrics.api else (),
        Group.HOOKS: hooks.addr if hooks.enabled else (),
    }
    return open_listeners(addresses, [(group_named(name), one) for name, one in passed])


def _url(address: str, scheme: str = "http") -> str:
    return address if address.startswith("unix:") else f"{scheme}://{address}"
