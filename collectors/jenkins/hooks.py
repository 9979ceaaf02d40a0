"""What Jenkins tells by itself: bodies of its Notification plugin, or a few words from a pipeline."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Container
from typing import Any
from urllib.parse import unquote, urlsplit

from collectors._hooks import equal
from exporter.hooks import Hook, NotUnderstood

_HEADER = "x-ci-exporter-token"


def is_authentic(hook: Hook, secret: bytes) -> bool:
    """Whether *hook* carries the secret: in a header of our own, as a bearer token, or as a password.

    The last is all that the Notification plugin can do: it sends the ``user:password@`` of its URL.
    """
    scheme, _, value = hook.headers.get("authorization", "").partition(" ")
    given = [hook.headers.get(_HEADER, "")]
    if scheme.lower() == "bearer":
        given.append(value.strip(" "))
    elif scheme.lower() == "basic":
        given.append(_password(value.strip()))
    return any(equal(one, secret) for one in given)


def _password(basic: str) -> str:
    try:
        decoded = base64.b64decode(basic, validate=True).decode("latin-1")  # as headers are
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(":")[2]


def job_of(body: dict[str, Any]) -> str:
    """The full name of the job that a hook is about.

    ``{"job": "folder/name", "number": 7}``, where the name is `JOB_NAME` of a pipeline, or what the
    Notification plugin sends: ``{"name": …, "url": "job/folder/job/name/", "build": {"full_url": …}}``.

    Raises:
        NotUnderstood: it names none.
    """
    job = body.get("job")
    if isinstance(job, str) and job.strip("/"):
        return job.strip("/")
    build = body.get("build")
    full_url = build.get("full_url") if isinstance(build, dict) else None
    for url in (body.get("url"), full_url):
        if isinstance(url, str) and (name := _named_in(url)):
            return name
    raise NotUnderstood("the body names no job: there is neither `job`, nor the `url` of one")


def _named_in(url: str) -> str:
    """The full name of the job at *url*; empty if there is none."""
    try:
        parts = [part for part in urlsplit(url).path.split("/") if part]
    except ValueError:
        return ""
    names = []
    if "job" not in parts:
        return ""
    rest = parts[parts.index("job") :]
    while len(rest) >= 2 and rest[0] == "job":
        names.append(unquote(rest[1]))
        rest = rest[2:]
    return "/".join(names)


def unit_key(job: str, units: Container[str]) -> str:
    """The key of the unit of *job*: itself, or the multibranch project that it is a branch of."""
    parent = job.rpartition("/")[0]
    return parent if job not in units and parent in units else job
