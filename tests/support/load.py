"""Load on an HTTP server: many scrapes at once from one process. For benches only."""

from __future__ import annotations

import selectors
import socket
import time

_CHUNK = 1 << 20


class _Scraper:
    """One connection that asks again as soon as it was answered."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self.sock = socket.socket()
        self.started = 0.0
        self._buffer = bytearray(_CHUNK)
        self._head = b""
        self._left = 0
        self._closes = False

    def ask(self, *, fresh: bool) -> None:
        """Send the next request, over a new connection if *fresh*; its time begins here."""
        self.started = time.perf_counter()
        self._head, self._left = b"", -1
        if fresh:
            # Not waited for: a server that is slow to accept holds up this connection and no other.
            self.sock.close()
            self.sock = socket.socket()
            self.sock.setblocking(False)
            self.sock.connect_ex(("127.0.0.1", self._port))
        else:
            self.sock.send(self._request)

    def connected(self) -> None:
        """Send the first request of a new connection."""
        problem = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert not problem, f"connecting failed: {problem}"
        self.sock.send(self._request)

    def hear(self) -> bool:
        """Read what is there; whether the answer is complete."""
        try:
            count = self.sock.recv_into(self._buffer)
        except BlockingIOError:
            return False
        if self._left < 0:
            self._head += bytes(self._buffer[:count])
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                assert count, "closed before an answer"
                return False
            assert head.split(b" ")[1] == b"200", head
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            self._closes = head.startswith(b"HTTP/1.0") or fields.get(b"connection") == b"close"
            self._left = int(fields[b"content-length"]) - len(body)
        else:
            assert count, "closed in the middle of an answer"
            self._left -= count
        return self._left <= 0

    @property
    def closes(self) -> bool:
        """Whether the server closes after this answer."""
        return self._closes


def scrape(port: int, encoding: str, connections: int, seconds: float, fewest: int) -> dict[str, float]:
    """``rate`` in answers a second, ``median`` and ``p99`` in seconds, of at least *fewest* scrapes."""
    request = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {encoding}\r\n\r\n".encode()
    times: list[float] = []
    with selectors.DefaultSelector() as selector:
        begun = time.perf_counter()
        for _ in range(connections):
            one = _Scraper(port, request)
            one.ask(fresh=True)
            selector.register(one.sock, selectors.EVENT_WRITE, one)
        while len(times) < fewest or time.perf_counter() - begun < seconds:
            for key, event in selector.select(60):
                one = key.data
                if event & selectors.EVENT_WRITE:
                    one.connected()
                    selector.modify(one.sock, selectors.EVENT_READ, one)
                elif one.hear():
                    times.append(time.perf_counter() - one.started)
                    if one.closes:
                        selector.unregister(one.sock)
                        one.ask(fresh=True)
                        selector.register(one.sock, selectors.EVENT_WRITE, one)
                    else:
                        one.ask(fresh=False)
        elapsed = time.perf_counter() - begun
        for key in list(selector.get_map().values()):
            key.data.sock.close()
    times.sort()
    rank = min(len(times) - 1, int(len(times) * 0.99))
    return {"rate": len(times) / elapsed, "median": times[len(times) // 2], "p99": times[rank]}
