"""The program's own log as a channel: what stands in it, and what becomes of what would not."""

from __future__ import annotations

import logging

import pytest

from exporter.config.channels import ChannelSettings
from exporter.errors import SinkError
from exporter.model.alerts import NoticeKind
from exporter.sinks.alerts.channels import Channel, build_channels
from tests.exporter.sinks.alerts.conftest import make_notice

LOGGER = "exporter.sinks.alerts.logged"


@pytest.fixture
def channel() -> Channel:
    return build_channels({"trial": ChannelSettings(log=True)})["trial"]


def test_a_message_becomes_one_line_with_all_that_people_would_read(
    channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    channel.send(make_notice("trial", kind=NoticeKind.RESOLVED, title="all is well", body="a\nb"))
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("INFO", "message to people")
    told = {name: vars(record)[name] for name in ("channel", "kind", "title", "text")}
    assert told == {"channel": "trial", "kind": "resolved", "title": "all is well", "text": "a\nb"}


def test_a_line_that_the_log_would_hide_does_not_count_as_sent(
    channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, LOGGER)
    with pytest.raises(SinkError, match=r"log\.level hides the line: set it to info or debug") as raised:
        channel.send(make_notice("trial"))
    assert raised.value.permanent
    assert caplog.records == []
