"""Who we are as a GitHub App: a claim signed with its key buys tokens of an hour.

Source:
    docs.github.com, "Generating a JSON Web Token (JWT) for a GitHub App" and "Authenticating as a GitHub App
    installation".
"""

from __future__ import annotations

import base64
import json
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from collectors._credentials import Credentials
from collectors._http import ApiClient
from collectors._values import instant, json_object, text
from collectors.github.settings import Connection
from exporter.clock import EPOCH, Clock, timestamp
from exporter.errors import ConfigError, Unauthorized

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_SKEW_SECONDS = 60  # that our clock may be ahead of GitHub's
_CLAIM_SECONDS = 480  # of the ten minutes that are allowed
_EARLY = timedelta(minutes=5)
_FRESH = timedelta(minutes=1)
_ASK_AGAIN = timedelta(minutes=10)


class AppClaim(Credentials):
    """What an App says of itself, signed anew for each call; ``token`` is the private key as PEM."""

    def __init__(self, config: Connection, clock: Clock) -> None:
        given = config.private_key.get_secret_value() if config.private_key else ""
        super().__init__(given, config.private_key_file)
        if not given:
            self.changed()
        self._app_id = config.app_id
        self._clock = clock
        _load(self.token)  # a key that is none is found at the start, not at the first poll

    def header(self) -> str:
        """The value of the Authorization header."""
        now = int(timestamp(self._clock.now()))
        claims = {"iat": now - _SKEW_SECONDS, "exp": now + _CLAIM_SECONDS, "iss": str(self._app_id)}
        unsigned = ".".join(_encoded(json.dumps(part).encode()) for part in (_HEAD, claims))
        return f"Bearer {unsigned}.{_encoded(_signed(self.token, unsigned.encode()))}"


class AppCredentials(Credentials):
    """The token of an installation, bought when it is first needed, and again before it runs out."""

    def __init__(self, api: ApiClient, installation_id: int, clock: Clock) -> None:
        super().__init__()
        self._api = api
        self._path = f"app/installations/{installation_id}/access_tokens"
        self._clock = clock
        self._bought_at = self._until = self._asked_again_at = EPOCH
        self._buying = threading.RLock()

    @property
    def token(self) -> str:
        """A token that holds for some minutes more; buys one if need be."""
        with self._buying:
            if self._clock.now() >= self._until - _EARLY:
                self._buy()
            return self._bought

    @token.setter
    def token(self, value: str) -> None:
        self._bought = value

    def refuse(self, token: str) -> bool:
        """Note that *token* was refused; whether there is another one by now."""
        with self._buying:
            if self._bought != token:
                return True
            if self._clock.now() - self._bought_at < _FRESH:
                return False  # another one would fare no better
            self._buy()
            return True

    def changed(self) -> bool:
        """Whether there is another key, or it is time to see whether the installation is back."""
        if self._api.credentials.changed():
            return True
        now = self._clock.now()
        if now - self._asked_again_at < _ASK_AGAIN:
            return False
        self._asked_again_at, self._until = now, EPOCH
        return True

    def _buy(self) -> None:
        self._asked_again_at = self._clock.now()
        answer = self._api.post(self._path, "installation_token", {})
        if answer.status not in (200, 201):
            raise Unauthorized(f"GitHub knows no such installation of the App ({answer.status})")
        body = json_object(answer.body, "token")
        self._bought, self._until = text(body, "token"), instant(body, "expires_at")
        self._bought_at = self._clock.now()


_HEAD = {"alg": "RS256", "typ": "JWT"}
_keys: dict[str, RSAPrivateKey] = {}
_keys_turn = threading.Lock()


def _load(pem: str) -> RSAPrivateKey:
    """The key in *pem*; parsed once."""
    try:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ModuleNotFoundError:
        raise ConfigError(
            "a GitHub App needs the package cryptography; install ci-exporter[github-app]"
        ) from None
    with _keys_turn:
        if pem not in _keys:
            try:
                key = load_pem_private_key(pem.encode(), None)
            except (ValueError, TypeError):
                key = None
            if not isinstance(key, RSAPrivateKey):
                raise ConfigError("the private key of the GitHub App is no RSA key in PEM format")
            _keys.clear()
            _keys[pem] = key
        return _keys[pem]


def _signed(pem: str, text_: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        return _load(pem).sign(text_, PKCS1v15(), SHA256())
    except ConfigError as error:
        raise Unauthorized(str(error)) from None


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
