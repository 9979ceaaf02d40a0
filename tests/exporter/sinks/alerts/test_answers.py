"""What receivers answered, as people read it."""

from __future__ import annotations

import pytest
import requests

from exporter.sinks.alerts.answers import retry_after_seconds, shown, without_secrets
from tests.support.fakes import NOW


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        (" 0.5 ", 0.5),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90),
        ("Sun, 01 Mar 2026 12:01:30 -0000", 90),
        ("999999", 3600),
        ("inf", 3600),
        ("Sun, 01 Mar 2026 11:00:00 GMT", None),
        ("0", None),
        ("-5", None),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_receiver_says_how_long_it_wants_to_be_left_alone(header: str, seconds: float | None) -> None:
    answer = requests.Response()
    answer.headers["Retry-After"] = header
    assert retry_after_seconds(answer, NOW) == seconds


def test_a_receiver_that_says_nothing_is_not_waited_for() -> None:
    assert retry_after_seconds(requests.Response(), NOW) is None


def test_a_long_answer_is_shown_on_one_line_and_cut() -> None:
    assert shown("a\r\n b\t c") == "a b c"
    assert shown("x" * 500) == "x" * 200 + "…"
    assert shown(" \n") == "(nothing)"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (requests.ConnectTimeout("https://u:p@h/token"), "cannot be reached in time"),
        (requests.ReadTimeout("https://u:p@h/token"), "does not answer in time"),
        (requests.exceptions.ProxyError("token"), "cannot be reached: the proxy in the environment"),
        (requests.ConnectionError("token"), "cannot be reached: the connection was closed"),
        (requests.exceptions.InvalidURL("token"), "cannot be asked (InvalidURL)"),
    ],
)
def test_a_failure_is_told_without_the_address(error: Exception, says: str) -> None:
    assert without_secrets(error).startswith(says)
    assert "token" not in without_secrets(error)
