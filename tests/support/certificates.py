"""Certificates and keys for tests, made by the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def make_pair(folder: Path, name: str, *, passphrase: str | None = None) -> None:
    """A self-signed ``name.crt`` for localhost and its ``name.key`` in *folder*."""
    hidden = ("-passout", f"pass:{passphrase}") if passphrase else ("-noenc",)
    command = ["openssl", "req", "-x509", *_EC, *hidden, "-days", "30", "-subj", f"/CN={name}"]
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")]
    subprocess.run([*command, "-addext", names, *files], check=True, capture_output=True, timeout=30)
