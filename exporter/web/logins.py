"""Whether a user name and a password are right, without costing a scrape the price of bcrypt."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

MAX_KNOWN = 100
"""Logins that are remembered as right."""
MAX_WAITING = 32
"""Different logins that may wait for bcrypt: at cost 10 the last of them waits 2 seconds."""
MAX_PASSWORD_BYTES = 72
"""bcrypt reads no further, so a longer password must not pass for its beginning."""


class TooManyLogins(Exception):
    """More different logins wait to be checked than can be soon."""


class Logins:
    """Checks logins, one bcrypt at a time in a thread of its own; to be used on one event loop.

    A login that was right is remembered under a keyed hash of user, bcrypt hash and password, never with
    the password itself: a changed hash makes it worthless at once, and no other login can have the same.
    What was wrong is not remembered, so that guesses cannot drive out what was right.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._waiting: dict[bytes, asyncio.Future[bool]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ci-exporter-login")

    async def check(self, users: Mapping[str, bytes], user: bytes, password: bytes) -> bool:
        """Whether *password* is that of *user*.

        Raises:
            TooManyLogins: ask again in a second.
        """
        if len(password) > MAX_PASSWORD_BYTES:
            return False
        known = users.get(user.decode("utf-8", "replace"))
        # An unknown user takes as long as a known one with a wrong password, and ends the same way.
        expected = known or _nobody(users)
        key = self._key(user, expected, password)
        if known is not None and key in self._right:
            self._right.move_to_end(key)
            return True
        return await self._ask(key, expected, password) and known is not None

    async def _ask(self, key: bytes, expected: bytes, password: bytes) -> bool:
        """bcrypt's verdict; of several who ask the same at once, all wait for one calculation."""
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= MAX_WAITING:
                raise TooManyLogins
            loop = asyncio.get_running_loop()
            waiting = loop.run_in_executor(self._thread, _verify, expected, password)
            self._waiting[key] = waiting
            waiting.add_done_callback(partial(self._settle, key))
        # Shielded: one client that leaves must not take the answer from the others.
        return await asyncio.shield(waiting)

    def _settle(self, key: bytes, verdict: asyncio.Future[bool]) -> None:
        """Take *key* from those that wait to those that are right, in one step: nobody may ask in between."""
        del self._waiting[key]
        if not verdict.cancelled() and not verdict.exception() and verdict.result():
            self._right[key] = None
            if len(self._right) > MAX_KNOWN:
                self._right.popitem(last=False)

    def _key(self, user: bytes, expected: bytes, password: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._secret, digest_size=32)
        for part in (user, expected, password):
            # With its length before it, no part can borrow from the next (CVE-2022-46146).
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()


def _nobody(users: Mapping[str, bytes]) -> bytes:
    """A hash that no password has, as costly as the costliest of *users*."""
    cost = max((hashed[4:6] for hashed in users.values()), default=b"10")
    return b"$2b$" + cost + b"$" + b"." * 53


def _verify(expected: bytes, password: bytes) -> bool:
    import bcrypt  # only programs with users need it

    try:
        return bcrypt.checkpw(password, expected)
    except ValueError:  # whatever bcrypt does not take is not the password
        return False
