"""`ci-exporter notify test` as an operator runs it, against receivers on loopback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.process import ROOT, run_cli, run_here
from tests.support.receivers import Answer, MailServer, Services

Write = Callable[..., str]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Receivers on loopback."""
    with Services(tmp_path) as found:
        yield found


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration with channels; returns its path."""

    def write_(**channels: Any) -> str:
        path = tmp_path / "config.yaml"
        content = {"collectors": {"runner": {}}, "alerts": {"channels": channels}}
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return write_


def test_a_sample_is_sent_at_once(services: Services, write: Write) -> None:
    config = write(team={"url": f"json://{services.address}/hook"}, other={"url": "json://127.0.0.1:1/x"})
    done = run_here("notify", "test", "--channel", "team", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"team: sent in \d+\.\d", done.stdout)
    (request,) = services.requests
    assert request.json["title"].startswith("Test message of ci-exporter on ")
    assert request.json["type"] == "info"


def test_what_went_wrong_is_told_in_a_sentence(services: Services, write: Write) -> None:
    services.answer = lambda _request: Answer(403, b'{"error": "invalid_token 693a91f6-secret"}')
    config = write(team={"url": f"json://{services.address}/hook/693a91f6-secret"})
    done = run_here("notify", "test", "--channel", "team", "--config", config)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ci-exporter: team: JSON answered 403: invalid_token ")
    assert "Traceback" not in done.stderr


def test_all_channels_are_tried_though_one_fails(services: Services, write: Write, tmp_path: Path) -> None:
    with MailServer(tmp_path) as mail:
        config = write(
            dead={"url": "json://127.0.0.1:1/x"},
            mail={"url": f"mailto://127.0.0.1:{mail.port}?from=ci@example.com&to=team@example.com"},
            team={"url": f"json://{services.address}/hook"},
        )
        done = run_cli("notify", "test", "--all", "--config", config)
    assert done.returncode == 1
    assert done.stderr == "ci-exporter: dead: JSON cannot be reached: Connection refused\n"
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["mail", "team"]
    assert [one.recipients for one in mail.mails] == [["team@example.com"]]
    assert len(services.requests) == 1


def test_a_sample_for_the_log_is_a_line_of_it(write: Write) -> None:
    done = run_here("notify", "test", "--channel", "trial", "--config", write(trial={"log": True}))
    assert (done.returncode, done.stdout[:15]) == (0, "trial: sent in ")
    assert json.loads(done.stderr)["title"].startswith("Test message of ci-exporter on ")


def test_an_unknown_channel_is_answered_with_those_there_are(write: Write) -> None:
    config = write(team={"url": "json://127.0.0.1:1/x"}, ops={"url": "json://127.0.0.1:1/x"})
    done = run_here("notify", "test", "--channel", "taem", "--config", config)
    assert done.returncode == 2
    told = "unknown channel; did you mean team? Allowed here: ops, team"
    assert done.stderr == f"ci-exporter: {told}\n"


def test_without_any_channel_it_says_where_to_write_one(write: Write) -> None:
    done = run_here("notify", "test", "--all", "--config", write())
    assert done.returncode == 2
    assert done.stderr == "ci-exporter: no channel is configured: write one under alerts.channels\n"


def test_a_url_that_nobody_understands_is_told_with_its_line_and_without_it(write: Write) -> None:
    config = write(team={"url": "slakc://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"})
    done = run_here("notify", "test", "--channel", "team", "--config", config)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"ci-exporter: {config}:4: alerts.channels.team.url: is no URL that apprise"
    )
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in done.stderr


def test_check_finds_what_no_channel_can_be_made_of(write: Write) -> None:
    config = write(team={"url": "dingtalk://"}, ops={"url": "nothing"}, good={"url": "json://127.0.0.1:1/x"})
    done = run_here("check", "--config", config)
    assert done.returncode == 2
    assert sorted(re.findall(r"alerts\.channels\.\w+\.url", done.stderr)) == [
        "alerts.channels.ops.url",
        "alerts.channels.team.url",
    ]


def test_the_configuration_is_shown_without_the_tokens_in_urls(write: Write) -> None:
    config = write(
        a={"url": "dingtalk://SECabc123def456@0a1b2c3d4e5f"},
        b={"alertmanager": {"url": "http://ci:hunter22@127.0.0.1:9093", "token": "0a1b2c3d"}},
    )
    done = run_here("check", "--config", config)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    assert not [secret for secret in ("SECabc", "0a1b2c3d", "hunter22") if secret in told]


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_without_apprise_it_says_what_to_install(write: Write) -> None:
    config = write(team={"url": "json://127.0.0.1:1/x"})
    arguments = ["notify", "test", "--channel", "team", "--config", config]
    done = _run(
        "import sys; sys.modules['apprise'] = None\n"
        f"from exporter.cli import main; sys.exit(main({arguments!r}))"
    )
    assert done.returncode == 2
    assert 'needs apprise, which is not installed: pip install "ci-exporter[notify]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("channels", "loaded"),
    [
        ({}, False),
        ({"am": {"alertmanager": {"url": "http://127.0.0.1:9093"}}}, False),
        ({"trial": {"log": True}}, False),
        ({"team": {"url": "json://127.0.0.1:1/x"}}, True),
    ],
)
def test_apprise_is_loaded_only_for_a_channel_that_needs_it(
    write: Write, channels: dict[str, Any], loaded: bool
) -> None:
    done = _run(
        "import sys\nfrom pathlib import Path\nimport exporter.app\n"
        "from exporter.sinks.alerts.channels import build_channels\n"
        f"source = exporter.app.ConfigSource(Path({write(**channels)!r}), {{}}, {{}})\n"
        "build_channels(source.load().settings.alerts.channels)\n"
        "print('apprise' in sys.modules)"
    )
    assert done.stdout == f"{loaded}\n", done.stderr
