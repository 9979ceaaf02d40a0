"""The web configuration file while the program runs: read again when it, or a certificate in it, changes."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

from exporter.errors import ConfigError
from exporter.web.stamps import Stamped
from exporter.web.webconfig import ClientAuth, WebConfig
from exporter.web.webread import load_web_config

_log = logging.getLogger(__name__)
_NO_LONGER = (
    "the web configuration file no longer asks for {}; it may be half written, so the old one stays:"
    " reload (SIGHUP) if that is meant"
)
_SWITCHED = "the web configuration file switches TLS on or off, which needs a restart; all else is taken"


class WebConfigFile:
    """One file, followed from a first good reading on; safe to use from any thread.

    A change that is no good leaves the last good configuration in force, and so does one that a file half
    written could have caused: that passwords or client certificates are no longer asked for is believed only
    by :meth:`reload`. TLS cannot be switched on or off under open sockets at all.
    """

    def __init__(self, path: Path) -> None:
        """Read *path*.

        Raises:
            ConfigError: with every problem.
        """
        self._path = path
        self._stamped = Stamped()
        self._config = load_web_config(path, self._stamped)
        self._warn(self._config)
        self._reading = threading.Lock()
        self._told = ""
        self._told_of_the_switch = False

    def current(self) -> WebConfig:
        """What counts now; costs a stat of each file, and a reading only when one of them changed."""
        if self._stamped.changed() and self._reading.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._reading.release()
        return self._config

    def reload(self) -> None:
        """Read the file again and believe it, unless it is wrong or needs a restart: that is logged."""
        with self._reading:
            self._follow(trusting=True)

    def _follow(self, *, trusting: bool = False) -> None:
        stamped = Stamped()
        try:
            config = load_web_config(self._path, stamped)
        except ConfigError as error:
            refusal, problems = "the web configuration file is not valid; the old one stays", str(error)
        else:
            problems = ""
            if (config.tls is None) != (self._config.tls is None):
                self._tell_of_the_switch(trusting=trusting)
                config = replace(config, tls=self._config.tls)
            given_up = _given_up(self._config, config)
            refusal = _NO_LONGER.format(given_up) if given_up and not trusting else ""
        if not refusal:
            if config != self._config:
                _log.info("web configuration file read again")
            if config.warnings != self._config.warnings:
                self._warn(config)
            self._config = config
        elif trusting or refusal + problems != self._told:
            _log.error(refusal, extra={"problems": problems.splitlines()} if problems else {})
        self._told = refusal + problems if refusal else ""
        # Last: who sees the new stamps must see the new configuration too.
        self._stamped = stamped

    def _warn(self, config: WebConfig) -> None:
        for warning in config.warnings:
            _log.warning("%s", warning)

    def _tell_of_the_switch(self, *, trusting: bool) -> None:
        """Say once, and at each reload, that TLS stays as it is under open sockets."""
        if trusting or not self._told_of_the_switch:
            _log.error(_SWITCHED)
        self._told_of_the_switch = True


def _given_up(old: WebConfig, new: WebConfig) -> str:
    """What *old* asked of everyone and *new* asks of nobody, empty for nothing."""
    if old.users and not new.users:
        return "passwords"
    if old.tls is None or new.tls is None:
        return ""
    required = ClientAuth.REQUIRE_AND_VERIFY
    if old.tls.client_auth is required and new.tls.client_auth is not required:
        return "client certificates"
    return "names in client certificates" if old.tls.allowed_sans and not new.tls.allowed_sans else ""
