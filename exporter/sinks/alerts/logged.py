"""This program's own log as a channel: to try rules out before anybody is disturbed, and for the demo."""

from __future__ import annotations

import logging

from exporter.errors import SinkError
from exporter.model.alerts import Notice
from exporter.sinks.alerts.channels import Channel

log = logging.getLogger(__name__)


class LogChannel(Channel):
    """Writes each message as one line; always at info, since the program itself is well."""

    def send(self, notice: Notice) -> None:
        if not log.isEnabledFor(logging.INFO):
            # Else messages would count as sent that nobody can read.
            raise SinkError("log.level hides the line: set it to info or debug", permanent=True)
        facts = {"channel": self.name, "kind": notice.kind.value, "title": notice.title, "text": notice.body}
        log.info("message to people", extra=facts)
