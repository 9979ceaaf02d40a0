"""Whether certificates and keys can be used, found out by letting OpenSSL load them."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MISMATCH = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")
_WEAK = ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK")
_SWAPPED = "holds a private key and no certificate that can be read: are the two files swapped?"
_NO_CERTIFICATE = "holds no certificate in PEM form that can be read"


class _Encrypted(Exception):
    """OpenSSL asked for a passphrase."""


def certificate_fault(cert: bytes) -> str | None:
    """Why *cert* is of no use, as a sentence without its subject; ``None`` when it can be read."""
    try:
        with as_path(cert) as path:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        return _SWAPPED if b"PRIVATE KEY-----" in cert else _NO_CERTIFICATE
    return None


def key_fault(cert: bytes, key: bytes) -> str | None:
    """Why *key* cannot serve for *cert*, which itself can be read; ``None`` when it can."""
    try:
        with as_path(cert) as cert_path, as_path(key) as key_path:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_path, key_path, _no_passphrase)
    except _Encrypted:
        return "is encrypted, and nobody is there to type the passphrase: store it decrypted, mode 0600"
    except ssl.SSLError as error:
        if error.reason in _MISMATCH:
            return "does not belong to the certificate; of several in its file, the server's must come first"
        if error.reason in _WEAK:
            return "is too weak: OpenSSL refuses it or its certificate"
        return "holds no private key in PEM form that can be read"
    except OSError:
        return "cannot be loaded"
    return None


def _no_passphrase() -> str:
    # Without this OpenSSL asks on the terminal, and waits.
    raise _Encrypted


@contextmanager
def as_path(content: bytes) -> Iterator[str]:
    """A path under which OpenSSL finds *content*, which stays in memory where the system can do that."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        with os.fdopen(os.memfd_create("pem"), "wb", buffering=0) as file:
            file.write(content)
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(buffering=0) as named:
            named.write(content)
            yield named.name
