"""The webhooks of the simulated GitLab: made when its world moves; sent, lost, doubled or late as told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from collectors._standin.times import dice
from collectors.gitlab.standin.hooks_render import HooksRender
from collectors.gitlab.standin.world import World

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TIMEOUT_SECONDS = 10  # GitLab's own
_EVENTS = {
    "pipeline": "Pipeline Hook",
    "job": "Job Hook",
    "push": "Push Hook",
    "tag_push": "Tag Push Hook",
    "merge_request": "Merge Request Hook",
    "deployment": "Deployment Hook",
}


@dataclass(frozen=True, slots=True)
class Orders:
    """Where hooks go and what happens to them on the way.

    Without a ``url`` they are kept until somebody takes them. ``lose`` and ``double`` are shares of all
    hooks; each is up to ``late`` simulated seconds late, which also changes their order.
    """

    url: str = ""
    secret: str = ""
    signing_token: str = ""
    lose: float = 0.0
    double: float = 0.0
    late: float = 0.0
    seed: int = 1
    events: tuple[str, ...] = tuple(_EVENTS)


@dataclass(frozen=True, slots=True)
class Letter:
    """One hook as it is sent."""

    headers: dict[str, str]
    body: bytes


class Post:
    """Makes hooks as the world moves, from the first time that `set` says where they go."""

    def __init__(self, world: World, base_url: str) -> None:
        self._world = world
        self._base_url = base_url
        render = HooksRender(base_url)
        self._renders: dict[str, Callable[[Any], dict[str, Any]]] = {
            "pipeline": render.pipeline,
            "job": render.job,
            "push": render.push,
            "merge_request": render.merge_request,
            "deployment": render.deployment,
        }
        self._orders = Orders()
        self._chance = dice(1)
        self._kept: list[Letter] = []
        self._sender: Sender | None = None

    def set(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Make hooks from now on, and do with them what *given* says (see `Orders`)."""
        known = {field.name for field in fields(Orders)}
        wanted = {name: value for name, value in given.items() if name != "action"}
        if wanted.keys() - known:
            raise ValueError(f"hooks: {sorted(known)}")
        self._orders = Orders(**wanted | {"events": tuple(wanted.get("events", _EVENTS))})
        self._chance = dice(self._orders.seed)
        self._sender = Sender(self._orders) if self._orders.url else None
        self._world.engine.tell = self._tell
        self._world.deployments.tell = partial(self._tell, "deployment")
        return {}

    @property
    def sends(self) -> bool:
        """Whether hooks go anywhere."""
        return self._sender is not None

    def state(self) -> dict[str, Any]:
        """How many wait to be sent, and how those that were sent were answered."""
        sent = self._sender
        return {"waiting": sent.waiting if sent else 0, "answers": dict(sent.answers) if sent else {}}

    def take(self) -> dict[str, Any]:
        """Those that were kept, in order, which are forgotten."""
        taken, self._kept = self._kept, []
        return {"hooks": [{"headers": one.headers, "body": one.body.decode()} for one in taken]}

    def _tell(self, kind: str, about: Any) -> None:
        """Make the hook of what just happened; it says what is so now, however late it is sent."""
        orders, chance = self._orders, self._chance
        if kind not in orders.events:
            return
        letter = self._letter(self._renders[kind](about))
        copies = 0 if chance.random() < orders.lose else 2 if chance.random() < orders.double else 1
        for _ in range(copies):
            delay = int(chance.random() * orders.late * 1000)
            if delay:
                self._world.timeline.after(delay, partial(self._send, letter))
            else:
                self._send(letter)

    def _letter(self, payload: dict[str, Any]) -> Letter:
        kind = payload["object_kind"]
        number = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"GitLab/{self._world.options.version}",
            "Idempotency-Key": number,
            "X-Gitlab-Event": _EVENTS["job" if kind == "build" else kind],
            "X-Gitlab-Instance": self._base_url,
        }
        if self._orders.secret:
            headers["X-Gitlab-Token"] = self._orders.secret
        return Letter(headers, json.dumps(payload, separators=(",", ":")).encode())

    def _send(self, letter: Letter) -> None:
        if self._sender is None:
            self._kept.append(letter)
        else:
            self._sender.post(letter)


class Sender:
    """A thread that posts letters in order, each once: GitLab tries none again."""

    def __init__(self, orders: Orders) -> None:
        parts = urlsplit(orders.url)
        if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
            raise ValueError("url must be http:// on the loopback interface")
        self.answers: Counter[str] = Counter()
        self._host, self._port, self._path = parts.hostname, parts.port or 80, parts.path or "/"
        self._signing_token = orders.signing_token
        self._letters: queue.SimpleQueue[Letter] = queue.SimpleQueue()
        self._posted = 0
        threading.Thread(target=self._run, name="webhooks", daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many letters were not answered yet."""
        return self._posted - sum(self.answers.values())

    def post(self, letter: Letter) -> None:
        """Have *letter* sent."""
        self._posted += 1
        self._letters.put(letter)

    def _run(self) -> None:
        while True:
            letter = self._letters.get()
            connection = http.client.HTTPConnection(self._host or "", self._port, timeout=_TIMEOUT_SECONDS)
            try:
                connection.request("POST", self._path, letter.body, letter.headers | self._signature(letter))
                answer = str(connection.getresponse().status)
            except (OSError, http.client.HTTPException):
                answer = "error"
            finally:
                connection.close()
            self.answers[answer] += 1

    def _signature(self, letter: Letter) -> dict[str, str]:
        """The headers of a signed hook; the time is the real one, by which it is judged."""
        if not self._signing_token:
            return {}
        key = base64.b64decode(self._signing_token.removeprefix("whsec_"))
        number, moment = letter.headers["Idempotency-Key"], str(int(time.time()))
        signed = f"{number}.{moment}.".encode() + letter.body
        signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return {
            "webhook-id": number,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{signature}",
        }
