"""Secrets: read from files before validation, never shown afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr

from exporter.config import fields
from exporter.config.draft import Draft, Layer
from exporter.config.files import Unreadable, read_text

HIDDEN = "<secret>"
MAX_SECRET_BYTES = 64 * 1024
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)\Z", re.DOTALL)
_PARAMETER = re.compile(r"([?&;][^=&;]*(?:pass|pwd|secret|token|key)[^=&;]*=)[^&]*", re.IGNORECASE)


class SecretUrl(SecretStr):
    """A URL with a password in it: a secret, though all but the password may be shown on purpose."""

    def masked(self) -> str:
        """The URL without its password."""
        return mask_url(self.get_secret_value())


def mask_url(url: str) -> str:
    """*url* with the password, and parameters named like one, replaced by ``<secret>``.

    Goes too far rather than not far enough: a password may hold unescaped ``/``, ``?`` and ``@``, so all from
    the user to the last ``@`` is taken for it. What is no URL (``host=… password=…``) is hidden whole.
    """
    found = _URL.match(url)
    if found is None:
        return HIDDEN
    scheme, rest = found["scheme"], found["rest"]
    login, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = login.partition(":")
        # Web services take a bare token for a user name; databases have users without a password.
        bare = HIDDEN if scheme.lower() in ("http", "https") or "/" in user else user
        login = f"{user}:{HIDDEN}" if colon else bare
    return f"{scheme}://{login}{at}" + _PARAMETER.sub(rf"\1{HIDDEN}", place)


def redact(value: Any) -> Any:
    """*value* as plain dicts, lists and scalars that can be printed: every secret is ``<secret>``."""
    if isinstance(value, BaseModel):
        return {key: redact(getattr(value, name)) for key, name in _names(type(value)).items()}
    if isinstance(value, SecretUrl):
        return value.masked()
    if isinstance(value, (SecretStr, SecretBytes)):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): redact(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(inner) for inner in value]
    if isinstance(value, Enum):
        return redact(value.value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _names(model: type[BaseModel]) -> dict[str, str]:
    return dict(zip(fields.keys(model), model.model_fields, strict=True))


def read_secret(path: Path) -> str:
    """The secret in *path*, without the line break at its end; for the first reading and after a rotation.

    Raises:
        Unreadable: the file cannot be read, or holds nothing; the message never tells its content.
    """
    secret = read_text(path, MAX_SECRET_BYTES).rstrip("\r\n")
    if not secret.strip():
        raise Unreadable("the file is empty")
    return secret


def make_absolute(draft: Draft, base: Path) -> None:
    """Make every path in *draft* absolute: *base* is the folder of the configuration file."""
    found = [item for item in fields.visit(draft.root, draft.data) if fields.is_path(item[1])]
    for loc, annotation, value in found:
        if not isinstance(value, str) or not value:
            continue
        if fields.takes_text(annotation) and loc:
            continue
        place = draft.place(loc)
        written_in_file = place is not None and place.layer is Layer.FILE
        _assign(draft, loc, str((base if written_in_file else Path.cwd()) / value))


def read_files(draft: Draft) -> None:
    """Replace what ``…_file`` keys name by what is in the files; call after :func:`make_absolute`."""
    blocks = [item for item in fields.visit(draft.root, draft.data) if isinstance(item[2], dict)]
    for loc, annotation, block in blocks:
        for key in fields.secrets_with_file(annotation):
            name = block.get(f"{key}_file")
            if not isinstance(name, str) or not name:
                continue
            if block.get(key):
                message = f"{key} and {key}_file are both set: keep one of them"
                draft.report((*loc, f"{key}_file"), message, soft=True)
                continue
            try:
                block[key] = read_secret(Path(name))
            except Unreadable as error:
                # Neither the name: a token pasted into the wrong key must not come out here.
                draft.report((*loc, f"{key}_file"), str(error), soft=True)


def known_secrets(draft: Draft) -> list[str]:
    """Every secret text in *draft*, longest first; for a last look at messages before they are shown."""
    found = {
        text
        for _, annotation, value in fields.visit(draft.root, draft.data)
        if fields.is_secret(annotation)
        for text in _texts(value)
        if len(text) >= 4
    }
    return sorted(found, key=len, reverse=True)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for inner in pair for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [] if value is None or isinstance(value, bool) else [str(value)]


def _assign(draft: Draft, loc: fields.Loc, value: Any) -> None:
    block = draft.get(loc[:-1])
    block[loc[-1]] = value
