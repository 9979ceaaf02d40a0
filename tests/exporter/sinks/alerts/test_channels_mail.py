"""Mail over a real SMTP server: plain, and with STARTTLS and a login."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from exporter.config.channels import ChannelSettings
from exporter.errors import SinkError
from exporter.sinks.alerts.channels import Channel, build_channels
from tests.exporter.sinks.alerts.conftest import make_notice
from tests.support.process import free_port
from tests.support.receivers import MailServer

HOSTILE = "<b>it</b> <script>alert(1)</script> & *x*"


def channel(url: str) -> Channel:
    return build_channels({"mail": ChannelSettings(url=SecretStr(url))})["mail"]


def plain(port: int, more: str = "") -> Channel:
    return channel(f"mailto://127.0.0.1:{port}?from=ci@example.com&to=a@example.com,b@example.com{more}")


def test_a_mail_tells_everyone_who_is_to_know(tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        plain(server.port).send(make_notice())
    assert [mail.recipients for mail in server.mails] == [["a@example.com"], ["b@example.com"]]
    message = server.mails[0].message
    assert message["Subject"] == "acme/app: main is broken"
    assert "ci@example.com" in message["From"]
    body = message.get_body(("plain",))
    assert body is not None
    assert body.get_content().splitlines()[:2] == [
        "unit failed: script_failure",
        "https://gitlab.example.com/acme/app/-/pipelines/1",
    ]


def test_a_mail_in_html_shows_the_text_as_it_is(tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        plain(server.port, "&format=html").send(make_notice(body=HOSTILE))
    body = server.mails[0].message.get_body(("html",))
    assert body is not None
    html = body.get_content()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html.replace("&nbsp;", " ")
    assert "<script>" not in html
    assert "<b>it" not in html


def test_a_title_of_two_lines_adds_no_header(tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        plain(server.port).send(make_notice(title="broken\r\nBcc: evil@example.com"))
    message = server.mails[0].message
    assert message["Subject"] == "broken Bcc: evil@example.com"
    assert message["Bcc"] is None


def login_url(port: int, password: str) -> str:
    return f"mailtos://ci:{password}@localhost:{port}?mode=starttls&from=ci@example.com&to=a@example.com"


def test_a_login_is_made_over_tls_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MailServer(tmp_path, login=("ci", "hunter2-and-more")) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        channel(login_url(server.port, "hunter2-and-more")).send(make_notice())
    (mail,) = server.mails
    assert (mail.encrypted, mail.user) == (True, "ci")


def test_a_wrong_password_is_told_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MailServer(tmp_path, login=("ci", "hunter2-and-more")) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        with pytest.raises(SinkError) as raised:
            channel(login_url(server.port, "wrong-password-1")).send(make_notice())
    assert "535" in str(raised.value)
    assert "wrong-password-1" not in str(raised.value)
    assert server.mails == []


def test_a_server_that_nobody_vouches_for_gets_no_password(tmp_path: Path) -> None:
    with (
        MailServer(tmp_path, login=("ci", "hunter2-and-more")) as server,
        pytest.raises(SinkError, match="certificate verify failed"),
    ):
        channel(login_url(server.port, "hunter2-and-more")).send(make_notice())
    assert server.mails == []


def test_what_the_server_says_is_told(tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        server.refuse = "554 5.7.1 spam, says the filter"
        with pytest.raises(SinkError, match="spam, says the filter"):
            plain(server.port).send(make_notice())


def test_who_got_a_mail_does_not_get_it_again_because_somebody_else_did_not(tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        server.unknown = {"b@example.com"}
        with pytest.raises(
            SinkError, match=r"^only some of its receivers got the message: .*no such user"
        ) as raised:
            plain(server.port).send(make_notice())
    assert raised.value.permanent
    assert [mail.recipients for mail in server.mails] == [["a@example.com"]]


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(SinkError, match="Connection refused"):
        plain(free_port()).send(make_notice())
