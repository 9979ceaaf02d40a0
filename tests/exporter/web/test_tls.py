from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from exporter.clock import SystemClock
from exporter.errors import ConfigError, ExporterError
from exporter.web import contexts
from exporter.web.app import WebParts, build_app
from exporter.web.contexts import Contexts
from exporter.web.limits import Limits
from exporter.web.server import WebServer, bind
from exporter.web.tls import build_contexts, validity
from exporter.web.webconfig import ClientAuth, TlsConfig
from tests.support.certificates import SEVERAL_DAYS_AGO, Pki
from tests.support.tools import require

Serve = Callable[..., WebServer]
Connect = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]
V = ssl.TLSVersion
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
ECDSA_128, ECDSA_256 = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"


def _healthy(client: Any, context: ssl.SSLContext) -> bool:
    return bool(client.secure(context).get("/healthz").status == 200)


def _refused(client: Any, context: ssl.SSLContext) -> bool:
    """Whether the server ends the connection before it answers, in whichever way TLS does that."""
    try:
        client.secure(context).send(GET).reply()
    except TimeoutError:
        raise
    except (EOFError, OSError):
        return True
    return False


def _shown(client: Any, context: ssl.SSLContext) -> bytes:
    """The certificate that the server shows, as DER."""
    shown: bytes = client.secure(context).sock.getpeercert(binary_form=True)
    return shown


def _der(leaf: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


# -- versions, suites, curves


@pytest.mark.parametrize("version", [V.TLSv1, V.TLSv1_1, V.TLSv1_2, V.TLSv1_3])
def test_each_version_can_be_pinned(
    serve: Serve, connect: Connect, pki: Pki, version: ssl.TLSVersion
) -> None:
    server = serve(tls=lambda: pki.config(minimum=version, maximum=version))
    client = connect(server).secure(pki.client(version=version, ciphers="DEFAULT:@SECLEVEL=0"))
    assert client.sock.version() == version.name.replace("_", ".").replace("TLSv1.0", "TLSv1")
    assert client.get("/healthz").status == 200
    for other in {V.TLSv1_2, V.TLSv1_3} - {version}:
        assert _refused(connect(server), pki.client(version=other))


def test_old_versions_are_refused_unless_asked_for(serve: Serve, connect: Connect, pki: Pki) -> None:
    server = serve(tls=pki.config)
    for version in (V.TLSv1, V.TLSv1_1):
        assert _refused(connect(server), pki.client(version=version, ciphers="DEFAULT:@SECLEVEL=0"))
    for version in (V.TLSv1_2, V.TLSv1_3):
        assert _healthy(connect(server), pki.client(version=version))


def test_cipher_suites_bind_tls_1_2_and_leave_tls_1_3_alone(serve: Serve, connect: Connect, pki: Pki) -> None:
    server = serve(tls=lambda: pki.config(cipher_suites=(ECDSA_128,)))
    client = connect(server).secure(pki.client(version=V.TLSv1_2))
    assert client.sock.cipher()[0] == ECDSA_128
    assert _refused(connect(server), pki.client(version=V.TLSv1_2, ciphers=ECDSA_256))
    assert _healthy(connect(server), pki.client(version=V.TLSv1_3))


@pytest.mark.parametrize(("servers_choice", "chosen"), [(True, ECDSA_128), (False, ECDSA_256)])
def test_whose_order_of_suites_counts_is_a_setting(
    serve: Serve, connect: Connect, pki: Pki, servers_choice: bool, chosen: str
) -> None:
    suites = (ECDSA_128, ECDSA_256)
    server = serve(tls=lambda: pki.config(cipher_suites=suites, prefer_server_ciphers=servers_choice))
    client = pki.client(version=V.TLSv1_2, ciphers=f"{ECDSA_256}:{ECDSA_128}")
    assert connect(server).secure(client).sock.cipher()[0] == chosen


@pytest.mark.parametrize("version", [V.TLSv1_2, V.TLSv1_3])
def test_any_of_the_curves_will_do_and_no_other(
    serve: Serve, connect: Connect, pki: Pki, version: ssl.TLSVersion
) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    leaf = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
    pki.put(pki.cert, leaf.cert_chain_pems[0].bytes())
    pki.put(pki.key, leaf.private_key_pem.bytes())
    server = serve(tls=lambda: pki.config(curves=("secp384r1", "X25519", "secp521r1")))

    def client(curve: str) -> ssl.SSLContext:
        context = pki.client(version=version)
        authority.configure_trust(context)
        context.set_ecdh_curve(curve)
        return context

    for curve in ("secp384r1", "X25519", "secp521r1"):
        assert _healthy(connect(server), client(curve))
    assert _refused(connect(server), client("prime256v1"))
    with pytest.raises(ssl.SSLError, match="handshake failure"):
        connect(server).secure(client("prime256v1"))


def test_a_client_that_speaks_slowly_may_need_the_last_curve(
    serve: Serve, connect: Connect, pki: Pki
) -> None:
    server = serve(tls=lambda: pki.config(curves=("secp384r1", "secp521r1", "X25519")))
    context = pki.client()
    context.set_ecdh_curve("X25519")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    client = connect(server)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            for byte in outgoing.read():
                client.send(bytes([byte]))
            incoming.write(client.sock.recv(1 << 16))
    client.send(outgoing.read())
    assert tls.cipher() is not None


def test_http_1_1_is_agreed_on(serve: Serve, connect: Connect, pki: Pki) -> None:
    context = pki.client(version=V.TLSv1_3)
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = connect(serve(tls=pki.config)).secure(context)
    assert client.sock.selected_alpn_protocol() == "http/1.1"
    assert client.get("/healthz").status == 200


def test_the_application_knows_that_it_is_https(connect: Connect, pki: Pki) -> None:
    schemes: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        schemes.append(scope["scheme"])
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body", "body": b""})

    for tls in (pki.config, None):
        server = WebServer(app, bind(["127.0.0.1:0"]), tls=tls)
        server.start()
        try:
            client = connect(server)
            (client.secure(pki.client()) if tls else client).get("/")
        finally:
            server.stop(1.0)
    assert schemes == ["https", "http"]


# -- files and what is wrong with them


def test_certificates_may_be_written_into_the_configuration(serve: Serve, connect: Connect, pki: Pki) -> None:
    authority = pki.authority.cert_pem.bytes()
    config = TlsConfig(pki.chain, pki.leaf.private_key_pem.bytes(), authority, ClientAuth.REQUIRE_AND_VERIFY)
    descriptors = os.listdir("/proc/self/fd")
    build_contexts(config)
    assert os.listdir("/proc/self/fd") == descriptors
    assert _healthy(
        connect(serve(tls=lambda: config)), pki.client(pki.authority.issue_cert("scraper.example"))
    )


def test_what_is_wrong_is_said_in_one_line_and_with_the_file(pki: Pki) -> None:
    other = pki.folder / "other.key"
    other.write_bytes(trustme.CA().issue_cert("a.example").private_key_pem.bytes())
    short = pki.folder / "short.crt"
    short.write_bytes(pki.chain[:300])
    locked = pki.folder / "locked.key"
    key = load_pem_private_key(pki.leaf.private_key_pem.bytes(), None)
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    ca = ClientAuth.REQUIRE_AND_VERIFY
    cases: list[tuple[dict[str, Any], str]] = [
        ({"cert": pki.folder / "none.crt"}, r"cannot read .*none\.crt: No such file"),
        ({"key": pki.folder}, "cannot read .*: Is a directory"),
        ({"key": other}, r"web\.crt.*other\.key.*do not fit together: key values mismatch"),
        ({"cert": short}, r"short\.crt.*not complete"),
        ({"key": locked}, "the TLS key has a passphrase"),
        ({"key": b""}, "written in the file itself.*not complete"),
        ({"client_ca": pki.key, "client_auth": ca}, r"the client CA .*web\.key"),
        ({"client_ca": pki.folder / "none.pem", "client_auth": ca}, r"cannot read .*none\.pem"),
        ({"cipher_suites": ("TLS_NONSENSE",)}, "the cipher suites cannot be used: no cipher"),
        ({"curves": ("CurveP999",)}, "OpenSSL does not know the curve CurveP999"),
    ]
    for changes, message in cases:
        with pytest.raises(ConfigError, match=message) as raised:
            build_contexts(pki.config(**changes))
        assert "\n" not in str(raised.value)


def test_a_server_whose_certificate_does_not_fit_does_not_start(pki: Pki, parts: WebParts) -> None:
    pki.key.unlink()
    server = WebServer(build_app(parts), bind(["127.0.0.1:0"]), tls=pki.config)
    with pytest.raises(ExporterError, match=r"did not start: cannot read .*web\.key"):
        server.start()


@pytest.mark.parametrize("year", [2030, 2049, 2050, 2199])
def test_the_end_of_a_certificate_is_read_from_it(pki: Pki, year: int) -> None:
    end = datetime(year, 3, 4, 5, 6, 7, tzinfo=UTC)
    leaf = _der(pki.renew(not_after=end))
    known = x509.load_der_x509_certificate(leaf)
    whole = (known.not_valid_before_utc, known.not_valid_after_utc)
    assert validity(leaf) == whole
    assert end in whole
    for cut in range(len(leaf)):
        assert validity(leaf[:cut]) in (None, whole)


@pytest.mark.parametrize(
    ("begin", "end", "told"),
    [(-9, 9, None), (-9, 6, "expires at"), (-9, -1, "expired at"), (1, 99, "is not valid before")],
)
def test_a_certificate_outside_its_time_is_told(
    serve: Serve, pki: Pki, caplog: pytest.LogCaptureFixture, begin: int, end: int, told: str | None
) -> None:
    now = datetime.now(UTC)
    pki.renew(not_before=now + timedelta(days=begin), not_after=now + timedelta(days=end))
    serve(tls=pki.config)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.startswith(f"the TLS certificate {told}") for line in said] == ([True] if told else [])


@pytest.mark.parametrize("version", [V.TLSv1_2, V.TLSv1_3])
def test_sessions_that_openssl_remembers_do_not_pile_up(
    pki: Pki, monkeypatch: pytest.MonkeyPatch, version: ssl.TLSVersion
) -> None:
    monkeypatch.setattr(contexts, "HANDSHAKES_EACH", 5)
    client = pki.client(version=version)
    client.options |= ssl.OP_NO_TICKET
    used = Contexts(pki.config, SystemClock())
    seen = []
    for _ in range(23):
        (context,) = used.now().contexts
        _agree(context, client)
        seen.append(context.session_stats()["number"])
    assert max(seen) <= 5


def _agree(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Shake hands in memory, and part in order: OpenSSL forgets the sessions of who just vanishes."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    served = server.wrap_bio(there, back, server_side=True)
    ends = [client.wrap_bio(back, there, server_hostname="127.0.0.1"), served]
    while ends:
        try:
            ends[0].do_handshake()
            ends.pop(0)
        except ssl.SSLWantReadError:
            ends.reverse()
    with contextlib.suppress(ssl.SSLWantReadError):
        served.unwrap()


def test_the_server_tells_when_its_certificate_ends(serve: Serve, pki: Pki) -> None:
    end = datetime(2040, 1, 2, tzinfo=UTC)
    pki.renew(not_after=end)
    assert serve(tls=pki.config).certificate_not_after() == end
    assert serve().certificate_not_after() is None
    assert serve(tls=lambda: None).certificate_not_after() is None


# -- clients with certificates


def _expired(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert(
        "scraper.example", not_before=SEVERAL_DAYS_AGO, not_after=SEVERAL_DAYS_AGO + timedelta(days=1)
    )


@pytest.mark.parametrize("version", [V.TLSv1_2, V.TLSv1_3])
@pytest.mark.parametrize("auth", list(ClientAuth))
def test_client_certificates(
    serve: Serve, connect: Connect, pki: Pki, auth: ClientAuth, version: ssl.TLSVersion
) -> None:
    server = serve(tls=lambda: pki.config(client_ca=pki.client_ca, client_auth=auth))
    stranger = trustme.CA()
    given = {
        "none": None,
        "right": pki.authority.issue_cert("scraper.example"),
        "stranger's": stranger.issue_cert("scraper.example"),
        "expired": _expired(pki.authority),
    }
    served = {
        name: not _refused(connect(server), pki.client(certificate, version=version))
        for name, certificate in given.items()
    }
    strict, asked = auth is ClientAuth.REQUIRE_AND_VERIFY, auth is not ClientAuth.NONE
    assert served == {"none": not strict, "right": True, "stranger's": not asked, "expired": not asked}


def test_a_client_ca_may_be_an_intermediate_one(serve: Serve, connect: Connect, pki: Pki) -> None:
    team = pki.authority.create_child_ca()
    pki.trust(team)
    server = serve(tls=lambda: pki.config(client_ca=pki.client_ca, client_auth=ClientAuth.REQUIRE_AND_VERIFY))
    assert _healthy(connect(server), pki.client(team.issue_cert("scraper.example")))
    assert _refused(connect(server), pki.client(pki.authority.issue_cert("scraper.example")))


@pytest.mark.parametrize(
    ("names", "allowed", "comes"),
    [
        (["a.example", "b.example"], ["x.example", "b.example"], True),
        (["a.example"], ["b.example"], False),
        (["a.example"], ["A.example"], False),
        (["a.example"], ["example"], False),
        (["*.example"], ["a.example"], False),
        (["192.0.2.7"], ["192.0.2.7"], True),
        (["192.0.2.7"], ["192.0.2.8"], False),
        (["2001:db8::7"], ["2001:db8::7"], True),
        (["2001:db8::7"], ["2001:0DB8:0::0:7"], True),
        (["scraper@a.example"], ["scraper@a.example"], True),
        (["a.example"], ["scraper@a.example"], False),
    ],
)
def test_allowed_names(
    serve: Serve, connect: Connect, pki: Pki, names: list[str], allowed: list[str], comes: bool
) -> None:
    server = serve(
        tls=lambda: pki.config(
            client_ca=pki.client_ca,
            client_auth=ClientAuth.REQUIRE_AND_VERIFY,
            allowed_sans=tuple(allowed),
        )
    )
    assert _refused(connect(server), pki.client(pki.authority.issue_cert(*names))) is not comes


def test_allowed_names_of_uris(serve: Serve, connect: Connect, pki: Pki) -> None:
    allowed = ("spiffe://cluster.example/ns/monitoring/sa/prometheus",)
    server = serve(
        tls=lambda: pki.config(
            client_ca=pki.client_ca, client_auth=ClientAuth.REQUIRE_AND_VERIFY, allowed_sans=allowed
        )
    )
    for uri, comes in ((allowed[0], True), (allowed[0] + "2", False)):
        assert _refused(connect(server), pki.client(_issue_uri(pki.authority, uri))) is not comes


def _issue_uri(authority: trustme.CA, uri: str) -> trustme.LeafCert:
    """A certificate for *uri*, which trustme itself cannot issue."""
    from cryptography.hazmat.primitives import hashes

    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    leaf = authority.issue_cert("a.example")
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    signer = load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert not isinstance(key, str)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(SEVERAL_DAYS_AGO)
        .not_valid_after(datetime.now(UTC) + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    )
    return trustme.LeafCert(leaf.private_key_pem.bytes(), certificate.public_bytes(Encoding.PEM), [])


def test_a_client_without_a_certificate_carries_no_allowed_name(
    serve: Serve, connect: Connect, pki: Pki
) -> None:
    server = serve(
        tls=lambda: pki.config(
            client_ca=pki.client_ca, client_auth=ClientAuth.VERIFY_IF_GIVEN, allowed_sans=("a.example",)
        )
    )
    assert _healthy(connect(server), pki.client(pki.authority.issue_cert("a.example")))
    assert _refused(connect(server), pki.client())


def test_a_client_that_may_not_come_and_stays_is_closed_quietly(
    serve: Serve, connect: Connect, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(
        Limits(linger_seconds=0.1),
        tls=lambda: pki.config(
            client_ca=pki.client_ca, client_auth=ClientAuth.REQUIRE_AND_VERIFY, allowed_sans=("a.example",)
        ),
    )
    client = connect(server).secure(pki.client(pki.authority.issue_cert("b.example")))
    client.send(GET)
    assert client.rest() == b""
    # The server closes for good once the client had its time, and a second time to close is no error.
    server.stop()
    assert caplog.records == []


# -- changes while it runs


def test_a_renewed_certificate_is_shown_to_the_next_connection(
    serve: Serve, connect: Connect, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = _der(pki.leaf)
    server = serve(tls=pki.config)
    kept = connect(server)
    assert _shown(kept, pki.client()) == before
    after = _der(pki.renew(not_after=datetime(2041, 1, 1, tzinfo=UTC)))
    assert [_shown(connect(server), pki.client()) for _ in range(2)] == [after, after]
    assert kept.get("/healthz").status == 200
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["a renewed TLS certificate is in use, valid until 2041-01-01 00:00:00+00:00"]


@pytest.mark.parametrize("damage", ["mismatch", "truncated", "missing", "empty", "unreadable"])
def test_a_rotation_that_is_not_over_keeps_the_old_pair(
    serve: Serve, connect: Connect, pki: Pki, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = _der(pki.leaf)
    server = serve(tls=pki.config)
    leaf = pki.authority.issue_cert("127.0.0.1")
    chain, key = leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()
    if damage == "missing":
        pki.key.unlink()
    elif damage == "unreadable":
        pki.key.unlink()
        pki.key.mkdir()
    else:
        pki.put(pki.cert, {"mismatch": chain, "truncated": chain[:200], "empty": b""}[damage])
    for _ in range(3):
        assert _shown(connect(server), pki.client()) == before
    kept = validity(before)
    assert kept is not None
    assert server.certificate_not_after() == kept.end
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().endswith("; what was in use before stays")
    if damage == "unreadable":
        pki.key.rmdir()
    pki.put(pki.cert, chain)
    pki.put(pki.key, key)
    assert _shown(connect(server), pki.client()) == _der(leaf)


def test_a_link_to_another_folder_is_a_change(serve: Serve, connect: Connect, pki: Pki) -> None:
    folders = [pki.folder / "one", pki.folder / "two"]
    leaves = [pki.authority.issue_cert("127.0.0.1") for _ in folders]
    for folder, leaf in zip(folders, leaves, strict=True):
        folder.mkdir()
        (folder / "tls.crt").write_bytes(leaf.cert_chain_pems[0].bytes())
        (folder / "tls.key").write_bytes(leaf.private_key_pem.bytes())
    link = pki.folder / "now"
    link.symlink_to(folders[0])
    server = serve(tls=lambda: pki.config(cert=link / "tls.crt", key=link / "tls.key"))
    assert _shown(connect(server), pki.client()) == _der(leaves[0])
    new = pki.folder / "new"
    new.symlink_to(folders[1])
    os.replace(new, link)
    assert _shown(connect(server), pki.client()) == _der(leaves[1])


def test_another_client_ca_counts_for_the_next_connection(serve: Serve, connect: Connect, pki: Pki) -> None:
    server = serve(tls=lambda: pki.config(client_ca=pki.client_ca, client_auth=ClientAuth.REQUIRE_AND_VERIFY))
    old, other = pki.client(pki.authority.issue_cert("a.example")), trustme.CA()
    new = pki.client(other.issue_cert("a.example"))
    kept = connect(server)
    assert _healthy(kept, old)
    assert _refused(connect(server), new)
    pki.trust(other)
    assert _refused(connect(server), old)
    assert _healthy(connect(server), new)
    assert kept.get("/healthz").status == 200


def test_a_resumed_session_does_not_outlive_the_client_ca(serve: Serve, connect: Connect, pki: Pki) -> None:
    server = serve(tls=lambda: pki.config(client_ca=pki.client_ca, client_auth=ClientAuth.REQUIRE_AND_VERIFY))
    context = pki.client(pki.authority.issue_cert("a.example"), version=V.TLSv1_2)

    def resume(session: ssl.SSLSession | None) -> Any:
        client = connect(server)
        client.sock = context.wrap_socket(client.sock, server_hostname="127.0.0.1", session=session)
        return client.sock

    session = resume(None).session
    assert resume(session).session_reused
    pki.trust(trustme.CA())
    with pytest.raises(OSError):
        resume(session).recv(1)


def test_other_settings_count_for_the_next_connection(
    serve: Serve, connect: Connect, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    settings: list[TlsConfig | None] = [None]
    server = serve(tls=lambda: settings[0])
    plain = connect(server)
    assert plain.get("/healthz").status == 200
    settings[0] = pki.config()
    old, none = pki.client(version=V.TLSv1_2), pki.client()
    assert _healthy(connect(server), old)
    settings[0] = pki.config(minimum=V.TLSv1_3)
    assert _refused(connect(server), old)
    assert _healthy(connect(server), none)
    strict = pki.config(client_ca=pki.client_ca, client_auth=ClientAuth.REQUIRE_AND_VERIFY)
    settings[0] = strict
    assert _refused(connect(server), none)
    settings[0] = replace(strict, client_auth=ClientAuth.VERIFY_IF_GIVEN)
    assert _healthy(connect(server), none)
    settings[0] = None
    assert connect(server).get("/healthz").status == 200
    assert plain.get("/healthz").status == 200
    assert caplog.records == []


def test_tls_that_is_switched_on_without_a_usable_certificate_is_never_plain(
    serve: Serve, connect: Connect, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    settings: list[TlsConfig | None] = [None]
    server = serve(tls=lambda: settings[0])
    settings[0] = pki.config(key=pki.folder / "none.key")
    for _ in range(2):
        assert _refused(connect(server), pki.client())
        assert connect(server).send(GET).reply().status == 400
    assert [record.getMessage().partition("; ")[2] for record in caplog.records] == ["HTTPS is refused"]
    settings[0] = pki.config()
    assert _healthy(connect(server), pki.client())


def test_settings_that_cannot_be_read_leave_those_in_use(
    serve: Serve, connect: Connect, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    broken: list[bool] = []

    def settings() -> TlsConfig:
        if broken:
            raise ExporterError("the file is gone")
        return pki.config()

    server = serve(tls=settings)
    broken.append(True)
    for _ in range(2):
        assert _healthy(connect(server), pki.client())
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["the TLS settings cannot be read: the file is gone"]


# -- what is not a good TLS client


def test_plain_http_is_told_that_the_port_speaks_https(serve: Serve, connect: Connect, pki: Pki) -> None:
    server = serve(tls=pki.config)
    for data in (GET, b"G", b"\x80\x2e\x01\x00\x02", bytes(10)):
        client = connect(server).send(data)
        reply = client.reply()
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert reply.body == b"This port speaks HTTPS, not plain HTTP.\n"
        assert client.rest() == b""


def test_a_long_plain_request_is_told_so_too(serve: Serve, connect: Connect, pki: Pki) -> None:
    client = connect(serve(tls=pki.config))
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + bytes(60000))
    assert client.reply().status == 400


def test_tls_to_a_plain_port_is_answered_in_plain_words(serve: Serve, connect: Connect, pki: Pki) -> None:
    with pytest.raises(ssl.SSLError):
        connect(serve()).secure(pki.client())


def test_failed_handshakes_are_one_quiet_line_each(
    serve: Serve, connect: Connect, pki: Pki, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    server = serve(
        tls=lambda: pki.config(
            client_ca=pki.client_ca, client_auth=ClientAuth.REQUIRE_AND_VERIFY, allowed_sans=("a.example",)
        )
    )
    caplog.set_level(logging.DEBUG)
    connect(server).send(b"\x16\x03\x01\x00\x05hello").rest()
    connect(server).send(b"\x16" * 70000).rest()
    for context in (
        pki.client(),
        pki.client(trustme.CA().issue_cert("a.example")),
        pki.client(pki.authority.issue_cert("b.example")),
        pki.client(version=V.TLSv1_1, ciphers="DEFAULT:@SECLEVEL=0"),
    ):
        assert _refused(connect(server), context)
    eventually(lambda: sum(record.name == "exporter.web.door" for record in caplog.records) == 6)
    ours = [record for record in caplog.records if record.name.startswith("exporter")]
    assert {record.levelno for record in ours} == {logging.DEBUG}
    assert all("a TLS handshake failed: " in record.getMessage() for record in ours)
    assert [one for one in caplog.records if one.exc_info or one.levelno > logging.INFO] == []


def test_a_broken_record_in_the_middle_ends_the_connection(
    serve: Serve, connect: Connect, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(tls=pki.config)
    client = connect(server).secure(pki.client())
    assert client.get("/healthz").status == 200
    socket.socket.send(client.sock, b"\x17\x03\x03\x00\x20" + bytes(32))
    raw = socket.socket(fileno=client.sock.detach())
    with raw:
        raw.settimeout(20)
        try:
            while raw.recv(4096):
                pass
        except ConnectionError:
            pass
    assert caplog.records == []
    assert _healthy(connect(server), pki.client())


def test_resets_during_the_handshake_leave_nothing(
    serve: Serve, connect: Connect, pki: Pki, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(tls=pki.config)
    assert _healthy(connect(server), pki.client())
    hello = _client_hello(pki)
    before = len(os.listdir("/proc/self/fd"))
    for data in (b"", hello[:1], hello[:80], hello):
        for _ in range(50):
            client = connect(server).send(data)
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
    assert _healthy(connect(server), pki.client())
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)
    assert caplog.records == []


def _client_hello(pki: Pki) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = pki.client().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


# -- clients of others


def test_curl_is_served(serve: Serve, pki: Pki, tmp_path: Path) -> None:
    curl = require("curl", "curl")
    server = serve(
        tls=lambda: pki.config(client_ca=pki.client_ca, client_auth=ClientAuth.REQUIRE_AND_VERIFY),
        render=lambda *args: [bytes(5_000_000)],
    )
    pair = tmp_path / "scraper.pem"
    pki.authority.issue_cert("scraper.example").private_key_and_cert_chain_pem.write_to_path(str(pair))
    url = f"https://{server.addresses[0]}"
    command = [curl, "--silent", "--show-error", "--cacert", str(pki.client_ca), "--cert", str(pair)]
    done = subprocess.run([*command, f"{url}/metrics", f"{url}/metrics"], capture_output=True, timeout=60)
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 10_000_000, b"")
    done = subprocess.run([*command[:-2], f"{url}/healthz"], capture_output=True, timeout=60)
    assert done.returncode == 56
    assert b"certificate required" in done.stderr


def test_openssl_is_served_and_agrees_on_what_was_negotiated(serve: Serve, pki: Pki) -> None:
    openssl = require("openssl", "openssl")
    server = serve(tls=pki.config)
    command = [openssl, "s_client", "-connect", server.addresses[0], "-CAfile", str(pki.client_ca)]
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    done = subprocess.run([*command, "-ign_eof"], input=request, capture_output=True, timeout=60)
    assert done.stdout.endswith(b"ok\nclosed\n")
    assert b"Verify return code: 0 (ok)" in done.stdout
    assert b"Compression: NONE" in done.stdout
    assert b"New Session Ticket" not in done.stdout
    done = subprocess.run([*command, "-tls1_2"], input=b"R\n", capture_output=True, timeout=60)
    assert b"no renegotiation" in done.stderr
