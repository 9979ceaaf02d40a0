"""The token, and what happens when it is exchanged while the exporter runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.errors import ConfigError
from tests.support.harness import Lab


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("standin-token\n")
    return file


def test_a_token_from_a_file_alone(lab_of: Callable[..., Lab], token_file: Path) -> None:
    lab = lab_of(token=None, token_file=token_file)
    assert len(lab.exporter.rounds.states()) == 1
    assert lab.exporter.rounds.halted is None


def test_a_rotated_token_is_taken_from_its_file(lab_of: Callable[..., Lab], token_file: Path) -> None:
    lab = lab_of(token_file=token_file)
    lab.act("set_token", token="rotated")
    token_file.write_text("rotated\n")
    lab.pipeline()
    lab.run(60, 30)
    lab.exporter.discover()
    assert lab.exporter.rounds.halted is None
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 1


def test_polling_goes_on_when_the_file_follows_later(lab_of: Callable[..., Lab], token_file: Path) -> None:
    lab = lab_of(token_file=token_file)
    lab.act("set_token", token="rotated")
    lab.exporter.poll()
    assert lab.exporter.rounds.halted
    lab.calls()
    for text in ("standin-token\n", "\n", ""):
        token_file.write_text(text)
        assert not lab.exporter.rounds.resume()
    assert sum(lab.calls().values()) == 0
    token_file.write_text("rotated")
    assert lab.exporter.rounds.resume()
    lab.pipeline()
    lab.run(60, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 1


def test_a_late_refusal_of_the_old_token_does_not_spoil_the_new_one(
    lab_of: Callable[..., Lab], token_file: Path
) -> None:
    lab = lab_of(token_file=token_file)
    client = lab.exporter.collector._client
    token_file.write_text("rotated")
    assert client._api.credentials.refuse(
        "standin-token"
    )  # one thread was refused, and took the new token over
    assert client._api.credentials.refuse("standin-token")  # another one had asked with the old token, too
    assert client.credentials_changed()


def test_a_new_token_that_is_refused_as_well_is_tried_once(
    lab_of: Callable[..., Lab], token_file: Path
) -> None:
    lab = lab_of(token_file=token_file)
    lab.act("set_token", token="another")
    token_file.write_text("wrong")
    lab.calls()
    lab.exporter.poll()
    assert sum(lab.calls().values()) == 2
    assert lab.exporter.rounds.halted
    assert not lab.exporter.rounds.resume()


def test_an_authority_that_is_no_file_is_a_mistake_of_the_configuration(lab_of: Callable[..., Lab]) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        lab_of(ca_file="/nowhere/ca.pem")
