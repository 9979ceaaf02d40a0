"""A certificate authority of a test's own, the files a server is given, and clients that trust them."""

from __future__ import annotations

import os
import ssl
import subprocess
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

from exporter.web.webconfig import TlsConfig

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
SEVERAL_DAYS_AGO = datetime.now(UTC) - timedelta(days=9)


class Pki:
    """An authority whose files lie in *folder*; ``cert`` and ``key`` are what a server is told to use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.cert, self.key, self.client_ca = folder / "web.crt", folder / "web.key", folder / "clients.pem"
        self.trust(self.authority)
        self.leaf = self.renew()

    def renew(self, **validity: datetime) -> trustme.LeafCert:
        """Put a new certificate and its key in place, as a rotation that is over has."""
        self.leaf = self.authority.issue_cert("127.0.0.1", **validity)
        self.put(self.cert, self.chain)
        self.put(self.key, self.leaf.private_key_pem.bytes())
        return self.leaf

    @property
    def chain(self) -> bytes:
        """The certificate of :attr:`leaf`, as PEM."""
        return b"".join(pem.bytes() for pem in self.leaf.cert_chain_pems)

    def trust(self, authority: trustme.CA) -> None:
        """Let *authority* be the one that signs clients."""
        self.put(self.client_ca, authority.cert_pem.bytes())

    def put(self, path: Path, content: bytes) -> None:
        """Replace a file as a careful program does."""
        new = path.with_suffix(".new")
        new.write_bytes(content)
        os.replace(new, path)

    def config(self, **changes: Any) -> TlsConfig:
        """The settings of a server with these files."""
        return TlsConfig(**{"cert": self.cert, "key": self.key, **changes})

    def client(
        self,
        certificate: trustme.LeafCert | None = None,
        *,
        version: ssl.TLSVersion | None = None,
        ciphers: str | None = None,
    ) -> ssl.SSLContext:
        """The context of a client that trusts the authority, and that speaks one version if told so."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        if ciphers is not None:
            context.set_ciphers(ciphers)
        if version is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = version
        return context


def make_pair(folder: Path, name: str, *, passphrase: str | None = None) -> None:
    """A self-signed ``name.crt`` for localhost and its ``name.key`` in *folder*, by the openssl command."""
    hidden = ("-passout", f"pass:{passphrase}") if passphrase else ("-noenc",)
    command = ["openssl", "req", "-x509", *_EC, *hidden, "-days", "30", "-subj", f"/CN={name}"]
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")]
    subprocess.run([*command, "-addext", names, *files], check=True, capture_output=True, timeout=30)
