"""A web configuration file: what is in it, what is refused, and how our verdict compares with promtool's."""

from __future__ import annotations

import os
import re
import ssl
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.errors import ConfigError
from exporter.web.webconfig import ClientAuth, RateLimit, TlsConfig, WebConfig
from exporter.web.webkeys import CIPHER_SUITES, CURVES, TLS13_SUITES
from exporter.web.webread import MAX_FILE_BYTES, load_web_config
from tests.support.certificates import make_pair
from tests.support.promtool import accepts_web_config

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"
OLD = "Debian's promtool (2.42) does not know the key; exporter-toolkit 0.20 agrees with us"
UNVERIFIED = "Python's ssl cannot ask for a certificate without verifying it; it would keep nobody out"
PUBLIC = "Go falls back on the system's authorities: anybody's certificate would do"
SILENT = "Go serves plain HTTP without a word; whoever writes these keys wants TLS"
STRICT = "our YAML is stricter, as in our own configuration file"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates and keys; tests leave it as it is, apart from web.yml."""
    folder = tmp_path_factory.mktemp("web")
    for name in ("server", "other"):
        make_pair(folder, name)
    make_pair(folder, "locked", passphrase="hunter22")
    (folder / "both.pem").write_bytes(
        (folder / "server.crt").read_bytes() + (folder / "server.key").read_bytes()
    )
    (folder / "noted.crt").write_bytes("# für uns\n".encode() + (folder / "server.crt").read_bytes())
    (folder / "junk.pem").write_text("junk\n")
    (folder / "broken.crt").write_text((folder / "server.crt").read_text().replace("MII", "MIA"))
    (folder / "empty.pem").write_text("")
    return folder


@pytest.fixture
def write(folder: Path) -> Callable[[str | bytes], Path]:
    def write_one(text: str | bytes) -> Path:
        path = folder / "web.yml"
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return path

    return write_one


@pytest.fixture
def load(write: Callable[[str | bytes], Path]) -> Callable[[str | bytes], WebConfig]:
    return lambda text: load_web_config(write(text))


@pytest.fixture
def problems(write: Callable[[str | bytes], Path]) -> Callable[[str | bytes], list[str]]:
    """The problems of a text, without the name of the file."""

    def find(text: str | bytes) -> list[str]:
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            load_web_config(path)
        assert {problem.file for problem in caught.value.problems} == {str(path)}
        return [str(problem).removeprefix(str(path)) for problem in caught.value.problems]

    return find


AGREED_GOOD = {
    "empty": "",
    "comment": "# nothing\n",
    "null": "~",
    "empty mapping": "{}",
    "byte order mark": "\ufeffhttp_server_config: {http2: true}",
    "empty sections": "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
    "empty section in braces": "tls_server_config: {}",
    "empty file names": "tls_server_config: {cert_file: '', key_file: ''}",
    "certificate and key": TLS + "}",
    "quoted words": TLS + ", min_version: 'TLS12', client_auth_type: \"NoClientCert\"}",
    "one file for both": "tls_server_config: {cert_file: both.pem, key_file: both.pem}",
    "notes before the certificate": "tls_server_config: {cert_file: noted.crt, key_file: server.key}",
    "empty client auth": TLS + ", client_auth_type: ''}",
    "request": TLS + ", client_auth_type: RequestClientCert}",
    "request with authority": TLS + ", client_auth_type: RequestClientCert, client_ca_file: other.crt}",
    "verify if given": TLS + ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: other.crt}",
    "verify if given by nobody": TLS + ", client_auth_type: VerifyClientCertIfGiven}",
    "verify": TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: other.crt}",
    "oldest and newest": TLS + ", min_version: TLS10, max_version: TLS13}",
    "one version": TLS + ", min_version: TLS12, max_version: TLS12}",
    # Go 1.22 and newer refuse the suites without ECDHE; Debian's promtool and many exporters take them.
    "all ciphers": TLS + f", cipher_suites: [{', '.join((*CIPHER_SUITES, *TLS13_SUITES))}]}}",
    "ciphers of 1.3": TLS + ", cipher_suites: [TLS_AES_128_GCM_SHA256]}",
    "no ciphers": TLS + ", cipher_suites: []}",
    "client's order": TLS + ", prefer_server_cipher_suites: false}",
    "old words for bools": TLS + ", prefer_server_cipher_suites: yes}\nhttp_server_config: {http2: off}",
    "all curves": TLS + f", curve_preferences: [{', '.join(CURVES)}]}}",
    "no headers": "http_server_config: {headers: }",
    "all headers": "http_server_config: {headers: {Strict-Transport-Security: max-age=1, X-XSS-Protection: 0,"
    " X-Content-Type-Options: nosniff, X-Frame-Options: sameorigin, Content-Security-Policy: a b}}",
    "blank header": "http_server_config: {headers: {X-XSS-Protection: }}",
    "users": f"basic_auth_users: {{alice: {HASH}, 7: '{HASH.replace('2y', '2b')}', '': {HASH}}}",
    "merged": f"basic_auth_users: &u {{a: {HASH}}}\n",
}
AGREED_BAD = {
    "text": "junk",
    "list": "[1]",
    "tab": "http_server_config:\n\thttp2: true",
    "unknown key": "tls_config: {}",
    "unknown key below": "tls_server_config: {cert_filse: server.crt}",
    "wrong letters": "TLS_server_config: {}",
    "duplicate key": "http_server_config: {http2: true, http2: true}",
    "duplicate section": "http_server_config: {}\nhttp_server_config: {}",
    "duplicate user": f"basic_auth_users: {{a: {HASH}, a: {HASH}}}",
    "section is text": "tls_server_config: server.crt",
    "no key": "tls_server_config: {cert_file: server.crt}",
    "no certificate": "tls_server_config: {key_file: server.key}",
    "empty certificate name": "tls_server_config: {cert_file: '', key_file: server.key}",
    "empty names and a word": "tls_server_config: {cert_file: '', key_file: '', client_auth_type: x}",
    "missing certificate": "tls_server_config: {cert_file: none.crt, key_file: server.key}",
    "missing key": "tls_server_config: {cert_file: server.crt, key_file: none.key}",
    "folder as certificate": "tls_server_config: {cert_file: ., key_file: server.key}",
    "junk as certificate": "tls_server_config: {cert_file: junk.pem, key_file: server.key}",
    "empty certificate": "tls_server_config: {cert_file: empty.pem, key_file: server.key}",
    "broken certificate": "tls_server_config: {cert_file: broken.crt, key_file: server.key}",
    "junk as key": "tls_server_config: {cert_file: server.crt, key_file: junk.pem}",
    "exchanged": "tls_server_config: {cert_file: server.key, key_file: server.crt}",
    "another's key": "tls_server_config: {cert_file: server.crt, key_file: other.key}",
    "locked key": "tls_server_config: {cert_file: locked.crt, key_file: locked.key}",
    "authority without policy": TLS + ", client_ca_file: other.crt}",
    "missing authority": TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: none.crt}",
    "unknown policy": TLS + ", client_auth_type: RequireAndVerify}",
    "policy alone": "tls_server_config: {client_auth_type: NoClientCert}",
    "unknown version": TLS + ", min_version: TLS111}",
    "version as number": TLS + ", min_version: 1.2}",
    "invented cipher": TLS + ", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA2048]}",
    "OpenSSL's name": TLS + ", cipher_suites: [ECDHE-RSA-AES128-GCM-SHA256]}",
    "insecure cipher": TLS + ", cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}",
    "cipher is no list": TLS + ", cipher_suites: TLS_AES_128_GCM_SHA256}",
    "invented curve": TLS + ", curve_preferences: [CurveP257]}",
    "http2 is a number": "http_server_config: {http2: 1}",
    "foreign header": "http_server_config: {headers: {Server: me}}",
    "header in small letters": "http_server_config: {headers: {x-frame-options: deny}}",
    "wrong content type option": "http_server_config: {headers: {X-Content-Type-Options: sniff}}",
    "wrong frame option": "http_server_config: {headers: {X-Frame-Options: DENY}}",
    "blank frame option": "http_server_config: {headers: {X-Frame-Options: }}",
    "headers are a list": "http_server_config: {headers: [X-Frame-Options]}",
    "plain password": "basic_auth_users: {alice: hunter2hunter2}",
    "blank password": "basic_auth_users: {alice: }",
    "short hash": f"basic_auth_users: {{alice: {HASH[:-2]}}}",
    "other hash": "basic_auth_users: {alice: '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='}",
    "hash of cost 3": f"basic_auth_users: {{alice: '{HASH.replace('$10$', '$03$')}'}}",
    "users are a list": f"basic_auth_users: [{HASH}]",
}
# name: (text, whether we take it, why promtool sees it differently)
DIFFERENT = {
    "any certificate": (TLS + ", client_auth_type: RequireAnyClientCert}", False, UNVERIFIED),
    "any certificate, old word": (TLS + ", client_auth_type: RequireClientCert}", False, UNVERIFIED),
    "verify by nobody": (TLS + ", client_auth_type: RequireAndVerifyClientCert}", False, PUBLIC),
    "junk as authority": (
        TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: junk.pem}",
        False,
        "Go ignores what is no certificate, and then lets nobody in",
    ),
    "TLS without a certificate": ("tls_server_config: {min_version: TLS13}", False, SILENT),
    "newest below oldest": (
        TLS + ", min_version: TLS13, max_version: TLS12}",
        False,
        "Go finds out at the first handshake",
    ),
    "no suite left": (
        TLS + ", cipher_suites: [TLS_AES_128_GCM_SHA256], max_version: TLS12}",
        False,
        "Go finds out at the first handshake",
    ),
    "line break in a header": (
        'http_server_config: {headers: {Content-Security-Policy: "a\\nb"}}',
        False,
        "Go sends a blank instead of the line break",
    ),
    "costly hash": (
        f"basic_auth_users: {{alice: '{HASH.replace('$10$', '$26$')}'}}",
        False,
        "one login would take an hour",
    ),
    "long hash": (f"basic_auth_users: {{alice: {HASH}x}}", False, "no password has such a hash"),
    "first kind of hash": (
        f"basic_auth_users: {{alice: {HASH.replace('$2y$', '$2$').replace('DeSi', 'DeSia')}}}",
        False,
        "Python's bcrypt does not know it; nothing has written it for twenty years",
    ),
    "two documents": ("---\nhttp_server_config: {}\n---\nx: 1\n", False, STRICT),
    "leading zero": ("http_server_config: {headers: {X-XSS-Protection: 01}}", False, STRICT),
    "word as text": ("http_server_config: {headers: {X-XSS-Protection: no}}", False, STRICT),
    "UTF-16": ("http_server_config: {http2: true}".encode("utf-16"), False, STRICT),
    "rate limit": ("rate_limit: {interval: 1s, burst: 1}", True, OLD),
    "rate limit off": ("rate_limit: {interval: 0, burst: 0}", True, OLD),
    "certificate and key inline": ("INLINE}", True, OLD),
    "names": (
        TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: other.crt,"
        " client_allowed_sans: [localhost]}",
        True,
        OLD,
    ),
    "authority inline": (TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca: 'CA'}", True, OLD),
}
CASES: dict[str, tuple[str | bytes, bool, str]] = {
    **{name: (text, True, "") for name, text in AGREED_GOOD.items()},
    **{name: (text, False, "") for name, text in AGREED_BAD.items()},
    **DIFFERENT,
}


@pytest.mark.parametrize("name", CASES)
def test_our_verdict_is_that_of_promtool_or_differs_for_a_reason(
    name: str, folder: Path, write: Callable[[str | bytes], Path]
) -> None:
    text, good, reason = CASES[name]
    if isinstance(text, str):
        inline = {kind: _quoted(folder / f"server.{kind}") for kind in ("crt", "key")}
        text = text.replace("INLINE", f"tls_server_config: {{cert: {inline['crt']}, key: {inline['key']}")
        text = text.replace("'CA'", inline["crt"])
    path = write(text)
    try:
        load_web_config(path)
        ours = True
    except ConfigError:
        ours = False
    assert ours is good
    theirs = accepts_web_config(path)
    if theirs is not None:
        assert theirs is (good if not reason else not good)


def _quoted(path: Path) -> str:
    return '"' + path.read_text().replace("\n", "\\n") + '"'


SANS = "client_ca_file: other.crt, client_allowed_sans: [localhost]"
VERIFY = "client_auth_type: RequireAndVerifyClientCert"
CERT_MISSING = "cert_file: is required (or cert)"
KEY_MISSING = "key_file: is required (or key)"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", None),
        ("hunting: the snark", "hunting: unknown key"),
        ("tls_server_config: {cert_filse: server.crt}", "cert_filse: unknown key; did you mean cert_file?"),
        ("tls_server_config: {cert_file: '', key_file: server.key}", CERT_MISSING),
        ("tls_server_config: {cert: '', key_file: server.key}", CERT_MISSING),
        ("tls_server_config: {cert_file: server.crt, key_file: ''}", KEY_MISSING),
        ("tls_server_config: {cert_file: server.crt, key: ''}", KEY_MISSING),
        (
            "tls_server_config: {cert_file: '', key_file: '', client_auth_type: x}",
            "client_auth_type: unknown client_auth_type",
        ),
        ("tls_server_config: {cert_file: some, key_file: server.key}", "cert_file: the file does not exist"),
        ("tls_server_config: {cert_file: server.crt, key_file: some}", "key_file: the file does not exist"),
        (TLS + ", client_ca_file: other.crt}", "client_ca_file: is set, but client_auth_type asks for no"),
        (TLS + f", client_ca_file: some, {VERIFY}}}", "client_ca_file: the file does not exist"),
        ("basic_auth_users: {john: doe}", "basic_auth_users.john: is not a bcrypt hash"),
        (TLS + ", cipher_suites: [TLS_RSA_WITH_AES_2048_CBC_SHA]}", "cipher_suites.0: unknown cipher suite"),
        (TLS + ", curve_preferences: [CurveP257]}", "curve_preferences.0: unknown curve"),
        (TLS + ", min_version: TLS111}", "min_version: unknown TLS version"),
        ("http_server_config: {headers: {X-Content-Type-Options: x}}", "must be one of: nosniff"),
        ("http_server_config: {headers: {X-Frame-Options: x}}", "must be one of: deny, sameorigin"),
        ("http_server_config: {headers: {X-Forwarded-For: x}}", "X-Forwarded-For: unknown header"),
        (TLS + f", {SANS}, {VERIFY}}}", None),
        (TLS + f", {SANS}, client_auth_type: VerifyClientCertIfGiven}}", "client_allowed_sans: needs"),
        (TLS + ", client_allowed_sans: [localhost]}", "client_allowed_sans: needs"),
        ("rate_limit: {interval: 1s, burst: 1}", None),
    ],
)
def test_exporter_toolkit_s_own_cases_end_alike(
    write: Callable[[str | bytes], Path], text: str, told: str | None
) -> None:
    path = write(text)
    if told is None:
        load_web_config(path)
    else:
        with pytest.raises(ConfigError, match=re.escape(told)):
            load_web_config(path)


def test_every_key_arrives(load: Callable[[str | bytes], WebConfig], folder: Path) -> None:
    config = load(f"""\
        tls_server_config:
          cert_file: server.crt
          key_file: {folder}/server.key
          client_ca_file: other.crt
          client_auth_type: RequireAndVerifyClientCert
          client_allowed_sans: [prometheus.example.org, 10.0.0.1]
          min_version: TLS11
          max_version: TLS12
          cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]
          prefer_server_cipher_suites: false
          curve_preferences: [X25519, CurveP256]
        http_server_config:
          http2: false
          headers: {{X-XSS-Protection: 0, X-Frame-Options: deny, Content-Security-Policy: }}
        basic_auth_users: {{alice: {HASH}}}
        rate_limit: {{interval: 1m0.5s, burst: 3}}
        """)
    assert config == WebConfig(
        tls=TlsConfig(
            cert=folder / "server.crt",
            key=folder / "server.key",
            client_ca=folder / "other.crt",
            client_auth=ClientAuth.REQUIRE_AND_VERIFY,
            allowed_sans=("prometheus.example.org", "10.0.0.1"),
            minimum=ssl.TLSVersion.TLSv1_1,
            maximum=ssl.TLSVersion.TLSv1_2,
            cipher_suites=("ECDHE-RSA-AES256-GCM-SHA384",),
            prefer_server_ciphers=False,
            curves=("X25519", "prime256v1"),
        ),
        users={"alice": HASH.encode()},
        headers={"X-XSS-Protection": "0", "X-Frame-Options": "deny"},
        rate_limit=RateLimit(60.5, 3),
    )
    assert HASH not in repr(config)
    assert "server.key" not in repr(config), "it could as well be the key itself"


def test_an_empty_file_is_plain_http_for_everybody(load: Callable[[str | bytes], WebConfig]) -> None:
    assert load("") == WebConfig()


def test_certificates_may_be_written_into_the_file_and_a_file_beats_them(
    load: Callable[[str | bytes], WebConfig], folder: Path
) -> None:
    cert, key = (_quoted(folder / f"server.{kind}") for kind in ("crt", "key"))
    inline = load(f"tls_server_config: {{cert: {cert}, key: {key}}}").tls
    assert inline == TlsConfig((folder / "server.crt").read_bytes(), (folder / "server.key").read_bytes())
    both = load(TLS + ", cert: junk, key: junk}").tls
    assert both == TlsConfig(folder / "server.crt", folder / "server.key")


@pytest.mark.parametrize("policy", ["RequestClientCert", "VerifyClientCertIfGiven"])
def test_who_asks_without_verifying_lets_everybody_in(
    load: Callable[[str | bytes], WebConfig], policy: str
) -> None:
    tls = load(f"{TLS}, client_auth_type: {policy}}}").tls
    assert tls is not None
    assert (tls.client_auth, tls.client_ca) == (ClientAuth.NONE, None)


def test_naming_only_suites_of_tls_1_3_leaves_no_older_version(
    load: Callable[[str | bytes], WebConfig],
) -> None:
    tls = load(TLS + ", cipher_suites: [TLS_AES_128_GCM_SHA256]}").tls
    assert tls is not None
    assert (tls.minimum, tls.cipher_suites) == (ssl.TLSVersion.TLSv1_3, ())


@pytest.mark.parametrize(("go", "name"), CIPHER_SUITES.items())
def test_openssl_knows_every_suite_by_the_name_we_give_it(go: str, name: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(name)
    found = [one for one in context.get_ciphers() if one["name"] == name]
    assert [go] == [_in_gos_words(one) for one in found]


def _in_gos_words(cipher: dict[str, object]) -> str:
    """The standard's name, made of OpenSSL's own description of its parts."""
    parts = dict(part.split("=", 1) for part in str(cipher["description"]).split() if "=" in part)
    exchange = {"ECDH": f"ECDHE_{parts['Au']}", "RSA": "RSA"}[parts["Kx"]]
    code, bits = parts["Enc"].rstrip(")").split("(")
    mode = {"AESGCM": f"AES_{bits}_GCM", "AES": f"AES_{bits}_CBC", "CHACHA20/POLY1305": "CHACHA20_POLY1305"}
    digest = {"SHA1": "SHA", "AEAD": "SHA384" if (code, bits) == ("AESGCM", "256") else "SHA256"}
    return f"TLS_{exchange}_WITH_{mode[code]}_{digest[parts['Mac']]}"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1s", 1), ("500ms", 0.5), ("1h2m3.5s", 3723.5), ("250us", 0.00025), ("3µs", 3e-6), (".5m", 30)],
)
def test_intervals_are_durations_as_go_writes_them(
    load: Callable[[str | bytes], WebConfig], written: str, seconds: float
) -> None:
    limit = load(f"rate_limit: {{interval: {written}, burst: 2}}").rate_limit
    assert limit is not None
    assert limit.interval_seconds == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["5", "1.5", "-1s", "1", "s", "1 s", "1d", "true", "[1s]", "1.2.3s"])
def test_an_interval_that_could_mean_anything_is_refused(
    problems: Callable[[str | bytes], list[str]], written: str
) -> None:
    (told,) = problems(f"rate_limit: {{interval: {written}, burst: 2}}")
    assert told.startswith(":1: rate_limit.interval: must be a duration with its unit, such as 500ms")


def test_every_problem_is_told_at_once_with_its_line(
    problems: Callable[[str | bytes], list[str]],
) -> None:
    told = problems("""\
        tls_server_config:
          cert_fil: x
          cert_file: none.crt
          key_file: server.key
          client_ca_file: junk.pem
          min_version: TLS21
          cipher_suites:
            - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
            - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA25
          client_auth_type: RequireAnyClientCert
        http_server_config:
          http2: maybe
          headers:
            X-Frame-Options: allow
            X-Frame-Option: deny
            Content-Security-Policy: "ä"
        basic_auth_users:
          alice: hunter2hunter2
          bob:
        rate_limit: {interval: 5s}
        rate_limits: {}
        """)
    assert [line.partition("Allowed here")[0].rstrip(" .") for line in told] == [
        ":2: tls_server_config.cert_fil: unknown key; did you mean cert_file?",
        ":3: tls_server_config.cert_file: the file does not exist",
        ":5: tls_server_config.client_ca_file: holds no certificate in PEM form that can be read",
        ":6: tls_server_config.min_version: unknown TLS version; did you mean TLS13?",
        ":9: tls_server_config.cipher_suites.1: unknown cipher suite;"
        " did you mean TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256?",
        ":10: tls_server_config.client_auth_type: RequireAnyClientCert is not offered: a certificate that is"
        " demanded but not verified keeps nobody out. Use RequireAndVerifyClientCert with client_ca_file",
        ":12: http_server_config.http2: must be true or false (got 'maybe')",
        ":14: http_server_config.headers.X-Frame-Options: must be one of: deny, sameorigin",
        ":15: http_server_config.headers.X-Frame-Option: unknown header; did you mean X-Frame-Options?",
        ":16: http_server_config.headers.Content-Security-Policy: must be plain ASCII text on one line",
        ':18: basic_auth_users.alice: is not a bcrypt hash, which `htpasswd -nBC 10 ""` makes of a password',
        ":19: basic_auth_users.bob: must be text",
        ":20: rate_limit.burst: must be at least 1: with none, every request would be refused",
        ":21: rate_limits: unknown key; did you mean rate_limit?",
    ]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("cert_file: server.crt", ":1: tls_server_config.key_file: is required (or key): TLS needs the"),
        ("key_file: server.key", ":1: tls_server_config.cert_file: is required (or cert): TLS needs a"),
        ("cert_file: ., key_file: server.key", ":1: tls_server_config.cert_file: this is a directory"),
        ("cert_file: junk.pem, key_file: junk.pem", ":1: tls_server_config.cert_file: holds no certificate"),
        ("cert_file: server.crt, key_file: junk.pem", ":1: tls_server_config.key_file: holds no private key"),
        ("cert_file: server.crt, key: junk", ":1: tls_server_config.key: holds no private key"),
        ("cert_file: server.crt, key_file: other.key", ":1: tls_server_config.key_file: does not belong to"),
        ("cert_file: locked.crt, key_file: locked.key", ":1: tls_server_config.key_file: is encrypted"),
    ],
)
def test_a_certificate_of_no_use_is_told_by_the_key_that_names_it(
    problems: Callable[[str | bytes], list[str]], keys: str, told: str
) -> None:
    (only,) = problems(f"tls_server_config: {{{keys}}}")
    assert only.startswith(told)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("client_ca_file: other.crt", "client_ca_file: is set, but client_auth_type asks for no certificate"),
        ("client_auth_type: RequireAndVerifyClientCert", "client_auth_type: needs client_ca_file"),
        ("client_allowed_sans: [a]", "client_allowed_sans: needs client_auth_type RequireAndVerify"),
        ("min_version: TLS13, max_version: TLS12", "max_version: leaves no TLS version to speak"),
        (
            "client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [],"
            " client_ca_file: other.crt",
            "client_allowed_sans: is empty: nobody could come in",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(
    problems: Callable[[str | bytes], list[str]], keys: str, told: str
) -> None:
    (only,) = problems(f"{TLS}, {keys}}}")
    assert only.startswith(f":1: tls_server_config.{told}")


def test_no_message_holds_a_key_or_a_hash(problems: Callable[[str | bytes], list[str]]) -> None:
    told = problems(f"""\
        tls_server_config: {{cert: MY-CERT, key: MY-SECRET-KEY, min_version: MY-SECRET-KEY}}
        basic_auth_users: {{alice: MY-SECRET-HASH, alice: {HASH}x, bob: !x MY-SECRET-TAG,
          carol: [MY-SECRET-LIST]}}
        rate_limit: {{interval: MY-SECRET-KEY}}
        """)
    assert len(told) > 4
    assert not [line for line in told if "SECRET" in line or HASH in line]


def test_what_is_no_small_text_file_is_refused(
    folder: Path, tmp_path: Path, problems: Callable[[str | bytes], list[str]]
) -> None:
    assert problems(b"#" * (MAX_FILE_BYTES + 1)) == [f": the file is larger than {MAX_FILE_BYTES} bytes"]
    assert problems(b"# \n\xff") == [":2: the file is not UTF-8 text"]
    assert problems("http_server_config:\n\thttp2: true") == [
        ":2: not valid YAML: a tab is not allowed in the indentation; use spaces"
    ]
    os.mkfifo(tmp_path / "pipe")
    for name, told in [
        ("pipe", "this is not a regular file"),
        (".", "this is a directory, not a file"),
        ("none", "the file does not exist"),
    ]:
        with pytest.raises(ConfigError, match=told):
            load_web_config(tmp_path / name)


def test_a_key_in_a_pipe_holds_nobody_up(
    folder: Path, tmp_path: Path, problems: Callable[[str | bytes], list[str]]
) -> None:
    os.mkfifo(tmp_path / "key")
    assert problems(f"tls_server_config: {{cert_file: server.crt, key_file: {tmp_path}/key}}") == [
        ":1: tls_server_config.key_file: this is not a regular file"
    ]


def test_the_example_is_good_for_us_and_for_promtool(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "deploy" / "web-config.example.yml"
    make_pair(tmp_path, "server")
    make_pair(tmp_path, "clients-ca")
    text = example.read_text()
    path = tmp_path / example.name
    path.write_text(text)
    assert accepts_web_config(path) in (True, None)
    assert load_web_config(path).users
    shown = text.replace("# rate_limit:", "rate_limit:").replace("#   interval", "  interval")
    path.write_text(shown.replace("#   burst", "  burst").replace("# client_allowed", "client_allowed"))
    config = load_web_config(path)
    assert config.rate_limit == RateLimit(0.1, 20)
    assert config.tls is not None
    assert config.tls.allowed_sans == ("prometheus.example.org",)
