"""Claims in Redis: several producers of the same events agree on who of them tells which."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from exporter.clock import Clock
from exporter.config.redis import RedisSettings
from exporter.errors import SinkError
from exporter.model.events import Event
from exporter.sinkmetrics import Claim, SinkMetrics
from exporter.sinks.redisclients import TROUBLES, Client, connect, in_words, secrets
from exporter.store.clean import storable
from exporter.store.statements import chunks

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 5.0  # between two attempts while Redis fails, so that events need not wait for each
_ASKED = 1_000  # events in one script; Redis does nothing else meanwhile, for some milliseconds
_LONGEST_KEY = 500
# Sent whole each time: EVALSHA would need a second attempt whenever Redis was restarted. Who finds a claim of
# its own has it for the whole time again, since it is about to tell the event only now.
_SCRIPT = """
local ours = {}
for number, key in ipairs(KEYS) do
  if redis.call('SET', key, ARGV[1], 'NX', 'EX', ARGV[2]) then
    ours[number] = 1
  elseif redis.call('GET', key) == ARGV[1] then
    redis.call('EXPIRE', key, ARGV[2])
    ours[number] = 1
  else
    ours[number] = 0
  end
end
return ours
"""


class RedisClaims:
    """Implements :class:`exporter.sinks.base.Claims`: the first that asks for an event is to tell it.

    What goes to another *topic* is another matter: each has all events.

    ``identify`` names the store whose outbox keeps our events: who comes back after a crash between the
    claim and the delivery finds its own claims, and goes on. While Redis cannot be asked, all is claimed.
    """

    def __init__(
        self,
        settings: RedisSettings,
        *,
        sink: str,
        topic: str,
        identify: Callable[[], str],
        metrics: SinkMetrics,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._sink = sink
        prefix = f"{settings.key_prefix}{topic}"
        # In braces, all are of one slot of a cluster: a script may only ask for keys of the same.
        self._prefix = f"{{{prefix}}} " if settings.cluster else f"{prefix} "
        self._identify = identify
        self._metrics = metrics
        self._clock = clock
        self._client: Client | None = None
        self._retry_at = 0.0
        self._failing = False
        metrics.begin_claims(sink)

    def claim(self, events: Sequence[Event]) -> list[bool]:
        """For each of *events* whether it is ours to tell.

        Raises:
            StoreError: our own store cannot say who we are.
        """
        owner = self._identify()
        ours: list[bool] = []
        for chunk in chunks(events, _ASKED):
            found = self._ask(owner, chunk)
            ours += [True] * len(chunk) if found is None else found
            self._count(len(chunk), found)
        return ours

    def try_out(self) -> Iterator[str]:
        """A line for ``check --online``; leaves a key behind for a second.

        Raises:
            SinkError: Redis cannot be asked.
        """
        try:
            with connect(self._settings) as client:
                _run(client, [f"{self._prefix}try".encode()], "ci-exporter check", 1)
        except TROUBLES as error:
            reason = self._reason(error).rstrip(".")
            raise SinkError(f"Redis at {reason}; check sinks.kafka.redis, and that it takes writes") from None
        yield f"Redis at {self._settings.address} answers"

    def close(self) -> None:
        """Give back the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _ask(self, owner: str, events: Sequence[Event]) -> list[bool] | None:
        """What Redis says; ``None`` if it cannot be asked."""
        if self._failing and self._clock.monotonic() < self._retry_at:
            return None
        keys = [self._key(event) for event in events]
        try:
            client = self._client = self._client or connect(self._settings)
            answer = _run(client, keys, owner, self._settings.ttl_minutes * 60)
        except TROUBLES as error:
            self._fail(error)
            return None
        self._recover()
        return [bool(number) for number in answer]

    def _key(self, event: Event) -> bytes:
        # Events of different sources may have one id, and several topics may want the same event.
        return storable(f"{self._prefix}{event.source} {event.id}", _LONGEST_KEY).encode()

    def _fail(self, error: Exception) -> None:
        self.close()
        self._retry_at = self._clock.monotonic() + _PAUSE_SECONDS
        level = logging.DEBUG if self._failing else logging.WARNING
        self._failing = True
        log.log(
            level,
            "Redis cannot be asked: events may be told by several producers",
            extra={"sink": self._sink, "error": self._reason(error)},
        )

    def _recover(self) -> None:
        if self._failing:
            self._failing = False
            log.info("Redis can be asked again", extra={"sink": self._sink})

    def _reason(self, error: Exception) -> str:
        text = in_words(error)
        for secret in secrets(self._settings):
            text = text.replace(secret, "<secret>")
        return f"{self._settings.address}: {text}"

    def _count(self, asked: int, ours: list[bool] | None) -> None:
        if ours is None:
            self._metrics.claimed(self._sink, Claim.FAILED_OPEN, asked)
        else:
            self._metrics.claimed(self._sink, Claim.CLAIMED, sum(ours))
            self._metrics.claimed(self._sink, Claim.TAKEN, asked - sum(ours))


def _run(client: Client, keys: Sequence[bytes], owner: str, seconds: int) -> Any:
    """What the script answers, for each of *keys*."""
    return client.eval(_SCRIPT, len(keys), *keys, owner, seconds)
