"""Every number that bounds what one client may cost, in one place."""

from __future__ import annotations

from dataclasses import dataclass

BACKLOG = 256
"""Connections the kernel may hold for us; also the most that one turn of the loop accepts."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client is given before it is refused or cut; times in seconds, sizes in bytes.

    ``header_seconds`` and ``request_seconds`` count from the connection, or from the first byte of
    the next request on a kept connection, and never start anew because another byte came. With TLS
    ``handshake_seconds`` count from the connection, and the others from the end of the handshake.
    ``write_seconds`` counts from the first byte of a response that the client did not take.
    ``linger_seconds`` is how long a refused client may go on sending before the reset that its unread
    bytes cause can no longer destroy the refusal. Requests whose path begins with ``upload_prefix`` (empty:
    none) may have a body of ``upload_bytes``; all bodies together that are read or worked on may have
    ``bodies_bytes``.
    """

    header_seconds: float = 5.0
    request_seconds: float = 10.0
    write_seconds: float = 10.0
    idle_seconds: float = 60.0
    handshake_seconds: float = 5.0
    linger_seconds: float = 1.0
    target_bytes: int = 8 * 1024
    header_bytes: int = 32 * 1024
    header_fields: int = 100
    body_bytes: int = 64 * 1024
    upload_prefix: str = ""
    upload_bytes: int = 0
    bodies_bytes: int = 64 * 1024 * 1024
    connections: int = 256
    workers: int = 4

    def body_bytes_of(self, target: bytes) -> int:
        """How large the body of a request for *target* may be."""
        is_upload = self.upload_prefix and target.startswith(self.upload_prefix.encode())
        return self.upload_bytes if is_upload else self.body_bytes


DEFAULT_LIMITS = Limits()
