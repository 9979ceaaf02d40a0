"""One request in, one reply out: faults, counts and the control endpoints that every stand-in has."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

from collectors._standin.asking import Answer, Refusal, Request
from collectors._standin.faults import Faults, Reply, Rule, spoil
from collectors._standin.times import iso

_CONTROL = "/__standin__/"


class World(Protocol):
    """What is simulated; ``now`` is in milliseconds since 1970."""

    @property
    def now(self) -> int:
        """The simulated time."""
        ...

    def catch_up(self) -> None:
        """Let happen what is due by the real time, if time passes by itself."""
        ...

    def advance(self, milliseconds: int) -> None:
        """Let time pass, and happen what is due."""
        ...


class Site(ABC):
    """The whole stand-in behind a socket: a world and how it is shown, limited and spoiled.

    Under ``/__standin__/`` it is steered: ``advance``, ``action``, ``truth``, ``requests``, ``faults``.
    """

    def __init__(self, world: World, base_url: str, token: str, *, latency_ms: int = 0) -> None:
        self.base_url = base_url
        self.token = token
        self.faults = Faults(latency=latency_ms / 1000)
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.recent: deque[str] = deque(maxlen=2_000)
        self._world = world
        self.controls: dict[tuple[str, str], Callable[[Request], object]] = {
            ("POST", "advance"): self._advance,
            ("POST", "action"): self._action,
            ("GET", "truth"): lambda request: self.truth(dict(parse_qsl(request.target.partition("?")[2]))),
            ("GET", "requests"): self._requests,
            ("DELETE", "requests"): self._forget_requests,
            ("GET", "faults"): lambda _: self._show_faults(),
            ("POST", "faults"): self._set_faults,
            ("DELETE", "faults"): self._clear_faults,
        }

    @property
    def now(self) -> int:
        """The simulated time, in milliseconds since 1970."""
        return self._world.now

    @abstractmethod
    def api(self, request: Request) -> Reply:
        """The reply to any request that steers nothing; made with :meth:`spoiled`."""

    @abstractmethod
    def act(self, given: dict[str, Any]) -> object:
        """Make something happen: ``given["action"]`` says what; `ValueError` if it cannot."""

    @abstractmethod
    def truth(self, asked: Mapping[str, str]) -> object:
        """What really happened."""

    def admit(self, request: Request) -> None:  # noqa: B027 - most have no limit
        """Raise `Refusal` if the request is one too many."""

    def reply_headers(self, request: Request) -> list[tuple[str, str]]:
        """Headers that every reply has."""
        return []

    def move(self) -> None:  # noqa: B027 - most only need to have moved when they are asked
        """Called now and then: let happen what others are told of unasked."""

    def handle(self, request: Request) -> Reply:
        """The reply to *request*, in which time has moved on first."""
        self._world.catch_up()
        path = request.target.partition("?")[0]
        if path.startswith(_CONTROL):
            return self._control(request, path.removeprefix(_CONTROL))
        reply = self.api(request)
        self.statuses[str(reply.status)] += 1
        return reply

    def spoiled(self, request: Request, answer: Callable[[Rule | None], Answer], name: str) -> Reply:
        """Count a request to *name*, answer it, and do with the reply what the faults want.

        *answer* is told the rule that strikes, if any: ``same_page`` is done where pages are made.
        """
        self.counts[f"{request.method} /{name}" if name else "unknown"] += 1
        self.recent.append(f"{request.method} {request.target}")
        rule = self.faults.match(request.target)
        try:
            self.admit(request)
            reply = as_reply(answer(rule))
        except Refusal as refusal:
            reply = as_reply(Answer(refusal.body, refusal.status, list(refusal.headers)))
        reply.delay = self.faults.latency
        reply.headers += self.reply_headers(request)
        return reply if rule is None else spoil(reply, rule)

    # -- controls ------------------------------------------------------------------------------

    def _control(self, request: Request, name: str) -> Reply:
        control = self.controls.get((request.method, name))
        if control is None:
            return as_reply(Answer({"error": f"controls: {sorted(self.controls)}"}, 404))
        try:
            return as_reply(Answer(control(request)))
        except (ValueError, KeyError, TypeError) as error:
            return as_reply(Answer({"error": f"{type(error).__name__}: {error}"}, 400))

    def _advance(self, request: Request) -> object:
        self._world.advance(round(float(given(request)["seconds"]) * 1000))
        return {"now": iso(self.now)}

    def _action(self, request: Request) -> object:
        wanted = given(request)
        if wanted.get("action") == "set_token":
            self.token = str(wanted["token"])
            return {}
        return self.act(wanted)

    def _requests(self, request: Request) -> object:
        known: dict[str, Any] = {
            "total": sum(self.counts.values()),
            "by_endpoint": dict(self.counts),
            "by_status": dict(self.statuses),
        }
        if "log" in request.target.partition("?")[2]:
            known["recent"] = list(self.recent)
        return known

    def _forget_requests(self, _request: Request) -> object:
        self.counts.clear()
        self.statuses.clear()
        self.recent.clear()
        return {}

    def _show_faults(self) -> object:
        rules = [rule.as_json() for rule in self.faults.rules]
        return {"rules": rules, "latency_ms": self.faults.latency * 1000}

    def _set_faults(self, request: Request) -> object:
        wanted = given(request)
        if "latency_ms" in wanted:
            self.faults.latency = float(wanted["latency_ms"]) / 1000
        if "rules" in wanted:
            self.faults.replace(wanted["rules"])
        return self._show_faults()

    def _clear_faults(self, _request: Request) -> object:
        self.faults.replace(())
        self.faults.latency = 0.0
        return {}


def as_reply(answer: Answer) -> Reply:
    """*answer* as bytes: text as it is, anything else as JSON; nothing at all with a 204 or 304."""
    if answer.status in (204, 304):
        return Reply(answer.status, list(answer.headers), b"")
    if isinstance(answer.body, str):
        return Reply(answer.status, [("Content-Type", "text/plain"), *answer.headers], answer.body.encode())
    body = json.dumps(answer.body, separators=(",", ":")).encode()
    return Reply(answer.status, [("Content-Type", answer.content_type), *answer.headers], body)


def given(request: Request) -> dict[str, Any]:
    """The JSON object in the body of *request*."""
    value = json.loads(request.body or b"{}")
    if not isinstance(value, dict):
        raise TypeError("an object is wanted")
    return value
