"""Mail, chats and everything else that apprise knows, as channels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import apprise
import requests

from exporter import logs
from exporter.config.channels import ChannelSettings
from exporter.errors import ConfigError, Problem, SinkError
from exporter.model.alerts import Notice, NoticeKind, Severity
from exporter.sinks.alerts.answers import retry_after_seconds, shown, without_secrets
from exporter.sinks.alerts.channels import Channel
from exporter.sinks.alerts.markdown import markdown, unmentioned
from exporter.sinks.alerts.overhearing import Heard, listen_to, overhear
from exporter.sinks.alerts.trying import log_in_to_mail, reach

_NEVER_TAKEN = (413, 422)
_LEAST_BODY = 200
_CUT = "\n…"
_NO_CHAT = re.compile(r"(mailto|json|xml|form)s?:", re.IGNORECASE)
_LARK = ("Lark (Feishu)", "Feishu")
"""They complain with ``{"code": 19001, "msg": "…"}``; DingTalk and WeCom with errcode and errmsg."""


class AppriseChannel(Channel):
    """One URL of apprise. Texts are plain; where the service wants markup they are escaped.

    By apprise for HTML, by us for Markdown: apprise would not escape titles, and would tear links.
    """

    def __init__(self, name: str, settings: ChannelSettings, version: str = "") -> None:
        super().__init__(name, settings)
        url = settings.url.get_secret_value() if settings.url else ""
        self._plugin = _plugin(name, url)
        # Whoever is no chat gets the text as it is.
        self._harmless: Callable[[str], str] = str if _NO_CHAT.match(url) else unmentioned
        self._service = str(self._plugin.service_name)
        self._calls = listen_to(self._plugin)
        for secret in _secrets(url, str(self._plugin.url(privacy=True))):
            logs.register_secret(secret)
        self._limit_time(url)
        if hasattr(self._plugin, "get_signature") and self._service == "DingTalk":
            _sign_once(self._plugin)
        self._apprise = apprise.Apprise(asset=self._plugin.asset)
        self._apprise.add(self._plugin)

    def send(self, notice: Notice) -> None:
        title, form, convert = " ".join(notice.title.split()), apprise.NotifyFormat.TEXT, self._harmless
        if self._plugin.resolve_format(form) == apprise.NotifyFormat.MARKDOWN:
            form, convert = apprise.NotifyFormat.MARKDOWN, lambda text: markdown(self._harmless(text))
        limit = int(self._plugin.body_maxlen) - len(self._harmless(title).encode()) - 2
        body = fitted(notice.body.strip() or title, limit, convert)
        title = convert(title)
        with overhear() as heard:
            taken = self._apprise.notify(body=body, title=title, notify_type=_type(notice), body_format=form)
        fault = _fault(heard, "code" if self._service in _LARK else "errcode")
        if fault:
            raise SinkError(f"{self._service} refused the message: {shown(fault)}")
        if not taken:
            error = self._error(heard)
            if not heard.sent:
                raise error
            # Those who have it would get it again and again.
            raise SinkError(f"only some of its receivers got the message: {error}", permanent=True)

    def try_out(self) -> Iterator[str]:
        seconds = self.settings.timeout_seconds
        if getattr(self._plugin, "smtp_host", None):
            yield f"mail server {log_in_to_mail(self._plugin, seconds)} lets us in"
            return
        hosts = {reach(url, seconds, self._plugin.verify_certificate): None for url in self._urls()}
        for host in hosts:
            yield f"{self._service} at {host} answers"
        if not hosts:
            yield f"{self._service} was not tried: ci-exporter notify test --channel {self.name} does"

    def _urls(self) -> list[str]:
        """Where a message would go over HTTP first; nothing is sent."""
        if not self._calls:
            return []
        with overhear(rehearsal=True) as heard:
            self._apprise.notify(body="-", title="-")
        return heard.urls

    def _limit_time(self, url: str) -> None:
        """Let each step of an attempt take as long as the whole of it, unless the URL says otherwise."""
        asked = {name for name, _ in parse_qsl(url.partition("?")[2])}
        seconds = self.settings.timeout_seconds
        if "cto" not in asked:
            self._plugin.socket_connect_timeout = seconds
        if "rto" not in asked:
            self._plugin.socket_read_timeout = seconds
        # Ours is the limit for a minute: a pause of apprise's own would look like a receiver that hangs.
        self._plugin.request_rate_per_sec = 0
        if "overflow" not in asked:
            self._plugin.overflow_mode = apprise.OverflowMode.TRUNCATE

    def _error(self, heard: Heard) -> SinkError:
        """What went wrong, as far as it was overheard."""
        refused = [answer for answer in heard.answers if answer.status_code >= 300]
        if refused:
            last = refused[-1]
            return SinkError(
                f"{self._service} answered {last.status_code}: {shown(_reason(last))}",
                retry_after=_wait(last),
                permanent=last.status_code in _NEVER_TAKEN,
            )
        if heard.errors:
            return SinkError(f"{self._service} {without_secrets(heard.errors[-1])}")
        told = next(iter(heard.causes + heard.complaints), "apprise does not say why")
        return SinkError(f"{self._service} did not take the message: {shown(told)}")


def _plugin(name: str, url: str) -> Any:
    """What apprise makes of *url*.

    Raises:
        ConfigError: it does not understand it; what it says of it may repeat tokens, and is not told.
    """
    asset = apprise.AppriseAsset(
        app_id="ci-exporter",
        app_desc="ci-exporter",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        service_timeout=0,
        http_redirects=False,  # a POST would become a GET, and its answer look like a success
    )
    listen_to(asset)
    plugin = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if plugin is not None:
        return plugin
    scheme = (re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,30}(?=://)", url) or [""])[0].lower()
    known = scheme in {str(one) for one in apprise.Apprise().details()["schemas"] for one in _schemes(one)}
    what = (
        f"is not complete, or not as apprise wants {scheme}:// URLs"
        if known
        else "is no URL that apprise knows"
    )
    raise ConfigError(
        [Problem(f"alerts.channels.{name}.url", f"{what}; https://appriseit.com/services/ lists them")]
    )


def fitted(text: str, limit: int, convert: Callable[[str], str]) -> str:
    """*text* as *convert* makes it, cut so that it has *limit* bytes at most; some services count bytes."""
    room = limit
    while True:
        done = convert(_cut(text, room))
        if len(done.encode()) <= limit or room <= _LEAST_BODY:
            return done
        room = room * 3 // 4


def _cut(text: str, room: int) -> str:
    """*text* in at most *room* bytes, if possible cut at the end of a line."""
    whole = text.encode()
    if len(whole) <= max(room, _LEAST_BODY):
        return text
    kept = whole[: max(room, _LEAST_BODY) - len(_CUT.encode())].decode(errors="ignore")
    head, line, _ = kept.rpartition("\n")
    return (head if line and len(head) > len(kept) // 2 else kept) + _CUT


def _schemes(service: Any) -> list[str]:
    return [*(service["protocols"] or ()), *(service["secure_protocols"] or ())]


def _secrets(url: str, harmless: str) -> Iterator[str]:
    """The password in *url*, and the pieces of it that look like tokens and that apprise would not show."""
    with suppress(ValueError):
        password = urlsplit(url).password
        yield from (password, unquote(password)) if password else ()
    for piece in re.split(r"[/@?&=:;,]+", url):
        # No words that are in every such URL: hiding them would tear up ordinary log lines.
        if len(piece) >= 6 and piece.lower() not in harmless.lower() and re.search(r"\d|.{16}", piece):
            yield from (piece, unquote(piece))


def _sign_once(plugin: Any) -> None:
    """Have DingTalk's signature escaped once: apprise does it itself, and requests does it again.

    The service answers 310000, "sign not match", to that.
    """
    sign = plugin.get_signature

    def signed() -> tuple[str, str]:
        timestamp, signature = sign()
        return timestamp, unquote(signature)

    plugin.get_signature = signed


def _type(notice: Notice) -> apprise.NotifyType:
    """The colour and the sign that the service gives the message."""
    if notice.kind is NoticeKind.RESOLVED:
        return apprise.NotifyType.SUCCESS
    if notice.kind is NoticeKind.TEST:
        return apprise.NotifyType.INFO
    severities = {alert.severity for alert in notice.alerts}
    if Severity.CRITICAL in severities:
        return apprise.NotifyType.FAILURE
    return apprise.NotifyType.WARNING if Severity.WARNING in severities else apprise.NotifyType.INFO


def _fault(heard: Heard, key: str) -> str | None:
    """What an answer with status 200 complains of, with a number under *key*; ``None``: of nothing."""
    for answer in heard.answers:
        code = _object(answer).get(key) if answer.status_code < 300 else None
        if isinstance(code, int) and code != 0:
            said = _object(answer)
            return f"{said.get('errmsg') or said.get('msg') or 'it does not say why'} ({code})"
    return None


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _reason(answer: requests.Response) -> str:
    """The sentence in *answer*, else all of it."""
    said = _object(answer)
    words = [said.get(key) for key in ("description", "errmsg", "message", "error", "msg")]
    return next((word for word in words if isinstance(word, str) and word), answer.text)


def _wait(answer: requests.Response) -> float | None:
    """How long the receiver wants to be left alone, in seconds."""
    parameters = _object(answer).get("parameters")  # Telegram's
    wait = parameters.get("retry_after") if isinstance(parameters, dict) else None
    if isinstance(wait, (int, float)) and wait > 0:
        return min(float(wait), 3600.0)
    return retry_after_seconds(answer, datetime.now(UTC))
