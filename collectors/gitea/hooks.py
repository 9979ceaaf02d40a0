"""What Gitea's webhooks say, and how they prove that it is Gitea who says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collectors._hooks import body_object, signed
from collectors.gitea import mapping
from exporter.contract import Unit
from exporter.errors import SourceError
from exporter.hooks import Hook, NotUnderstood

# Forgejo sends the headers of both.
_SIGNATURES = (("x-gitea-signature", ""), ("x-forgejo-signature", ""), ("x-hub-signature-256", "sha256="))
_EVENT_HEADERS = ("x-gitea-event", "x-forgejo-event")
_IDS = ("x-gitea-delivery", "x-forgejo-delivery")
_RUN, _JOB = "workflow_run", "workflow_job"
# So often that a test of the webhook, or one for all events, is no sign of trouble.
_OTHERS = frozenset(("create", "delete", "push", "pull_request", "release", "repository"))


def is_authentic(hook: Hook, secret: bytes) -> bool:
    """Whether the body is signed with *secret*."""
    return any(signed(hook, header, secret, prefix=prefix) for header, prefix in _SIGNATURES)


def delivery(hook: Hook) -> str:
    """The id of the delivery, empty if there is none."""
    return _first(hook.headers, _IDS)


def changed_repository(hook: Hook) -> Unit | None:
    """The repository in which a run or job changed, ``None`` for news that change nothing we show.

    The body is not enough to make records of: a run comes without its creation and its jobs, and a job
    without those that it waited for.

    Raises:
        NotUnderstood: another event, or a body of another shape.
    """
    event = _first(hook.headers, _EVENT_HEADERS)
    if event in _OTHERS:
        return None
    if event not in (_RUN, _JOB):
        raise NotUnderstood(f"events of type {event or 'unknown'} are not read")
    body = body_object(hook)
    if event == _JOB and body.get("action") != "completed":
        return None  # that one waits or begins, the run tells
    return _repository(body)


def _repository(body: Mapping[str, Any]) -> Unit:
    try:
        return mapping.unit(body.get("repository"))
    except SourceError as error:
        raise NotUnderstood(str(error)) from None


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((headers[name] for name in names if headers.get(name)), "")
