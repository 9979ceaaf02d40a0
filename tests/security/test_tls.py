"""Clients that are no good at TLS, or no friends, at a port that asks for certificates."""

from __future__ import annotations

import hashlib
import select
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trustme
import yaml

from tests.support.attack import Target
from tests.support.certificates import Pki
from tests.support.process import wait_until
from tests.support.wire import SCRAPE, Wire

HANDSHAKE_SECONDS = 5.0
SLACK = 20.0


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The authority of the server and of its clients."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def friend(pki: Pki) -> ssl.SSLContext:
    """A client with a certificate."""
    return pki.client(pki.authority.issue_cert("scraper.example"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, pki: Pki, friend: ssl.SSLContext) -> Iterator[Target]:
    """The program behind TLS that verifies clients."""
    tls = {
        "cert_file": str(pki.cert),
        "key_file": str(pki.key),
        "client_ca_file": str(pki.client_ca),
        "client_auth_type": "RequireAndVerifyClientCert",
    }
    web = tmp_path_factory.mktemp("web") / "web.yml"
    web.write_text(yaml.safe_dump({"tls_server_config": tls}))
    with Target(tmp_path_factory.mktemp("secured"), web_config_file=str(web)) as target:
        target.context = friend
        yield target.start().wait_built()


def _is_turned_away(target: Target, context: ssl.SSLContext) -> bool:
    """Whether a client gets no answer; in TLS 1.3 it learns that only when it reads."""
    try:
        with target.tcp() as wire:
            wire.secure(context).send(SCRAPE)
            return wire.sock.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def test_a_client_without_a_certificate_gets_nothing(secured: Target, pki: Pki) -> None:
    assert _is_turned_away(secured, pki.client())
    assert _is_turned_away(secured, pki.client(version=ssl.TLSVersion.TLSv1_2))
    assert secured.ask("/healthz").status == 200


def test_a_client_with_the_certificate_of_a_stranger_gets_nothing(secured: Target, pki: Pki) -> None:
    stranger = trustme.CA().issue_cert("scraper.example")
    assert _is_turned_away(secured, pki.client(stranger))
    assert secured.ask("/healthz").status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_an_old_version_of_tls_is_refused(secured: Target, pki: Pki, version: ssl.TLSVersion) -> None:
    context = pki.client(pki.authority.issue_cert("old.example"), version=version, ciphers="ALL:@SECLEVEL=0")
    assert _is_turned_away(secured, context)


def test_plain_http_to_the_tls_port_is_told_so(secured: Target) -> None:
    with secured.tcp() as wire:
        reply = wire.send(SCRAPE).reply()
        assert reply.status == 400
        assert b"HTTPS" in reply.body
        assert wire.rest() == b""


@pytest.mark.parametrize("noise", [b"\x16", b"\x16\x03\x01\xff\xff" + bytes(300), b"\x16" * 100_000])
def test_noise_on_the_tls_port_gets_no_answer_and_harms_nobody(secured: Target, noise: bytes) -> None:
    with secured.tcp() as wire:
        heard = wire.send(noise).half_close().rest()
        assert not heard.startswith(b"HTTP")
    assert secured.ask("/healthz").status == 200


def test_silent_connections_on_the_tls_port_are_closed_and_delay_nobody(secured: Target) -> None:
    with ExitStack() as stack:
        started = time.monotonic()
        silent = [stack.enter_context(secured.tcp()) for _ in range(100)]
        halves = [stack.enter_context(secured.tcp()).send(b"\x16\x03\x01\x02\x00\x01") for _ in range(50)]
        asked = time.monotonic()
        assert secured.ask("/healthz").status == 200
        assert time.monotonic() - asked < HANDSHAKE_SECONDS - 1
        assert [wire.rest() for wire in silent] == [b""] * 100
        assert all(not wire.rest().startswith(b"HTTP") for wire in halves)
        assert time.monotonic() - started < HANDSHAKE_SECONDS + SLACK


def test_500_silent_connections_on_the_tls_port_do_not_keep_a_scrape_waiting(secured: Target) -> None:
    with ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(secured.tcp())
        seconds = []
        while not seconds or (min(seconds) >= 1.0 and len(seconds) < 10):  # on a busy machine, not each is
            started = time.monotonic()
            assert secured.ask("/metrics", "Accept-Encoding: gzip").status == 200
            seconds.append(time.monotonic() - started)
        assert min(seconds) < 1.0


def test_a_reader_over_tls_that_does_not_read_is_reset_and_costs_little(secured: Target) -> None:
    secured.ask("/metrics")
    before = secured.megabytes()
    with ExitStack() as stack:
        deaf = [stack.enter_context(secured.wire(4096)).send(SCRAPE) for _ in range(20)]
        peak = before
        for wire in deaf:
            wire.sock.recv(1)
            peak = max(peak, secured.megabytes())
        wait_until(lambda: all(map(_is_gone, deaf)), "every reader is cut", 40)
        assert max(peak, secured.megabytes()) - before < 60
    assert secured.ask("/healthz").status == 200


def _is_gone(wire: Wire) -> bool:
    poll = select.poll()
    poll.register(wire.sock, 0)
    return bool(poll.poll(0))


def _serves(target: Target, friend: ssl.SSLContext) -> str:
    with target.tcp() as wire:
        wire.secure(friend)
        assert isinstance(wire.sock, ssl.SSLSocket)
        assert wire.ask("/healthz").status == 200
        return hashlib.sha256(wire.sock.getpeercert(binary_form=True) or b"").hexdigest()


def test_half_a_rotation_keeps_the_old_pair_and_the_whole_one_is_served(
    secured: Target, pki: Pki, friend: ssl.SSLContext
) -> None:
    old = _serves(secured, friend)
    good_key = pki.key.read_bytes()
    renewed = pki.authority.issue_cert("127.0.0.1")
    chain = b"".join(pem.bytes() for pem in renewed.cert_chain_pems)
    for broken in (renewed.private_key_pem.bytes(), b"", good_key[:100], b"no key at all"):
        pki.put(pki.key, broken)
        assert _serves(secured, friend) == old
    pki.key.unlink()
    assert _serves(secured, friend) == old
    pki.put(pki.key, renewed.private_key_pem.bytes())
    pki.put(pki.cert, chain)
    wait_until(lambda: _serves(secured, friend) != old, "the new certificate is served")
    assert good_key.decode().splitlines()[1] not in secured.log_path.read_text()
