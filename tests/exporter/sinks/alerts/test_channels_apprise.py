"""Channels of apprise against services that check what their documentation asks for, over real TLS."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import logging
import re
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr

from exporter import logs
from exporter.config.channels import ChannelSettings
from exporter.errors import SinkError
from exporter.model.alerts import Notice, NoticeKind, Severity
from exporter.sinks.alerts.channels import Channel, build_channels
from exporter.sinks.alerts.markdown import markdown
from tests.exporter.sinks.alerts.conftest import make_alert, make_notice
from tests.support.receivers import Answer, Request, Services

HOSTILE = "fix <b>it</b> [x](http://evil.example) *a* <!channel> & `b`"


def channel(url: str, **settings: Any) -> Channel:
    return build_channels({"team": ChannelSettings(url=SecretStr(url), **settings)})["team"]


def sent(services: Services, url: str, notice: Notice) -> Request:
    channel(url).send(notice)
    (request,) = services.requests
    return request


def refusal(services: Services, url: str, answer: Answer) -> SinkError:
    services.answer = lambda _request: answer
    with pytest.raises(SinkError) as raised:
        channel(url).send(make_notice())
    return raised.value


# -- DingTalk ------------------------------------------------------------------------------------

DINGTALK = "dingtalk://SECabc123def456@0a1b2c3d4e5f"


def dingtalk(request: Request) -> Answer:
    """The service as its documentation has it: a signature that is not right is refused, with status 200."""
    (timestamp,), (sign,) = request.query["timestamp"], request.query["sign"]
    text = f"{timestamp}\nSECabc123def456".encode()
    right = base64.b64encode(hmac.new(b"SECabc123def456", text, hashlib.sha256).digest()).decode()
    if abs(int(timestamp) / 1000 - time.time()) > 3600:
        return Answer(body=b'{"errcode":310000,"errmsg":"invalid timestamp"}')
    if sign != right:
        return Answer(body=b'{"errcode":310000,"errmsg":"sign not match"}')
    return Answer(body=b'{"errcode":0,"errmsg":"ok"}')


def test_dingtalk_gets_a_signed_text(services: Services) -> None:
    services.answer = dingtalk
    request = sent(services, DINGTALK, make_notice())
    assert (request.host, request.path) == ("oapi.dingtalk.com", "/robot/send")
    assert request.query["access_token"] == ["0a1b2c3d4e5f"]
    assert request.json["msgtype"] == "text"
    assert request.json["text"]["content"].splitlines() == [
        "acme/app: main is broken",
        "unit failed: script_failure",
        "https://gitlab.example.com/acme/app/-/pipelines/1",
    ]


def test_a_refusal_of_dingtalk_is_one_though_its_status_is_200(services: Services) -> None:
    services.answer = dingtalk
    wrong = channel(DINGTALK.replace("SECabc", "SECxyz"))
    with pytest.raises(SinkError, match=r"DingTalk refused the message: sign not match \(310000\)"):
        wrong.send(make_notice())


# -- WeCom ---------------------------------------------------------------------------------------


def test_wecom_gets_a_text(services: Services) -> None:
    services.answer = lambda _request: Answer(body=b'{"errcode":0,"errmsg":"ok"}')
    request = sent(services, "wecombot://693a91f6-7xxx-4bc4-97a0", make_notice())
    assert (request.host, request.path) == ("qyapi.weixin.qq.com", "/cgi-bin/webhook/send")
    assert request.query == {"key": ["693a91f6-7xxx-4bc4-97a0"]}
    assert request.json["msgtype"] == "text"
    assert request.json["text"]["content"].startswith("acme/app: main is broken\r\nunit failed")


def test_a_long_text_has_the_bytes_that_wecom_takes_at_most(services: Services) -> None:
    body = "\n".join(f"第{number}个项目失败了" for number in range(500))
    request = sent(services, "wecombot://693a91f6-7xxx-4bc4-97a0", make_notice(body=body))
    content = request.json["text"]["content"]
    assert 1500 < len(content.encode()) <= 2048
    assert content.endswith("失败了\n…")


def test_a_refusal_of_wecom_is_one_though_its_status_is_200(services: Services) -> None:
    error = refusal(
        services,
        "wecombot://693a91f6-7xxx-4bc4-97a0",
        Answer(body=b'{"errcode":93000,"errmsg":"invalid webhook url"}'),
    )
    assert str(error) == "WeCom Bot refused the message: invalid webhook url (93000)"


def test_a_refusal_of_feishu_is_one_though_its_status_is_200(services: Services) -> None:
    error = refusal(
        services, "feishu://0a1b2c3d4e5f/", Answer(body=b'{"code":19024,"msg":"Key Words Not Found"}')
    )
    assert str(error) == "Feishu refused the message: Key Words Not Found (19024)"


# -- Slack ---------------------------------------------------------------------------------------

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/"


def test_slack_gets_a_webhook_without_markup_or_mentions(services: Services) -> None:
    services.answer = lambda _request: Answer(body=b"ok", headers={"Content-Type": "text/plain"})
    request = sent(services, SLACK, make_notice(title=HOSTILE, body=HOSTILE))
    assert request.host == "hooks.slack.com"
    assert request.path == "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    assert request.json["mrkdwn"] is False
    (attachment,) = request.json["attachments"]
    for text in (attachment["title"], attachment["text"]):
        assert text == HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@pytest.mark.parametrize(
    ("kind", "severity", "colour"),
    [
        (NoticeKind.FIRING, Severity.CRITICAL, "#A32037"),
        (NoticeKind.FIRING, Severity.WARNING, "#CACF29"),
        (NoticeKind.RESOLVED, Severity.CRITICAL, "#3AA337"),
    ],
)
def test_the_colour_tells_how_bad_it_is(
    services: Services, kind: NoticeKind, severity: Severity, colour: str
) -> None:
    services.answer = lambda _request: Answer(body=b"ok")
    request = sent(services, SLACK, make_notice(kind=kind, alerts=(make_alert(severity=severity),)))
    assert request.json["attachments"][0]["color"] == colour


def test_the_wait_that_slack_asks_for_is_told(services: Services) -> None:
    error = refusal(services, SLACK, Answer(429, b"rate_limited", {"Retry-After": "30"}))
    assert error.retry_after == 30
    assert str(error) == "Slack answered 429: rate_limited"
    assert not error.permanent


# -- Teams, Telegram, any HTTP -------------------------------------------------------------------


def test_teams_gets_an_adaptive_card_with_text_as_it_is_and_links(services: Services) -> None:
    services.answer = lambda _request: Answer(202, b"")
    url = "workflows://prod-1.westeurope.logic.azure.com/643a03cd8eb84c8d8e0c6d0b5d1d4b5c/9aZ-sig_1234567/"
    request = sent(services, url, make_notice(title=HOSTILE))
    assert request.host == "prod-1.westeurope.logic.azure.com"
    assert request.path == "/workflows/643a03cd8eb84c8d8e0c6d0b5d1d4b5c/triggers/manual/paths/invoke"
    assert request.query["sig"] == ["9aZ-sig_1234567"]
    (card,) = request.json["attachments"]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    title, body = (block["text"] for block in card["content"]["body"])
    assert title == markdown(HOSTILE)
    link = "https://gitlab.example.com/acme/app/-/pipelines/1"
    assert body == f"unit failed: script_failure\n\n[{link}]({link})"


def test_a_long_card_is_cut_between_lines_and_not_in_a_link(services: Services) -> None:
    services.answer = lambda _request: Answer(202, b"")
    url = "workflows://prod-1.westeurope.logic.azure.com/643a03cd8eb84c8d8e0c6d0b5d1d4b5c/9aZ-sig_1234567/"
    lines = "\n".join(f"https://gitlab.example.com/acme/app/-/pipelines/{number}" for number in range(100))
    request = sent(services, url, make_notice(body=lines))
    body = request.json["attachments"][0]["content"]["body"][1]["text"]
    assert len(body) <= 1000
    assert body.endswith(")\n\n…")


def test_telegram_gets_html_that_shows_the_text_as_it_is(services: Services) -> None:
    services.answer = lambda _request: Answer(body=b'{"ok":true,"result":{}}')
    request = sent(services, "tgram://123456789:AAabcdefg_hijklmnop/12315544/", make_notice(title=HOSTILE))
    assert request.host == "api.telegram.org"
    assert request.path == "/bot123456789:AAabcdefg_hijklmnop/sendMessage"
    assert request.json["chat_id"] == 12315544
    assert request.json["parse_mode"] == "HTML"
    assert "&lt;b&gt;it&lt;/b&gt; [x](http://evil.example) *a* &lt;!channel&gt; &amp;" in request.json["text"]


def test_the_wait_that_telegram_asks_for_is_told_in_its_own_way(services: Services) -> None:
    said = {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests",
        "parameters": {"retry_after": 7},
    }
    error = refusal(
        services, "tgram://123456789:AAabcdefg_hijklmnop/12315544/", Answer(429, json.dumps(said).encode())
    )
    assert error.retry_after == 7
    assert str(error) == "Telegram answered 429: Too Many Requests"


def test_any_http_receiver_can_be_told_in_json(services: Services) -> None:
    request = sent(services, f"json://{services.address}/hook", make_notice())
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.json["title"] == "acme/app: main is broken"
    assert request.json["message"].startswith("unit failed: script_failure\n")
    assert request.json["type"] == "failure"


# -- what goes wrong -----------------------------------------------------------------------------

TOKENS = {
    "dingtalk://SECabc123def456@0a1b2c3d4e5f": ("SECabc123def456", "0a1b2c3d4e5f"),
    "tgram://123456789:AAabcdefg_hijklmnop/12315544/": ("AAabcdefg_hijklmnop",),
    SLACK: ("TIiajkdnlazkcOXrIdevi7FQ",),
    "wecombot://693a91f6-7xxx-4bc4-97a0": ("693a91f6-7xxx-4bc4-97a0",),
}


@pytest.mark.parametrize("url", TOKENS)
def test_no_token_is_told_whatever_fails(
    services: Services, url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, texts = channel(url), []
    echo = " ".join([url, *TOKENS[url]]).encode()
    for answer in (Answer(500, echo), Answer(404, echo), Answer(200, b'{"errcode":1,"errmsg":"%s"}' % echo)):
        services.answer = lambda _request, answer=answer: answer  # type: ignore[misc]
        texts += _failures(one)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nobody listens there
    texts += _failures(one)
    assert len(texts) >= 3
    told = "\n".join([*texts, *map(logs.redact, caplog.messages)])
    assert not [token for token in TOKENS[url] if token in told], told


def _failures(one: Channel) -> list[str]:
    try:
        one.send(make_notice())
    except SinkError as error:
        return [str(error)]
    return []


def test_a_service_that_is_not_there_is_told_in_a_sentence() -> None:
    one = channel("json://127.0.0.1:1/hook")
    with pytest.raises(SinkError, match=r"^JSON cannot be reached: Connection refused$"):
        one.send(make_notice())


def test_a_certificate_that_nobody_signed_is_told_in_a_sentence(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(SinkError, match=r"^DingTalk cannot be trusted: its TLS certificate"):
        channel(DINGTALK).send(make_notice())
    assert services.requests == []


def test_a_redirect_is_no_success(services: Services) -> None:
    away = Answer(302, b"", {"Location": f"http://{services.address}/login"})
    assert str(refusal(services, f"json://{services.address}/hook", away)) == "JSON answered 302: (nothing)"
    assert [request.path for request in services.requests] == ["/hook"]


def test_a_service_that_does_not_answer_is_left_in_time(services: Services) -> None:
    never = threading.Event()
    services.answer = lambda _request: Answer(after=never)
    with pytest.raises(SinkError, match=r"^JSON does not answer in time$"):
        channel(f"json://{services.address}/hook", timeout_seconds=0.2).send(make_notice())
    never.set()


def test_a_url_may_have_its_own_timeouts(services: Services) -> None:
    never = threading.Event()
    services.answer = lambda _request: Answer(after=never)
    with pytest.raises(SinkError, match="does not answer in time"):
        channel(f"json://{services.address}/hook?rto=0.2", timeout_seconds=300).send(make_notice())
    never.set()


def test_the_lines_of_apprise_stay_out_of_the_log(services: Services) -> None:
    lines, root = io.StringIO(), logging.getLogger()
    level, handler = root.level, logging.StreamHandler(lines)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        channel(f"json://{services.address}/hook").send(make_notice())
        logging.getLogger("exporter").debug("seen")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "seen" in lines.getvalue()
    assert "JSON" not in lines.getvalue()


# -- mentions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "discord://123456789/abcdefghij",
        "discord://123456789/abcdefghij?format=markdown",
        "mmosts://chat.example.org/tokentoken",
        "rockets://abcdefghijklmno/abcdefghijklmnopqrst@chat.example.org",
        "tgram://123456789:abcdefghijklmnopqrstuvwxyz_ABCDE/12345",
        "feishu://0a1b2c3d4e5f",
        "wecombot://0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
    ],
)
def test_a_commit_title_wakes_nobody_in_a_chat(services: Services, url: str) -> None:
    services.answer = lambda _request: Answer(body=b'{"ok": true, "code": 0, "errcode": 0}')
    text = 'thanks @everyone <@123> @all <at user_id="all">x</at>'
    with suppress(SinkError):
        channel(url).send(make_notice(title=text, body=text))
    assert services.requests
    for request in services.requests:
        assert not re.search(r"@&?\w|<at\b", str(request.json))
