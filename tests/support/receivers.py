"""The other end of channels: HTTP services behind a proxy that has their names, and a mail server."""

from __future__ import annotations

import email
import email.policy
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as SmtpProtocol
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from tests.support.process import PATIENCE, free_port


@dataclass(frozen=True)
class Request:
    """One request as the service saw it; ``query`` is decoded once, header names are in lower case."""

    method: str
    host: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What a service answers; it waits for ``after`` first."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    after: threading.Event | None = None


class Services:
    """An HTTP server on loopback that is every service: asked directly, or as HTTPS proxy for any name.

    ``answer`` says what a request gets. With :attr:`environment` set, whoever trusts the environment reaches
    it by the services' real names, over real TLS.
    """

    def __init__(self, folder: Path) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Answer] = lambda _request: Answer()
        self._authority = trustme.CA()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._turn = threading.Lock()
        self._ca = folder / "services-ca.pem"
        self._authority.cert_pem.write_to_path(str(self._ca))
        services = self

        class Handler(_Handler):
            def take(self, request: Request) -> Answer:
                services.requests.append(request)
                return services.answer(request)

            def context(self, host: str) -> ssl.SSLContext:
                return services._context(host)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.address = f"127.0.0.1:{self.port}"
        self.environment = {"HTTPS_PROXY": f"http://{self.address}", "REQUESTS_CA_BUNDLE": str(self._ca)}
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE)
        self._server.server_close()

    def _context(self, host: str) -> ssl.SSLContext:
        with self._turn:
            if host not in self._contexts:
                self._contexts[host] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._authority.issue_cert(host).configure_cert(context)
            return self._contexts[host]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    host = ""

    def take(self, request: Request) -> Answer:
        raise NotImplementedError

    def context(self, host: str) -> ssl.SSLContext:
        raise NotImplementedError

    def do_CONNECT(self) -> None:
        self.host = self.path.rpartition(":")[0]
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            tls = self.context(self.host).wrap_socket(self.request, server_side=True)
        except OSError:
            self.close_connection = True
            return
        self.connection = self.request = tls
        self.rfile, self.wfile = tls.makefile("rb"), tls.makefile("wb", buffering=0)
        self.close_connection = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        place = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        host = self.host or self.headers.get("Host", "")
        request = Request(self.command, host, place.path, parse_qs(place.query), headers, body)
        answer = self.take(request)
        if answer.after:
            answer.after.wait(PATIENCE)
        try:
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
        except OSError:
            self.close_connection = True  # who asked does not wait any more

    do_GET = do_HEAD = do_PUT = do_POST

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.request.close()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: tests look at the requests."""


@dataclass(frozen=True)
class Mail:
    """One mail as the server took it."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    encrypted: bool
    user: str


class MailServer:
    """A real SMTP server; with *login*, it takes mail only over STARTTLS from who has logged in."""

    def __init__(self, folder: Path, login: tuple[str, str] | None = None) -> None:
        self.mails: list[Mail] = []
        self.refuse = ""
        self.unknown: set[str] = set()
        authority = trustme.CA()
        self.ca = folder / "mail-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        options: dict[str, Any] = {}
        if login:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)

            def known(
                _server: SmtpProtocol, _session: Session, _envelope: Envelope, how: str, data: Any
            ) -> Any:
                assert isinstance(data, LoginPassword), how
                given = data.login.decode(), data.password.decode()
                return AuthResult(success=given == login, handled=False, auth_data=given[0])

            options = {
                "tls_context": context,
                "require_starttls": True,
                "auth_required": True,
                "authenticator": known,
            }
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()

    async def handle_RCPT(
        self, _server: SmtpProtocol, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.unknown:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SmtpProtocol, session: Session, envelope: Envelope) -> str:
        if self.refuse:
            return self.refuse
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        user = str(getattr(session, "auth_data", "") or "")
        self.mails.append(
            Mail(str(envelope.mail_from), list(envelope.rcpt_tos), message, session.ssl is not None, user)
        )
        return "250 OK"
