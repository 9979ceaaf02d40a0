"""What hooks prove themselves with: a shared secret, compared or signed with, in constant time."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from exporter.hooks import Hook, NotUnderstood


class HookSettings(BaseModel):
    """The block ``hooks:`` of a collector; without a secret no hook is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    secret: SecretStr | None = Field(default=None, description="secret that the source sends or signs with")
    secret_file: Path | None = Field(default=None, description="file with the secret")

    @property
    def key(self) -> bytes:
        """The secret; empty if there is none."""
        return self.secret.get_secret_value().encode() if self.secret else b""


def equal(given: str, secret: bytes) -> bool:
    """Whether *given*, the value of a header, is the secret; never if there is none."""
    return bool(secret) and hmac.compare_digest(_sent(given), secret)


def signed(hook: Hook, header: str, secret: bytes, *, prefix: str = "") -> bool:
    """Whether *header* holds the SHA-256 HMAC of the body in hex, after *prefix*; never without a secret."""
    given = hook.headers.get(header, "")
    if not given or not secret:
        return False  # nor need anyone's large body be hashed
    wanted = prefix + hmac.new(secret, hook.body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(_sent(given), wanted.encode())


def _sent(header: str) -> bytes:
    """What was sent as *header*, which is read as Latin-1 whatever it is."""
    return header.encode("latin-1", "backslashreplace")


def body_object(hook: Hook) -> dict[str, Any]:
    """The JSON object in the body.

    Raises:
        NotUnderstood: there is none.
    """
    try:
        value = json.loads(hook.body)
    except (ValueError, RecursionError):
        raise NotUnderstood("the body is no JSON") from None
    if not isinstance(value, dict):
        raise NotUnderstood("the body is no JSON object")
    return value
