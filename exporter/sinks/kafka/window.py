"""The events between the outbox and their acknowledgement: how many, which may go next, what is through."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from confluent_kafka import KafkaError, Message

from exporter.model.events import Entry, Event
from exporter.sinkmetrics import Delivery

_PROVEN_KEYS = 100_000  # then they are forgotten: it costs a moment for each, and memory stays flat
_OVERHEAD_BYTES = 700  # of an event that is held, beside its data: its headers, and what keeps track of it


class Flight:
    """One event on its way; ``ended`` is how that ended, ``None`` while it has not.

    It is called with its delivery report. ``error`` is why the last attempt failed, ``None`` if none did.
    ``bytes`` is about how much memory it takes.
    """

    __slots__ = ("bytes", "ended", "entry", "error", "key", "window")

    def __init__(self, entry: Entry, key: bytes | None, window: Window) -> None:
        self.entry = entry
        self.key = key
        self.window = window
        self.ended: Delivery | None = None
        self.error: KafkaError | None = None
        self.bytes = len(entry.event.data) + _OVERHEAD_BYTES

    def __call__(self, error: KafkaError | None, _message: Message) -> None:
        # Plain assignments alone: after a fatal error this is called while an exception is pending, and
        # whatever is called from here may raise that.
        self.window.flying -= 1
        if error is None:
            self.ended = Delivery.SUCCESS
        else:
            self.error = error
            self.window.failures += 1


class Window:
    """All events from the first that is not delivered to the last that was read; bounded, in order.

    ``reached`` is the position up to which everything is delivered; ``seen`` that of the last event here.
    ``flying`` counts the events of which no report came yet, ``failures`` the reports of failure. Up to
    ``alone_until``, an event is sent only while no other flies. *key* gives the key of an event's message.

    Keys: the first event of a key in a session of the producer travels alone of its key. A broker that knows
    nothing of a producer takes a batch even if it refused the one before; from the first acknowledged batch
    on it does not. So no event is acknowledged before an earlier one of its key.
    """

    def __init__(
        self, position: int, key: Callable[[Event], bytes | None], *, events: int, size: int
    ) -> None:
        self._key = key
        self.reached = self.seen = position
        self.flying = self.failures = 0
        self.alone_until = 0
        self._alone = False  # whether what was sent last is to fly alone
        self._events, self._size = events, size
        self._bytes = 0
        self._flights: deque[Flight] = deque()
        self._unsent: deque[Flight] = deque()
        self._proven: set[bytes] = set()
        self._first: dict[bytes, Flight] = {}
        self._held: dict[bytes, list[Flight]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def unsent(self) -> bool:
        """Whether something may be sent as soon as nothing flies."""
        return bool(self._unsent)

    @property
    def room(self) -> int:
        """How many events may be added; none before all that are here were sent once."""
        if self._unsent or self._bytes >= self._size:
            return 0
        return max(0, self._events - len(self._flights))

    @property
    def room_bytes(self) -> int:
        """How many bytes of data may be added."""
        return max(0, self._size - self._bytes)

    def add(self, entries: Sequence[Entry], ours: Iterable[bool]) -> None:
        """Take *entries* in; those that are not *ours*, another producer tells."""
        for entry, mine in zip(entries, ours, strict=True):
            flight = Flight(entry, self._key(entry.event), self)
            self._flights.append(flight)
            self._bytes += flight.bytes
            if mine:
                self._unsent.append(flight)
            else:
                flight.ended = Delivery.DUPLICATE
        if entries:
            self.seen = entries[-1].position

    # -- sending -------------------------------------------------------------------------------

    def next(self) -> Flight | None:
        """What is to be sent now; ``None`` while nothing may be."""
        while self._unsent:
            flight = self._unsent[0]
            if self.flying and (self._alone or flight.entry.position <= self.alone_until):
                return None
            if flight.key not in self._first:
                return flight
            self._held.setdefault(flight.key, []).append(self._unsent.popleft())
        return None

    def sent(self, flight: Flight) -> None:
        """*flight*, which was the next, is on its way."""
        self._unsent.popleft()
        self.flying += 1
        self._alone = flight.entry.position <= self.alone_until
        if flight.key is not None and flight.key not in self._proven:
            self._first[flight.key] = flight

    def bury(self, flight: Flight) -> None:
        """*flight*, which is unsent, will never be sent."""
        self._unsent.remove(flight)
        flight.ended = Delivery.DEAD_LETTER

    def start_over(self) -> list[tuple[Flight, KafkaError]]:
        """Everything undelivered is unsent again; returns what failed and why, in order."""
        self._unsent = deque(flight for flight in self._flights if flight.ended is None)
        failed = [(flight, flight.error) for flight in self._unsent if flight.error is not None]
        for flight, _ in failed:
            flight.error = None
        self._proven.clear()
        self._first.clear()
        self._held.clear()
        self.flying = self.failures = 0
        return failed

    # -- arriving ------------------------------------------------------------------------------

    def settle(self) -> Counter[Delivery]:
        """Let go of all up to the first undelivered event; returns how many ended how."""
        self._release()
        ended: Counter[Delivery] = Counter()
        flights = self._flights
        while flights and flights[0].ended is not None:
            flight = flights.popleft()
            ended[flight.ended] += 1  # type: ignore[index]
            self._bytes -= flight.bytes
            self.reached = flight.entry.position
        return ended

    def _release(self) -> None:
        """Free the events that waited for the first of their key."""
        if len(self._proven) > _PROVEN_KEYS:
            self._proven.clear()
        for key in [key for key, flight in self._first.items() if flight.ended is not None]:
            del self._first[key]
            self._proven.add(key)
            self._unsent.extendleft(reversed(self._held.pop(key, ())))
