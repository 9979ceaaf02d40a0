"""What apprise does not tell: why a message was not taken, and what the receiver answered.

Apprise says only yes or no. Its log tells more, but also tokens; and some services answer a refusal with
status 200, which apprise takes for a yes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import requests

_SOCKET = "Socket Exception: "
_METHODS = ("request", "get", "post", "put", "patch", "delete")


@dataclass(slots=True)
class Heard:
    """What went on during one attempt, in its order; any of it may tell secrets.

    ``causes`` are why connections failed, ``complaints`` what apprise made of them; ``sent`` is how many
    receivers it says took the message. In a ``rehearsal``, HTTP calls are not made: ``urls`` are where they
    would have gone.
    """

    rehearsal: bool = False
    urls: list[str] = field(default_factory=list)

    answers: list[requests.Response] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    sent: int = 0


_heard: ContextVar[Heard | None] = ContextVar("heard", default=None)


@contextmanager
def overhear(*, rehearsal: bool = False) -> Iterator[Heard]:
    """What apprise does in this block, in this thread and those that it starts for it."""
    heard = Heard(rehearsal)
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


class _Listener(logging.Handler):
    """Keeps why a connection failed, and what apprise complains of."""

    def emit(self, record: logging.LogRecord) -> None:
        heard = _heard.get()
        if heard is None:
            return
        line = record.getMessage()
        if line.startswith(_SOCKET):
            heard.causes.append(line.removeprefix(_SOCKET))
        elif record.levelno >= logging.WARNING:
            heard.complaints.append(line)
        elif record.levelno == logging.INFO and line.startswith("Sent "):
            heard.sent += 1


class _Requests(ModuleType):
    """The module ``requests`` as one plugin of apprise sees it: what it gets is noted."""

    def __init__(self) -> None:
        super().__init__("requests")
        for name in _METHODS:
            setattr(self, name, _noting(getattr(requests, name), at=1 if name == "request" else 0))

    def __getattr__(self, name: str) -> Any:
        return getattr(requests, name)


def _noting(call: Any, at: int) -> Any:
    """*call*, noted; its URL is the argument *at*."""

    def noted(*args: Any, **kwargs: Any) -> requests.Response:
        heard = _heard.get() or Heard()
        if heard.rehearsal:
            heard.urls.append(str(args[at] if len(args) > at else kwargs.get("url", "")))
            raise requests.ConnectionError("this is a rehearsal")
        try:
            answer: requests.Response = call(*args, **kwargs)
        except Exception as error:
            heard.errors.append(error)
            raise
        heard.answers.append(answer)
        return answer

    return noted


def listen_to(plugin: object) -> bool:
    """Have the log of apprise, and the HTTP calls of the class of *plugin*, overheard from now on.

    Returns:
        Whether it makes HTTP calls.
    """
    log = logging.getLogger("apprise")
    if not any(isinstance(handler, _Listener) for handler in log.handlers):
        # Its lines tell tokens and whole messages: they must not reach our log, whatever its level is.
        log.addHandler(_Listener())
        log.propagate = False
        log.setLevel(logging.DEBUG)
    calls = False
    for cls in type(plugin).__mro__:
        module = sys.modules.get(cls.__module__)
        if not cls.__module__.startswith("apprise."):
            continue
        if getattr(module, "requests", None) is requests:
            module.requests = _Requests()  # type: ignore[union-attr]
        calls |= isinstance(getattr(module, "requests", None), _Requests)
    return calls
