"""Whether the receivers of messages can be reached, without telling them anything: for ``check --online``."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import requests

from exporter.errors import SinkError
from exporter.sinks.alerts.answers import shown, without_secrets


def reach(url: str, seconds: float, verify: bool | str = True) -> str:
    """The host of *url*, which answered something over HTTP; path and query may be secret, and stay here.

    Raises:
        SinkError: it did not answer.
    """
    parts = urlsplit(url)
    with suppress(ValueError):
        host, port = parts.hostname or "", parts.port
        address = f"[{host}]" if ":" in host else host
        address += f":{port}" if port else ""
        try:
            requests.head(
                f"{parts.scheme}://{address}/", timeout=seconds, verify=verify, allow_redirects=False
            ).close()
        except requests.RequestException as error:
            raise SinkError(f"{address} {without_secrets(error)}") from None
        return address
    raise SinkError("the address that it leads to is none")


def log_in_to_mail(plugin: Any, seconds: float) -> str:
    """The mail server of *plugin*, one of apprise's, which let us in and got no mail.

    Raises:
        SinkError: it did not.
    """
    server = f"{plugin.smtp_host}:{plugin.port}"
    try:
        with _connected(plugin, seconds) as smtp:
            smtp.ehlo_or_helo_if_needed()
            if plugin.user and plugin.password:
                smtp.login(plugin.user, plugin.password)
    except smtplib.SMTPAuthenticationError as error:
        said = _text(error.smtp_error)
        raise SinkError(
            f"mail server {server} refuses user name or password: {error.smtp_code} {said}"
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SinkError(f"mail server {server} cannot be used: {_text(reason)}") from None
    return server


def _connected(plugin: Any, seconds: float) -> smtplib.SMTP:
    """A connection as *plugin* would make it, encrypted if it says so."""
    context = ssl.create_default_context()
    if not plugin.verify_certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if plugin.secure_mode == "ssl":
        return smtplib.SMTP_SSL(plugin.smtp_host, plugin.port, timeout=seconds, context=context)
    smtp = smtplib.SMTP(plugin.smtp_host, plugin.port, timeout=seconds)
    if plugin.secure_mode == "starttls":
        smtp.starttls(context=context)
    return smtp


def _text(said: bytes | str) -> str:
    return shown(said.decode(errors="replace") if isinstance(said, bytes) else said)
