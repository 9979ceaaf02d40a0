"""The whole way: file, environment and flags become a configuration, or every problem at once."""

import dataclasses
from pathlib import Path

import pytest
from pydantic import ValidationError

from exporter.config.load import load
from exporter.config.schema import Settings
from exporter.errors import ConfigError


def test_nothing_at_all_is_the_defaults(loaded):
    config = loaded(None)
    assert config.settings == Settings()
    assert (config.collectors, config.path) == ({}, None)
    assert config.redacted() == {
        "metrics": {
            "enabled": False,
            "addr": ["127.0.0.1:9101"],
            "health_addr": [],
            "admin_addr": [],
            "api": True,
            "api_addr": [],
            "systemd_socket": False,
            "path": "/metrics",
            "web_config_file": None,
            "probes_without_password": False,
            "lifecycle": False,
            "max_series_per_family": 50000,
        },
        "hooks": {
            "enabled": False,
            "addr": [],
            "max_body_bytes": 26_214_400,
            "max_waiting": 500_000,
            "max_waiting_bytes": 1_073_741_824,
        },
        "log": {"level": "info", "format": "json", "port": None},
        "timezone": "UTC",
        "sinks": {"kafka": None},
        "alerts": None,
        "store": {
            "url": "sqlite:///pipelines.db",
            "url_file": None,
            "retention_days": 400,
            "dead_letter_days": 400,
        },
        "engine": {"capacity": 4, "fetch_timeout_seconds": 30},
        "collectors": {},
    }


@pytest.mark.parametrize(
    "text", ["", "# only this\n", "---\n", "~", "{}", "\ufeff", "metrics:\nlog:\ncollectors:\n"]
)
def test_an_empty_file_and_empty_sections_are_the_defaults(loaded, file, text):
    config = loaded(text)
    assert config.settings == Settings()
    assert config.path == file


def test_a_second_load_of_the_same_is_equal_and_of_a_change_is_not(loaded):
    text = "collectors: {source: {url: 'http://x', token: hunter22}}"
    assert loaded(text) == loaded(text)
    assert loaded(text) != loaded(text + "\nlog: {level: debug}")


def test_a_bad_second_load_leaves_the_first_as_it_was(loaded):
    first = loaded("collectors: {source: {url: 'http://x'}}")
    with pytest.raises(ConfigError):
        loaded("collectors: {source: {url: 5}}")
    assert first.collectors["source"].url == "http://x"


def test_what_is_loaded_is_frozen(loaded):
    config = loaded("collectors: {source: {url: 'http://x'}}")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.path = None
    for part, name in ((config.settings.log, "level"), (config.collectors["source"], "url")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, "x")


def test_every_problem_comes_at_once_in_the_order_of_the_file(problems):
    text = """
metrics:
  adr: 3
  addr: ["a:99999", "b", "1.2.3.4:80"]
  path: x
  enabled: yes
log: {level: loud, format: xml, port: 70000}
timezone: Europe/Pariss
store:
  url: mysql://u:hunter22@h
  retention_days: ${DAYS}
engine: {capacity: 99, fetch_timeout_seconds: .inf}
collectors:
  source:
    token_file: missing
    per_page: 1000
    poll_interval_seconds: 60
    poll_interval_max_seconds: 30
    intervall: 3
    intervall: 4
    groups: [a, {pth: 1}, 5]
  sorce: {}
  my-databases: {team: 5, databases: {a: , b: x}}
kafka: {}
"""
    polled = "poll_interval_seconds, poll_interval_max_seconds, rediscover_interval_seconds, backfill_days"
    addresses = (
        "must be host:port, such as 127.0.0.1:9101, [::1]:9101 or :9101 for every interface,"
        " or unix:/path/to.sock"
    )
    assert problems(text) == [
        ":3: metrics.adr: unknown key; did you mean addr? "
        "Allowed here: enabled, addr, health_addr, admin_addr, api, api_addr, systemd_socket, path, "
        "web_config_file, probes_without_password, lifecycle, max_series_per_family",
        f":4: metrics.addr.0: {addresses} (got 'a:99999')",
        f":4: metrics.addr.1: {addresses} (got 'b')",
        ":5: metrics.path: must begin with / and hold no blank, ? or # (got 'x')",
        ":6: metrics.enabled: yes is ambiguous: write true or false, or put it in quotes if it is text",
        ":7: log.format: must be one of: json, text (got 'xml')",
        ":7: log.level: must be one of: debug, info, warning, error (got 'loud')",
        ":7: log.port: must be at most 65535 (got 70000)",
        ":8: timezone: must be the name of a time zone; did you mean Europe/Paris? (got 'Europe/Pariss')",
        ":10: store.url: must begin with sqlite:/// or postgresql://",
        ":11: store.retention_days: the environment variable DAYS is not set; "
        "${DAYS:-default} would allow that",
        ":12: engine.capacity: must be at most 64 (got 99)",
        ":12: engine.fetch_timeout_seconds: must be a number (got '.inf')",
        ":14: collectors.source.url: is required "
        "(or set CI_EXPORTER__COLLECTORS__SOURCE__URL in the environment)",
        ":15: collectors.source.token_file: the file does not exist",
        ":16: collectors.source.per_page: must be at most 100",
        ":18: collectors.source.poll_interval_max_seconds: "
        "must be at least poll_interval_seconds, which is 60",
        f":19: collectors.source.intervall: unknown key. "
        f"Allowed here: enabled, {polled}, url, token, token_file, projects, groups, per_page",
        ":20: collectors.source.intervall: duplicate key, already set on line 19",
        ":21: collectors.source.groups.1.path: is required",
        ":21: collectors.source.groups.1.pth: unknown key; did you mean path? Allowed here: path, exclude",
        ":21: collectors.source.groups.2: must be a mapping (key: value) or text",
        ":22: collectors.sorce: unknown collector; did you mean source? Allowed here: source, my-databases",
        ":23: collectors.my-databases.databases.a.dsn: is required "
        "(or set CI_EXPORTER__COLLECTORS__MY_DATABASES__DATABASES__A__DSN in the environment)",
        ":23: collectors.my-databases.databases.b: must be a mapping (key: value)",
        ":23: collectors.my-databases.team: must be text: put it in quotes (got 5)",
        ":24: kafka: unknown key. "
        "Allowed here: metrics, hooks, log, timezone, store, engine, sinks, alerts, collectors",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a: 1\nb: \xff\n", [":2: the file is not UTF-8 text"]),
        ("a: 1".encode("utf-16"), [":1: the file is not UTF-8 text"]),
        (b"- a\n", [":1: the file must be a mapping (key: value) at its top"]),
        (b"text", [":1: the file must be a mapping (key: value) at its top"]),
        (b"log:\n\tlevel: info", [":2: not valid YAML: a tab is not allowed in the indentation; use spaces"]),
        (b"#" * (4 * 1024 * 1024 + 1), [": the file is larger than 4194304 bytes"]),
        (b"collectors: [a]", [":1: collectors: must be a mapping (key: value)"]),
        (b"log: 5", [":1: log: must be a mapping (key: value) (got 5)"]),
    ],
)  # fmt: skip
def test_a_file_that_says_nothing_is_refused(problems, text, expected):
    env = {"CI_EXPORTER__LOG__LEVEL": "debug", "SOURCE_URL": "http://x"} if b"log" not in text else {}
    assert problems(text, env) == expected


def test_a_path_that_is_no_readable_file_is_refused(models, tmp_path):
    def said(path):
        with pytest.raises(ConfigError) as caught:
            load(path, models=models, env={})
        return str(caught.value)

    assert said(tmp_path / "none.yml") == f"{tmp_path / 'none.yml'}: the file does not exist"
    assert said(tmp_path) == f"{tmp_path}: this is a directory, not a file"


def test_a_forbidden_file_is_refused(models, file, monkeypatch):
    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match="the file may not be read: permission denied"):
        load(file, models=models, env={})


def test_references_take_the_type_of_their_key(loaded):
    config = loaded(
        "metrics: {enabled: '${ON}', addr: '${A}:${P}', web_config_file: '${NONE:-}'}\n"
        "engine: {capacity: '${N}', fetch_timeout_seconds: '${F:-2.5}'}\nlog: {port: '${NONE:-}'}\n",
        {"ON": "true", "A": "0.0.0.0", "P": "80", "N": "7"},
    ).settings
    assert (config.metrics.enabled, config.metrics.addr) == (True, ("0.0.0.0:80",))
    assert (config.engine.capacity, config.engine.fetch_timeout_seconds) == (7, 2.5)
    assert (config.metrics.web_config_file, config.log.port) == (None, None)


def test_a_reference_of_the_wrong_type_is_told_where_it_stands(problems):
    assert problems("engine:\n  capacity: ${N}\n", {"N": "many"}) == [
        ":2: engine.capacity: must be a whole number (got 'many')"
    ]


def test_a_disabled_collector_is_left_out_and_may_lack_what_it_needs(loaded):
    text = "collectors: {source: {enabled: false, token: '${NOPE}', token_file: none}, my-databases: }"
    assert list(loaded(text).collectors) == ["my-databases"]
    assert loaded("collectors: {source: {enabled: '${ON:-false}'}}").collectors == {}


def test_what_is_written_wrong_in_a_disabled_collector_is_told_all_the_same(problems):
    block = "    enabled: false\n    per_page: 0\n    projets: []\n"
    text = f"collectors:\n  source:\n{block}  x: {{enabled: false}}\n"
    first, second, third = problems(text)
    assert first == ":4: collectors.source.per_page: must be at least 1"
    assert second.startswith(":5: collectors.source.projets: unknown key; did you mean projects?")
    assert third.startswith(":6: collectors.x: unknown collector.")


def test_collectors_keep_the_order_of_the_file(loaded):
    text = "collectors: {my-databases: {}, source: {url: 'http://x'}}"
    assert list(loaded(text).collectors) == ["my-databases", "source"]


def test_paths_are_relative_to_who_names_them(loaded, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    database = "{a: {dsn: 'postgresql://h', files: [q/*.yml, /x]}}"
    text = f"metrics: {{web_config_file: web.yml}}\ncollectors: {{my-databases: {{databases: {database}}}}}"
    config = loaded(text)
    assert config.settings.metrics.web_config_file == tmp_path / "web.yml"
    assert config.collectors["my-databases"].databases["a"].files == [tmp_path / "q/*.yml", Path("/x")]
    flagged = loaded(text, {}, metrics__web_config_file=Path("web.yml"))
    assert flagged.settings.metrics.web_config_file == elsewhere / "web.yml"
    named = loaded(text, {"CI_EXPORTER__METRICS__WEB_CONFIG_FILE": "web.yml"})
    assert named.settings.metrics.web_config_file == elsewhere / "web.yml"


def test_flags_override_and_those_not_given_do_not(loaded):
    metrics = loaded(
        "metrics: {path: /a}", None, metrics__addr=(":1", ":2"), metrics__path=None
    ).settings.metrics
    assert (metrics.addr, metrics.path) == ((":1", ":2"), "/a")


def test_a_wrong_flag_is_told_as_such(problems):
    assert problems("log: {level: debug}", None, log__level="loud", metrics__addr=["x"]) == [
        "command line: log.level: must be one of: debug, info, warning, error (got 'loud')",
        "command line: metrics.addr.0: must be host:port, such as 127.0.0.1:9101, [::1]:9101 or :9101 "
        "for every interface, or unix:/path/to.sock (got 'x')",
    ]


def test_a_longer_interval_may_outgrow_the_default_maximum(loaded):
    config = loaded("collectors: {source: {url: 'http://x', poll_interval_seconds: 600}}")
    assert config.collectors["source"].poll_interval_seconds == 600


def test_what_a_whole_block_gets_wrong_is_told_at_its_line(problems):
    assert problems("collectors:\n\n  source: {url: ftp}") == [
        ":3: collectors.source: url must begin with http"
    ]
