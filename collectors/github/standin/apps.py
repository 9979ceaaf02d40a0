"""GitHub Apps: a signed claim in, a token of an hour out."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from collectors._standin.asking import Answer, Refusal, Request
from collectors._standin.times import HOUR
from collectors.github.standin.render import second

_LONGEST_CLAIM_SECONDS = 600


class Apps:
    """One App with one installation, and the tokens that were made for it."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._app: dict[str, Any] = {}
        self._tokens: dict[str, int] = {}
        self._made = 0

    def register(self, app_id: int, installation_id: int, public_key: str) -> None:
        """There is such an App; *public_key* is PEM."""
        self._app = {"app_id": app_id, "installation_id": installation_id, "public_key": public_key}

    def revoke(self) -> None:
        """Refuse every token made so far."""
        self._tokens.clear()

    def knows(self, token: str) -> bool:
        """Whether it was made less than an hour ago."""
        return self._tokens.get(token, 0) > self._now()

    def mint(self, request: Request, path: str) -> Answer:
        """A new token, for a claim that the App signed."""
        self._check(request.headers.get("authorization", "").partition(" ")[2])
        if path != f"app/installations/{self._app['installation_id']}/access_tokens":
            raise Refusal(404, {"message": "Not Found"})
        self._made += 1
        token, until = f"ghs_standin{self._made:06d}", self._now() + HOUR
        self._tokens[token] = until
        body = {"token": token, "expires_at": second(until), "permissions": {"actions": "read"}}
        return Answer(body | {"repository_selection": "all"}, 201)

    def _check(self, claim: str) -> None:
        """Refuse a claim that is not signed by the App, is out of date, or lasts too long."""
        try:
            self._verify(claim)
            claims = json.loads(_decoded(claim.split(".")[1]))
            if str(claims["iss"]) != str(self._app["app_id"]):
                raise ValueError("issuer")
            now = self._now() / 1000
            if not claims["iat"] <= now < claims["exp"] <= now + _LONGEST_CLAIM_SECONDS:
                raise ValueError("times")
        except (ValueError, KeyError, IndexError) as error:
            message = f"A JSON web token could not be decoded ({error})"
            raise Refusal(401, {"message": message, "documentation_url": "https://docs.github.com"}) from None

    def _verify(self, claim: str) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        signed, _, signature = claim.rpartition(".")
        key = load_pem_public_key(self._app["public_key"].encode())
        assert isinstance(key, rsa.RSAPublicKey)  # noqa: S101
        try:
            key.verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            raise ValueError("signature") from None


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
