"""Who we are at a source: a token that may be exchanged while calls are under way."""

from __future__ import annotations

import base64
import threading
from pathlib import Path

import requests

from exporter.config.files import Unreadable
from exporter.config.secrets import read_secret


class Credentials(requests.auth.AuthBase):
    """A token, the same for all threads; from the configuration, or from a *file* read again once refused.

    An empty token sends nothing.
    """

    scheme = "Bearer"

    def __init__(self, token: str = "", file: Path | None = None) -> None:
        self.token = token
        self._file = file
        self._refused: str | None = None
        self._turn = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.token:
            request.headers["Authorization"] = self.header()
        return request

    def header(self) -> str:
        """The value of the Authorization header."""
        return f"{self.scheme} {self.token}"

    def changed(self) -> bool:
        """Whether the file holds another token than the one that was refused; takes it over."""
        token = self._read()
        if token is None or token == self._refused:
            return False
        self.token = token
        return True

    def refuse(self, token: str) -> bool:
        """Note that *token* was refused; whether there is another one by now.

        The token is the one of the failed call: another thread may have exchanged it meanwhile, and
        must not see the new one called refused.
        """
        with self._turn:
            if self.token != token:
                return True
            self._refused = token
            return self.changed()

    def _read(self) -> str | None:
        try:
            return read_secret(self._file) if self._file else None
        except Unreadable:
            return None  # a rotation that is under way; it is read again shortly


class UserCredentials(Credentials):
    """A user name with a token in place of the password, as HTTP basic authentication."""

    def __init__(self, user: str, token: str = "", file: Path | None = None) -> None:
        super().__init__(token, file)
        self._user = user

    def header(self) -> str:
        """The value of the Authorization header."""
        return "Basic " + base64.b64encode(f"{self._user}:{self.token}".encode()).decode()
