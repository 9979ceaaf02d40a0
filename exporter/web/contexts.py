"""The TLS identity in use now, renewed when its settings or files change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from exporter.clock import Clock
from exporter.errors import ConfigError
from exporter.web.tls import Identity, load
from exporter.web.webconfig import Pem, TlsConfig

HANDSHAKES_EACH = 1000
"""Handshakes with one identity. OpenSSL keeps sessions of TLS 1.2 for hours, up to 20,480 of 11 KB each.
Python cannot forbid that, but they go with their context."""
_WARN_EVERY = timedelta(days=1)
_log = logging.getLogger(__name__)


class Contexts:
    """The identity for each next handshake, from settings and files that may change at any time.

    Settings or files that do not fit are logged once, and the last identity that did fit stays. *source*
    gives the settings of now, ``None`` for plain HTTP. Any thread may ask.
    """

    def __init__(self, source: Callable[[], TlsConfig | None], clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._config: TlsConfig | None = None
        self._identity: Identity | None = None
        self._state: object = None
        self._complaint: object = None
        self._handshakes = 0
        self._warned: datetime | None = None

    def check(self) -> None:
        """Return if the first client could be served.

        Raises:
            ConfigError: the settings or files do not fit. What the source raises passes too.
        """
        with self._lock:
            self._config = self._source()
            if self._config is not None:
                self._warn(self._adopt(self._config))

    def wanted(self) -> bool:
        """Whether the next connection must begin with TLS."""
        with self._lock:
            return self._ask() is not None

    def now(self) -> Identity:
        """The identity for a handshake that begins now.

        Raises:
            ConfigError: there never was one that fits.
        """
        with self._lock:
            identity = self._renewed()
            self._handshakes += 1
            return identity

    def not_after(self) -> datetime | None:
        """Until when the certificate of now is valid; ``None`` for plain HTTP, or when nobody can say."""
        with self._lock:
            try:
                validity = self._renewed().validity if self._ask() is not None else None
                return validity.end if validity else None
            except ConfigError:
                return None

    def _ask(self) -> TlsConfig | None:
        try:
            self._config = self._source()
        except Exception as exc:  # noqa: BLE001  whatever it is, the settings in use must not be lost
            self._complain(repr(exc), f"the TLS settings cannot be read: {exc}")
        return self._config

    def _renewed(self) -> Identity:
        config = self._ask()
        if config is not None and (
            self._identity is None or self._handshakes >= HANDSHAKES_EACH or _state(config) != self._state
        ):
            try:
                self._adopt(config)
            except ConfigError as exc:
                # Tried again at each handshake: a lack of descriptors, say, ends without a changed file.
                then = "HTTPS is refused" if self._identity is None else "what was in use before stays"
                self._complain((_state(config), str(exc)), f"{exc}; {then}")
        if self._identity is None:
            raise ConfigError("there is no TLS certificate that could be used")
        self._warn(self._identity)
        return self._identity

    def _adopt(self, config: TlsConfig) -> Identity:
        # Looked at before reading: files that change while they are read look changed the next time.
        state = _state(config)
        identity = load(config)
        if self._identity is not None and self._identity.certificate != identity.certificate:
            self._warned = None
            until = identity.validity.end if identity.validity else "a time that cannot be read"
            _log.info("a renewed TLS certificate is in use, valid until %s", until)
        self._identity, self._state, self._complaint = identity, state, None
        self._handshakes = 0
        return identity

    def _complain(self, about: object, message: str) -> None:
        if about != self._complaint:
            self._complaint = about
            _log.error(message)

    def _warn(self, identity: Identity) -> None:
        now = self._clock.now()
        fault = identity.fault(now)
        if fault and (self._warned is None or now - self._warned >= _WARN_EVERY):
            self._warned = now
            _log.warning(fault)


def _state(config: TlsConfig) -> object:
    """Something that differs after every change of the settings and of their files."""
    return config, *map(_file_state, (config.cert, config.key, config.client_ca))


def _file_state(pem: Pem | None) -> object:
    # The time of the last change of the inode tells when somebody was allowed to read it.
    if not isinstance(pem, Path):
        return None
    try:
        found = pem.stat()
    except OSError as exc:
        return exc.errno
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
