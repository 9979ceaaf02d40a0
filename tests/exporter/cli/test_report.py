"""``ci-exporter report``: what the flags tell, and how patiently it is sent."""

from __future__ import annotations

import argparse
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import main
from exporter.cli.parser import build_parser
from exporter.cli.report import report_of
from exporter.cli.sending import Receiver, endpoint, send
from exporter.errors import ConfigError, ExporterError
from tests.support.process import free_port

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TOKEN = "report-token-7Gx1"


class Server(ThreadingHTTPServer):
    """Answers with each of `answers` once, and with the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str]]] = [(202, {})]
        self.got: list[tuple[str, Mapping[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers.items()), json.loads(body)))
        status, headers = self.server.answers[min(len(self.server.got), len(self.server.answers)) - 1]
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


@pytest.fixture
def run(server: Server, token_file: Path) -> Callable[..., int]:
    """Reports to the server, at once or not at all unless told otherwise."""

    def call(*flags: str) -> int:
        usual = ["--server", server.url, "--token-file", str(token_file), "--wait-seconds", "0"]
        return main(["report", *usual, "--project", "acme/p", "--status", "success", *flags])

    return call


def options(*flags: str, status: str = "success") -> argparse.Namespace:
    needed = [
        "report",
        "--server",
        "http://x",
        "--token-file",
        "t",
        "--project",
        "acme/p",
        "--status",
        status,
    ]
    return build_parser().parse_args([*needed, *flags])


# -- what is told ------------------------------------------------------------------------------------


def test_all_flags_are_told() -> None:
    given = options(
        *(
            "--run-id",
            "17",
            "--pipeline",
            "nightly",
            "--ref",
            "v1",
            "--ref-kind",
            "tag",
            "--source",
            "Web Hook",
        ),
        *("--created-at", "2026-03-02T09:00:00+01:00", "--started-at", "1772438430", "--duration", "90.5"),
        *("--finished-at", "2026-03-02T08:02:00Z", "--queue", "30", "--sha", "0ff3ae1", "--user", "ada"),
        *("--url", "https://ci.test/17", "--job", "unit=failed:30", "--job", "a=b=success"),
    )
    assert report_of(given, NOW) == {
        "project": "acme/p",
        "status": "success",
        "run_id": 17,
        "pipeline": "nightly",
        "ref": "v1",
        "ref_kind": "tag",
        "source": "web_hook",
        "created_at": "2026-03-02T09:00:00+01:00",
        "started_at": "2026-03-02T08:00:30+00:00",
        "finished_at": "2026-03-02T08:02:00+00:00",
        "duration_seconds": 90.5,
        "queue_seconds": 30.0,
        "sha": "0ff3ae1",
        "username": "ada",
        "web_url": "https://ci.test/17",
        "jobs": [
            {"name": "unit", "status": "failed", "duration_seconds": 30.0},
            {"name": "a=b", "status": "success"},
        ],
    }


def test_an_empty_value_is_none() -> None:
    given = options(
        "--run-id", "1", "--sha", "", "--url", "", "--ref", "", "--duration", "", "--started-at", ""
    )
    assert report_of(given, NOW) == {"project": "acme/p", "status": "success", "run_id": 1}


def test_a_run_without_a_number_is_told_once_and_whole() -> None:
    one, other = (report_of(options("--duration", "60"), NOW) for _ in range(2))
    assert one.pop("key") != other["key"]
    assert one == {
        "project": "acme/p",
        "status": "success",
        "duration_seconds": 60.0,
        "created_at": "2026-03-02T07:59:00+00:00",
        "finished_at": "2026-03-02T08:00:00+00:00",
    }
    with pytest.raises(ConfigError, match="so that the end of the run can be told later"):
        report_of(options(status="running"), NOW)


def test_a_key_needs_a_time_that_stays() -> None:
    told = report_of(options("--key", "build 7", "--started-at", "1772438430"), NOW)
    assert (told["key"], told["created_at"]) == ("build 7", "2026-03-02T08:00:30+00:00")
    with pytest.raises(ConfigError, match="--created-at or --started-at"):
        report_of(options("--key", "build 7"), NOW)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--duration", "long"], "must be a number of seconds"),
        (["--duration", "-1"], "must be a number of seconds"),
        (["--duration", "nan"], "must be a number of seconds"),
        (["--started-at", "2026-03-02T08:00:00"], "must be a time such as"),
        (["--started-at", "9" * 400], "must be a time such as"),
        (["--run-id", "-1"], "must be a whole number"),
        (["--run-id", "1" * 16], "must be a whole number"),
        (["--run-id", "1", "--key", "a"], "not allowed with"),
        (["--job", "unit"], "must be NAME=STATUS:SECONDS"),
        (["--job", "unit=green"], "must be NAME=STATUS:SECONDS"),
        (["--job", "unit=success:x"], "must be a number of seconds"),
        (["--url", "ci.test"], "must begin with http"),
        (["--sha", "none"], "must be a commit"),
        (["--project", ""], "must not be empty"),
        (["--url", f"https://ci.test/{'a' * 2000}"], "must have at most 2000 characters"),
    ],
)
def test_what_the_server_would_not_understand_is_refused(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        options(*flags)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--started-at", "2016-03-02T08:00:00Z"], "--started-at is years ago"),
        (["--finished-at", "2026-03-03T08:00:01Z"], "--finished-at is years ago or in the future"),
        ([flag for number in range(1001) for flag in ("--job", f"{number}=success")], "at most 1,000 jobs"),
    ],
)
def test_what_the_server_would_acknowledge_and_forget_is_refused(flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        report_of(options("--run-id", "1", *flags), NOW)


def test_a_name_that_is_no_utf_8_spoils_no_report() -> None:
    told = report_of(options("--run-id", "1", "--ref", "f\udcfcr", "--url", "https://ci.test/\udcfc"), NOW)
    assert (told["ref"], told["web_url"]) == ("f\ufffdr", "https://ci.test/\ufffd")


# -- how it is sent ----------------------------------------------------------------------------------


def test_a_report_is_sent_with_the_token(run: Callable[..., int], server: Server) -> None:
    assert run("--run-id", "1") == 0
    ((path, headers, body),) = server.got
    assert path == "/hooks/generic"
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-Type"] == "application/json"
    assert len(headers["Idempotency-Key"]) == 36
    assert body == {"project": "acme/p", "status": "success", "run_id": 1}


def test_the_token_may_come_on_standard_input(
    run: Callable[..., int], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("from-stdin\n"))
    assert run("--run-id", "1", "--token-file", "-") == 0
    assert server.got[0][1]["Authorization"] == "Bearer from-stdin"
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run("--run-id", "1", "--token-file", "-") == 2


def test_what_a_netrc_says_is_not_sent(
    run: Callable[..., int], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert run("--run-id", "1") == 0
    assert server.got[0][1]["Authorization"] == f"Bearer {TOKEN}"


def test_what_may_pass_is_tried_again_with_the_same_key(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [(503, {"Retry-After": "4"}), (429, {}), (500, {}), (202, {})]
    pauses: list[float] = []
    send(Receiver(endpoint(server.url), TOKEN), {}, "one", wait_seconds=600, sleep=pauses.append)
    assert {headers["Idempotency-Key"] for _, headers, _ in server.got} == {"one"}
    assert pauses[0] == 4
    assert 1 <= pauses[1] <= 2
    assert 2 <= pauses[2] <= 4
    assert capsys.readouterr().err.count("trying again in") == 3


def test_a_server_that_does_not_answer_is_asked_again() -> None:
    pauses: list[float] = []
    receiver = Receiver(f"http://127.0.0.1:{free_port()}/hooks/generic", TOKEN)

    def stop(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(receiver, {}, "one", wait_seconds=600, sleep=stop)
    assert 7.5 <= pauses[4] <= 15


def test_it_gives_up_when_the_time_is_over(
    run: Callable[..., int], server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [(503, {})]
    assert run("--run-id", "1") == 1
    assert "not reported within 0 s: 127.0.0.1:" in capsys.readouterr().err
    assert len(server.got) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "the server does not accept the token"),
        (404, "the server accepts no reports"),
        (413, "larger than the server accepts"),
        (301, "is this the address of ci-exporter?"),
        (400, "is this the address of ci-exporter?"),
    ],
)
def test_what_will_not_pass_is_said_at_once(
    run: Callable[..., int], server: Server, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [(status, {"Location": f"{server.url}/other"})]
    assert run("--run-id", "1", "--wait-seconds", "60") == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert TOKEN not in captured.err + captured.out
    assert len(server.got) == 1


def test_an_answer_that_leads_nowhere_is_no_success(run: Callable[..., int], server: Server) -> None:
    server.answers = [(302, {})]
    assert run("--run-id", "1") == 1


@pytest.mark.parametrize(
    "flags",
    [
        ["--token-file", "/nowhere/token"],
        ["--server", "ci.example.com"],
        ["--server", "https://ada:secret@ci.example.com"],
        ["--status", "running"],
        ["--ca-file", "/nowhere/ca.pem", "--server", "https://127.0.0.1:9"],
    ],
)
def test_with_best_effort_a_failure_is_a_warning(
    run: Callable[..., int], flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*flags) in (1, 2)
    assert run(*flags, "--best-effort") == 0
    assert "ci-exporter: warning: " in capsys.readouterr().err


def test_the_whole_address_may_be_given() -> None:
    for given in ("https://ci.test", "https://ci.test/", "https://ci.test/hooks/generic"):
        assert endpoint(given) == "https://ci.test/hooks/generic"
    assert endpoint("https://ci.test/behind/a/proxy") == "https://ci.test/behind/a/proxy/hooks/generic"


def test_an_untrusted_certificate_is_named(run: Callable[..., int], tmp_path: Path) -> None:
    with pytest.raises(ExporterError, match="cannot be asked"):
        send(
            Receiver("https://127.0.0.1:9/hooks/generic", TOKEN, tmp_path / "none.pem"),
            {},
            "one",
            wait_seconds=0,
        )
