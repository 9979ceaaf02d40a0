"""A GitHub App in place of a token: tokens of an hour, bought and renewed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from collectors.github import GitHubActions
from exporter.errors import ConfigError
from tests.support.githubs import GitHubLab, github
from tests.support.truth import counted_runs

KEY = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
TOKENS = "POST /app/installations/:id/access_tokens"


def pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class AppLab(GitHubLab):
    """A lab whose exporter has no token."""

    watched: ClassVar[Any] = {}


@contextmanager
def app_lab(folder: Path, **block: Any) -> Iterator[AppLab]:
    with github() as server:
        server.action("create_project", path="acme/p")
        server.action("set_app", app_id=12, installation_id=34, public_key=public(KEY))
        server.token = ""
        lab = AppLab(server, folder, **{"app_id": 12, "installation_id": 34, "token": None, **block})
        yield lab
        lab.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[AppLab]:
    (tmp_path / "key.pem").write_text(pem(KEY))
    with app_lab(tmp_path, private_key_file=tmp_path / "key.pem") as made:
        yield made


def test_it_watches_the_repositories_of_its_installation(lab: AppLab) -> None:
    lab.pipeline()
    lab.run(120, 60)
    assert sum(counted_runs(lab.exporter.text).values()) == 1
    assert lab.calls()[TOKENS] == 1


def test_a_token_is_renewed_before_it_runs_out(lab: AppLab) -> None:
    lab.exporter.poll()
    lab.calls()
    lab.advance(3400)
    lab.exporter.poll()
    assert lab.calls()[TOKENS] == 1
    assert lab.server.requests()["by_status"].get("401") is None


def test_a_token_that_is_refused_is_exchanged(lab: AppLab) -> None:
    lab.advance(120)
    lab.act("revoke_tokens")
    lab.pipeline()
    lab.run(120, 60)
    assert lab.exporter.rounds.halted is None
    assert sum(counted_runs(lab.exporter.text).values()) == 1


def test_a_key_that_is_refused_stops_everything_until_it_is_another(
    lab: AppLab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "key.pem").write_text(pem(OTHER))
    lab.restart()
    assert lab.exporter.rounds.halted
    assert pem(OTHER).splitlines()[1] not in caplog.text
    (tmp_path / "key.pem").write_text(pem(KEY))
    assert lab.exporter.collector.credentials_changed()


def test_an_installation_that_is_gone_is_asked_for_again_after_a_while(tmp_path: Path) -> None:
    with app_lab(tmp_path, private_key=pem(KEY), installation_id=99) as lab:
        assert lab.exporter.rounds.halted
        assert not lab.exporter.collector.credentials_changed()
        lab.advance(900)
        assert lab.exporter.collector.credentials_changed()


def test_a_key_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no RSA key"), app_lab(tmp_path, private_key="hunter2"):
        pass


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.rsa", None)
    with (
        pytest.raises(ConfigError, match=r"ci-exporter\[github-app\]"),
        app_lab(tmp_path, private_key=pem(KEY)),
    ):
        pass


@pytest.mark.parametrize(
    "given",
    [
        {"app_id": 1},
        {"app_id": 1, "installation_id": 2},
        {"private_key": "x"},
        {"app_id": 1, "installation_id": 2, "private_key": "x", "token": "y"},
    ],
)
def test_half_an_app_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="App"):
        GitHubActions.config_model.model_validate(given)
