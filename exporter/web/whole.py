"""Complete requests in, sliced responses out: what stands between the protocol and the application."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# 20 MB over loopback, 40 clients that never read: whole 9 ms and 640 MB, in slices 10 ms and 20 MB.
SLICE_BYTES = 256 * 1024


class WholeMessages:
    """An ASGI application that is called only once the whole request is here.

    The protocol caps bodies, so a body is held in memory; in return no response is ever sent while
    its request is still arriving, and every deadline belongs to one clear phase.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Only the stop cancels, when the client is cut already; uvicorn would log a traceback for each.
        with contextlib.suppress(asyncio.CancelledError):
            body = await _whole_body(receive)
            if body is not None:
                await self._app(scope, _replay(body), _sliced(send))


async def _whole_body(receive: Receive) -> bytes | None:
    """The request body, ``None`` when the client left before it was complete."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes) -> Receive:
    """A receive channel that gives *body* once."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _sliced(send: Send) -> Send:
    """*send*, with long bodies handed on in slices.

    Before Python 3.12 a transport copies what the socket does not take at once, so a reader that does
    not read would cost a whole body; with slices it costs one, because sending waits for the transport.
    """

    async def send_one(message: Message) -> None:
        await send(message)
        if message.get("more_body", False):
            # Others get their turn; and only so is heard that the client left, before asyncio writes a
            # line into the log for each slice that nobody takes.
            await asyncio.sleep(0)

    async def send_sliced(message: Message) -> None:
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or len(body) <= SLICE_BYTES:
            await send_one(message)
            return
        view = memoryview(body)
        last = (len(body) - 1) // SLICE_BYTES * SLICE_BYTES
        for start in range(0, last, SLICE_BYTES):
            await send_one({**message, "body": view[start : start + SLICE_BYTES], "more_body": True})
        await send_one({**message, "body": view[last:]})

    return send_sliced
