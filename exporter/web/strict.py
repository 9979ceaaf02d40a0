"""A strict reading of request heads, before h11 sees them: h11 forgives what smuggling needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import h11

from exporter.web.limits import Limits

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
# The value is stripped in Python: optional blanks around a lazy group would backtrack without bound.
_FIELD = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
_HOST = re.compile(rb"[0-9A-Za-z._~!$&'()*+,;=:%\[\]-]*")
_BROKEN_LINE = re.compile(rb"\x00|(?<!\r)\n|\r(?!\n|\Z)")
_HEAD_END = b"\r\n\r\n"
_TLS_HANDSHAKE = 0x16
_LONGEST_METHOD_AND_VERSION = 64
# A chunk of one byte costs as much time as one of a thousand, so not too many may be small.
_CHUNKS_AT_LEAST = 4096
_BYTES_OF_A_CHUNK = 256


_NOSNIFF = {"X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last thing a client hears: a status and one sentence, never a byte of what it sent."""

    status: int
    sentence: str

    def response(self, headers: Mapping[str, str]) -> bytes:
        """The whole response, with *headers*; it tells the client that the connection ends here."""
        body = f"{self.sentence}\n".encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in {**_NOSNIFF, **headers}.items())
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            "content-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(body)}\r\n"
            f"{more}"
            "connection: close\r\n\r\n"
        )
        return head.encode() + body


NOT_HTTP = Refusal(400, "This is not a valid HTTP/1.1 request.")
_TLS = Refusal(400, "This port speaks plain HTTP, not HTTPS.")
_LONG_TARGET = Refusal(414, "The address of the request is too long.")
_LONG_HEAD = Refusal(431, "The header of the request is too long.")
LONG_BODY = Refusal(413, "The body of the request is too long.")
SMALL_CHUNKS = Refusal(400, "The body of the request comes in too many chunks.")
MANY_BODIES = Refusal(503, "Too much is being sent at once.")


def check_request_line(line: bytes, limits: Limits) -> Refusal | None:
    """Why a request that starts with *line* (no line end) is refused, ``None`` when it is not."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        return NOT_HTTP
    method, target, _ = match.groups()
    if len(target) > limits.target_bytes:
        return _LONG_TARGET
    # CONNECT and absolute targets are for proxies, which this is not.
    if method == b"CONNECT" or not (target.startswith(b"/") or (method, target) == (b"OPTIONS", b"*")):
        return Refusal(400, "The target of the request must be a path.")
    return None


def check_head(head: bytes, limits: Limits) -> Refusal | None:
    """Why the request *head* (without its final blank line) is refused, ``None`` when it is not."""
    lines = head.split(b"\r\n")
    refusal = check_request_line(lines[0], limits)
    if refusal is not None:
        return refusal
    if len(head) > limits.header_bytes or len(lines) - 1 > limits.header_fields:
        return _LONG_HEAD
    fields: dict[bytes, list[bytes]] = {}
    for line in lines[1:]:
        match = _FIELD.fullmatch(line)
        if match is None:
            return NOT_HTTP
        fields.setdefault(match[1].lower(), []).append(match[2].strip(b" \t"))
    is_1_1, body_bytes = lines[0].endswith(b"1"), limits.body_bytes_of(_target(lines[0]))
    return _check_host(fields, is_1_1) or _check_framing(fields, is_1_1, body_bytes)


def _target(head: bytes) -> bytes:
    """What a well-formed *head* asks for."""
    return head.split(b" ", 2)[1]


def _check_host(fields: dict[bytes, list[bytes]], is_1_1: bool) -> Refusal | None:
    hosts = fields.get(b"host", [])
    if len(hosts) > 1 or (is_1_1 and not hosts):
        return Refusal(400, "A request must have exactly one Host.")
    return None if all(map(_HOST.fullmatch, hosts)) else NOT_HTTP


def _check_framing(fields: dict[bytes, list[bytes]], is_1_1: bool, body_bytes: int) -> Refusal | None:
    """Refuse every way to leave the length of the body open to a second opinion."""
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    if codings and (lengths or not is_1_1 or [coding.lower() for coding in codings] != [b"chunked"]):
        return Refusal(400, "The only transfer coding is chunked, and it excludes a Content-Length.")
    if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
        return Refusal(400, "A request may have one Content-Length, in digits.")
    # Compared by length first: int() of thousands of digits is slow on purpose, and may raise.
    if lengths and (len(lengths[0]) > 18 or int(lengths[0]) > body_bytes):
        return LONG_BODY
    return None


class Bodies:
    """The memory that the bodies of all connections of a server share, in bytes; for one thread."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, size: int) -> bool:
        """Whether there is room for *size* more; it is taken then."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        """Give *size* back."""
        self._left += size


class StrictConnection(h11.Connection):
    """An h11 server connection that refuses more.

    ``refusal`` says why the last event was an error, ``target`` what the last complete head asked for. What a
    body takes of *bodies* is held until :meth:`release`.
    """

    def __init__(self, limits: Limits, bodies: Bodies | None = None) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self.refusal = NOT_HTTP
        self._limits = limits
        self._checked = 0
        self._line_checked = False
        self._body_bytes = 0
        self._chunks = 0
        self._bodies = bodies or Bodies(limits.bodies_bytes)
        self._held = 0
        self._head = b""
        self.target = b""

    def send(self, event: h11.Event) -> bytes | None:  # type: ignore[override]
        """What to write for *event*: nothing for a head, which goes out with what follows it.

        Each write is a call of the kernel, beside which other threads take their turn.
        """
        data = super().send(event)
        if isinstance(event, h11.Response):
            self._head = data or b""
            return b""
        if data is not None and self._head:
            data, self._head = self._head + data, b""
        return data

    def release(self) -> None:
        """Nobody needs the body any more."""
        self._bodies.give(self._held)
        self._held = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event; the head it comes from has passed the strict reading.

        Raises:
            h11.RemoteProtocolError: the client must be refused with ``refusal``.
        """
        if self.their_state is h11.IDLE:
            self._inspect(self.trailing_data[0])
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._checked, self._line_checked, self._body_bytes, self._chunks = 0, False, 0, 0
        elif isinstance(event, h11.Data):
            self._body_bytes += len(event.data)
            self._chunks += event.chunk_start
            if self._chunks > _CHUNKS_AT_LEAST + self._body_bytes // _BYTES_OF_A_CHUNK:
                self._refuse(SMALL_CHUNKS)
            if self._body_bytes > self._limits.body_bytes_of(self.target):
                self._refuse(LONG_BODY)
            if not self._bodies.take(len(event.data)):
                self._refuse(MANY_BODIES)
            self._held += len(event.data)
        elif isinstance(event, h11.EndOfMessage) and event.headers:
            # Nobody asks for trailers, and h11 reads them as leniently as heads.
            self._refuse(NOT_HTTP)
        return event

    def _inspect(self, data: bytes) -> None:
        if not data:
            return
        if data[0] == _TLS_HANDSHAKE:
            self._refuse(_TLS)
        end = data.find(_HEAD_END, max(0, self._checked - 3))
        if end >= 0:
            refusal = check_head(data[:end], self._limits)
            if refusal in (None, LONG_BODY):
                self.target = _target(data[:end])
            self._refuse(refusal)
            return
        # The head is still incomplete; what is wrong already need not wait for the deadline.
        if _BROKEN_LINE.search(data, max(0, self._checked - 1)):
            self._refuse(NOT_HTTP)
        self._inspect_request_line(data)
        if len(data) > self._limits.header_bytes:
            self._refuse(_LONG_HEAD)
        self._checked = len(data)

    def _inspect_request_line(self, data: bytes) -> None:
        if self._line_checked:
            return
        end = data.find(b"\r\n")
        if end >= 0:
            self._refuse(check_request_line(data[:end], self._limits))
            self._line_checked = True
        elif len(data) > self._limits.target_bytes + _LONGEST_METHOD_AND_VERSION:
            self._refuse(_LONG_TARGET)

    def _refuse(self, refusal: Refusal | None) -> None:
        if refusal is not None:
            self.refusal = refusal
            raise h11.RemoteProtocolError(refusal.sentence, error_status_hint=refusal.status)
