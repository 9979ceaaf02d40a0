"""Attempts to send, each on a thread of its own: whatever hangs in one holds nobody else."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from exporter.clock import Clock
from exporter.errors import SinkError, Stopped
from exporter.model.alerts import Notice
from exporter.sinks.alerts.channels import Channel

_ABANDON_SECONDS = 300.0
_SLICE_SECONDS = 0.1
_GRACE_SECONDS = 0.3  # what is nearly sent when the program stops is not sent again by the next one


class _Attempt:
    """One attempt; ``error`` is ``None`` while it runs and when it succeeded."""

    def __init__(self, channel: Channel, notice: Notice, began: float) -> None:
        self.notice = notice
        self.began = began
        self.error: Exception | None = None
        self.over = threading.Event()
        self._channel = channel
        threading.Thread(target=self._run, name=f"send-{channel.name}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._channel.send(self.notice)
        except Exception as error:  # noqa: BLE001 - raised where the attempt is waited for
            self.error = error
        finally:
            self.over.set()


class Attempts:
    """Sends over one channel, one message at a time, and waits for no attempt longer than its time."""

    def __init__(self, channel: Channel, clock: Clock, stopping: Callable[[], bool]) -> None:
        self._channel = channel
        self._clock = clock
        self._stopping = stopping
        self._late: _Attempt | None = None

    def send(self, notice: Notice) -> None:
        """Send *notice*, unless an attempt that was given up turns out to have sent it.

        Raises:
            SinkError: it was not taken, or not in time.
            Stopped: the program stops, and nobody knows whether it will be taken.
            Exception: the channel has a bug.
        """
        if self._was_sent_late(notice):
            return
        attempt = _Attempt(self._channel, notice, self._clock.monotonic())
        seconds = self._channel.settings.timeout_seconds
        self._late = attempt
        if not self._is_over(attempt, seconds):
            raise SinkError(f"no answer within {seconds:g} s")
        self._late = None
        if attempt.error is not None:
            raise attempt.error

    def _is_over(self, attempt: _Attempt, seconds: float) -> bool:
        """Wait for the end of *attempt*; false if it did not come in time."""
        for _ in range(math.ceil(seconds / _SLICE_SECONDS)):
            if attempt.over.wait(_SLICE_SECONDS):
                return True
            if self._stopping():
                if attempt.over.wait(_GRACE_SECONDS):
                    return True
                raise Stopped("stopped while a message was being sent")
        return False

    def _was_sent_late(self, notice: Notice) -> bool:
        """Whether the attempt that hung sent *notice* after all.

        Raises:
            SinkError: it still hangs: a second one beside it might tell people twice.
        """
        late, self._late = self._late, None
        if late is None:
            return False
        if late.over.is_set():
            return late.notice.number == notice.number and late.error is None
        if self._clock.monotonic() - late.began < _ABANDON_SECONDS:
            self._late = late
            raise SinkError("the attempt before still hangs")
        return False
