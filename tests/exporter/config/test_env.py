"""The environment: systematic names, names of replaced systems, and who wins over whom."""

from typing import ClassVar

import pytest

from exporter.config.env import EnvName
from exporter.config.load import load
from exporter.contract import CollectorConfig

URL = "CI_EXPORTER__COLLECTORS__SOURCE__URL"
TOKEN = "CI_EXPORTER__COLLECTORS__SOURCE__TOKEN"
SOURCE = "collectors: {source: {url: 'http://file'}}\n"


def test_every_key_has_a_systematic_name(loaded):
    config = loaded(
        None,
        {
            URL: "http://x",
            "ci_exporter__collectors__source__projects": "[a/b, 'c']",
            "CI_EXPORTER__COLLECTORS__SOURCE__GROUPS": "[{path: x, exclude: ['*']}, y]",
            "CI_EXPORTER__COLLECTORS__SOURCE__BACKFILL_DAYS": "7",
            "CI_EXPORTER__METRICS__ENABLED": "true",
            "CI_EXPORTER__ENGINE__FETCH_TIMEOUT_SECONDS": "1.5",
            "CI_EXPORTER__TIMEZONE": "Europe/Paris",
            "CI_EXPORTER__COLLECTORS__MY_DATABASES__DATABASES__MAIN__DSN": "postgresql://h/d",
        },
    )
    source = config.collectors["source"]
    assert (source.url, source.projects, source.backfill_days) == ("http://x", ["a/b", "c"], 7)
    assert [getattr(group, "path", group) for group in source.groups] == ["x", "y"]
    assert config.settings.metrics.enabled is True
    assert config.settings.engine.fetch_timeout_seconds == 1.5
    assert config.settings.timezone == "Europe/Paris"
    assert list(config.collectors["my-databases"].databases) == ["main"]


@pytest.mark.parametrize(
    "token", ["12345678", "0123", "yes", "1e5", "*a", "@b", "{c}", "[d]", "a: b", "${X}", "$$"]
)
def test_a_token_arrives_as_it_is(loaded, token):
    assert loaded(SOURCE, {TOKEN: token}).collectors["source"].token.get_secret_value() == token
    assert loaded(SOURCE, {"SOURCE_TOKEN": token}).collectors["source"].token.get_secret_value() == token


def test_an_address_in_brackets_is_no_list(loaded):
    assert loaded(None, {"CI_EXPORTER__METRICS__ADDR": "[::1]:9101"}).settings.metrics.addr == ("[::1]:9101",)
    both = loaded(None, {"CI_EXPORTER__METRICS__ADDR": "['[::1]:9101', ':80']"})
    assert both.settings.metrics.addr == ("[::1]:9101", ":80")


def test_null_unsets_what_the_file_says(loaded):
    assert loaded("log: {port: 1}", {"CI_EXPORTER__LOG__PORT": "null"}).settings.log.port is None


def test_empty_variables_count_as_unset(loaded):
    config = loaded(
        "log: {port: 1}", {"CI_EXPORTER__LOG__PORT": " ", "METRICS_PORT": "", "CI_EXPORTER__X": ""}
    )
    assert (config.settings.log.port, config.settings.metrics.enabled) == (1, False)


def test_a_free_name_in_the_file_is_met_whatever_its_letters(loaded):
    text = "collectors: {my-databases: {databases: {Main-DB: {dsn: 'postgresql://a'}}}}"
    env = {"CI_EXPORTER__COLLECTORS__MY_DATABASES__DATABASES__MAIN_DB__DSN": "postgresql://b"}
    databases = loaded(text, env).collectors["my-databases"].databases
    assert {name: found.dsn.get_secret_value() for name, found in databases.items()} == {
        "Main-DB": "postgresql://b"
    }


def test_the_more_exact_name_wins_over_its_section(loaded):
    env = {"CI_EXPORTER__LOG": "{level: error, port: 1}", "CI_EXPORTER__LOG__LEVEL": "debug"}
    log = loaded(None, env).settings.log
    assert (log.level, log.port) == ("debug", 1)


def test_unknown_names_are_problems(problems):
    assert problems(
        None,
        {
            "CI_EXPORTER__METRICS__ADR": "hunter22",
            "CI_EXPORTER__LOG__LEVEL__X": "1",
            "CI_EXPORTER__": "1",
            "CI_EXPORTER__COLLECTORS__SORCE__URL": "1",
            "CI_EXPORTER_CONFIG": "not ours",
        },
    ) == [
        "environment: CI_EXPORTER__: unknown setting. "
        "Allowed here: METRICS, HOOKS, LOG, TIMEZONE, STORE, ENGINE, SINKS, ALERTS, COLLECTORS",
        "environment: CI_EXPORTER__COLLECTORS__SORCE__URL: unknown setting; did you mean SOURCE? "
        "Allowed here: SOURCE, MY_DATABASES",
        "environment: CI_EXPORTER__LOG__LEVEL__X: unknown setting: nothing stands below log.level",
        "environment: CI_EXPORTER__METRICS__ADR: unknown setting; did you mean ADDR? "
        "Allowed here: ENABLED, ADDR, HEALTH_ADDR, ADMIN_ADDR, API, API_ADDR, SYSTEMD_SOCKET, PATH, "
        "WEB_CONFIG_FILE, PROBES_WITHOUT_PASSWORD, LIFECYCLE, MAX_SERIES_PER_FAMILY",
    ]


def test_wrong_values_are_told_by_the_name_of_the_variable(problems):
    assert problems(
        None,
        {
            "CI_EXPORTER__LOG__LEVEL": "loud",
            "CI_EXPORTER__METRICS__ENABLED": "maybe",
            URL: "http://x",
            "CI_EXPORTER__COLLECTORS__SOURCE__PROJECTS": "a/b",
            "CI_EXPORTER__COLLECTORS__SOURCE__GROUPS": "[a, 1, no]",
            "LOG_PORT": "http",
            "METRICS_PORT": "99999",
        },
    ) == [
        "environment: LOG_PORT: must be a whole number (got 'http')",
        "environment: METRICS_PORT: must be a port from 0 to 65535",
        "environment: CI_EXPORTER__COLLECTORS__SOURCE__GROUPS.1: must be a mapping (key: value) or text",
        "environment: CI_EXPORTER__COLLECTORS__SOURCE__GROUPS.2: no is ambiguous: "
        "write true or false, or put it in quotes if it is text",
        "environment: CI_EXPORTER__COLLECTORS__SOURCE__PROJECTS: must be a list, such as [a, b]",
        "environment: CI_EXPORTER__LOG__LEVEL: must be one of: debug, info, warning, error (got 'loud')",
        "environment: CI_EXPORTER__METRICS__ENABLED: must be true or false (got 'maybe')",
    ]


def test_two_spellings_of_one_name_are_a_problem(problems):
    assert problems(None, {"CI_EXPORTER__LOG__LEVEL": "info", "ci_exporter__log__level": "info"}) == [
        "environment: ci_exporter__log__level: sets the same key as CI_EXPORTER__LOG__LEVEL: keep one of them"
    ]


def test_the_names_of_replaced_systems_work(loaded):
    config = loaded(
        None,
        {
            "METRICS_PORT": "9000",
            "METRICS_URL": "metrics",
            "LOG_LEVEL": "WARN",
            "LOG_PORT": "8002",
            "SOURCE_URL": "http://x/api/v4",
            "SOURCE_TOKEN": "top-secret",
            "SOURCE_PER_PAGE": "10",
            "SCHEDULING_POLL_INTERVAL": "600",
            "DATABASE_URL": "postgresql://u:p@h/d",
            "KAFKA_TOPIC": "x",
            "REDIS_ADDRESS": "y",
            "CACHE_TTL": "z",
        },
    )
    metrics, log = config.settings.metrics, config.settings.log
    assert (metrics.enabled, metrics.addr, metrics.path) == (True, ("127.0.0.1:9000",), "/metrics")
    assert (log.level, log.port) == ("warning", 8002)
    source = config.collectors["source"]
    assert (source.url, source.per_page, source.poll_interval_seconds) == ("http://x/api/v4", 10, 600)
    assert source.token.get_secret_value() == "top-secret"
    assert list(config.collectors["my-databases"].databases) == ["main"]


def test_the_variables_of_redis_count_where_a_sink_asks_it(loaded):
    ours = {"REDIS_ADDRESS": "redis:6379", "REDIS_PASSWORD": "hidden", "CACHE_TTL": "90"}
    assert loaded(None, ours).settings.sinks.kafka is None
    kafka = {"KAFKA_BOOTSTRAP_SERVERS": "a:9092", "KAFKA_TOPIC": "data-bus"}
    redis = loaded(None, kafka | ours).settings.sinks.kafka.redis
    assert (redis.address, redis.password.get_secret_value(), redis.ttl_minutes) == (
        "redis:6379",
        "hidden",
        90,
    )
    del ours["REDIS_ADDRESS"]
    assert loaded(None, kafka | ours).settings.sinks.kafka.redis is None
    file = "sinks: {kafka: {bootstrap_servers: c, topic: d, redis: {address: e}}}"
    assert loaded(file, ours).settings.sinks.kafka.redis.ttl_minutes == 90


def test_the_variables_of_the_broker_make_a_sink_together_and_not_alone(loaded):
    both = {"KAFKA_BOOTSTRAP_SERVERS": "a:9092,b:9092", "KAFKA_TOPIC": "data-bus"}
    kafka = loaded(None, both).settings.sinks.kafka
    assert (kafka.bootstrap_servers, kafka.topic) == ("a:9092,b:9092", "data-bus")
    for name in both:
        assert loaded(None, {name: both[name]}).settings.sinks.kafka is None
    file = "sinks: {kafka: {bootstrap_servers: c, topic: d}}"
    assert loaded(file, {"KAFKA_TOPIC": "data-bus"}).settings.sinks.kafka.topic == "data-bus"


def test_the_variables_of_the_login_belong_to_that_sink(loaded):
    login = {"KAFKA_LOGIN": "exporter", "KAFKA_PASSWORD": "top-secret"}
    assert loaded(None, login).settings.sinks.kafka is None
    kafka = loaded(
        None, login | {"KAFKA_BOOTSTRAP_SERVERS": "a:9092", "KAFKA_TOPIC": "t"}
    ).settings.sinks.kafka
    assert (kafka.login, kafka.password.get_secret_value()) == ("exporter", "top-secret")
    assert kafka.sasl_mechanism == "PLAIN"


@pytest.mark.parametrize(("word", "level"), [("trace", "debug"), ("FATAL", "error"), ("panic", "error")])
def test_level_words_of_other_logging_libraries_work_in_the_old_variable(loaded, word, level):
    assert loaded(None, {"LOG_LEVEL": word}).settings.log.level == level


def test_only_a_connection_variable_makes_a_block(loaded):
    assert (
        loaded(None, {"SOURCE_TOKEN": "x", "SOURCE_PER_PAGE": "nonsense", "SOURCE_URL": " "}).collectors == {}
    )
    assert list(loaded(None, {"SOURCE_URL": "http://x"}).collectors) == ["source"]


def test_variables_that_make_a_block_together_make_none_alone():
    class Pair(CollectorConfig):
        env_enables: ClassVar = frozenset({("PAIR_URL", "PAIR_TOPIC")})

    env = {"PAIR_URL": "http://x", "PAIR_TOPIC": "y"}
    assert list(load(None, models={"pair": Pair}, env=env).collectors) == ["pair"]
    for name in env:
        assert load(None, models={"pair": Pair}, env={**env, name: " "}).collectors == {}


def test_a_connection_variable_does_not_switch_on_what_the_file_switched_off(loaded):
    assert loaded("collectors: {source: {enabled: false}}", {"SOURCE_URL": "http://x"}).collectors == {}


def test_a_variable_for_a_single_database_adds_none_to_those_in_the_file(loaded):
    text = "collectors: {my-databases: {databases: {prod: {dsn: '${DATABASE_URL}'}}}}"
    databases = loaded(text, {"DATABASE_URL": "postgresql://h"}).collectors["my-databases"].databases
    assert list(databases) == ["prod"]


def test_what_a_block_made_by_a_variable_lacks_is_told_by_key(problems):
    assert problems(None, {TOKEN: "hunter22"}) == [
        "collectors.source.url: is required (or set CI_EXPORTER__COLLECTORS__SOURCE__URL in the environment)"
    ]


LEVELS = {
    "default": ("info", {}, {}, ""),
    "file": ("debug", {}, {}, "log: {level: debug}"),
    "legacy": ("warning", {"LOG_LEVEL": "warn"}, {}, ""),
    "systematic": ("error", {"CI_EXPORTER__LOG__LEVEL": "error"}, {}, ""),
    "flag": ("info", {}, {"log__level": "info"}, ""),
}


@pytest.mark.parametrize(
    ("low", "high"),
    [(low, high) for index, low in enumerate(LEVELS) for high in list(LEVELS)[index + 1 :]],
)
def test_precedence_of_each_pair(loaded, low, high):
    expected, env, flags, text = LEVELS[high]
    _, low_env, _, low_text = LEVELS[low]
    assert loaded(text + low_text, low_env | env, **flags).settings.log.level == expected


@pytest.mark.parametrize(
    ("text", "env", "flags", "token"),
    [
        ("token_file: f", {}, {}, "from-file"),
        ("token_file: f", {"SOURCE_TOKEN": "legacy"}, {}, "legacy"),
        ("token_file: f", {TOKEN: "systematic"}, {}, "systematic"),
        ("token: plain", {f"{TOKEN}_FILE": "f"}, {}, "from-file"),
        ("", {"SOURCE_TOKEN": "legacy", f"{TOKEN}_FILE": "f"}, {}, "from-file"),
        ("token: plain", {TOKEN: "systematic"}, {"collectors__source__token_file": "f"}, "from-file"),
    ],
)
def test_a_secret_of_a_higher_layer_displaces_the_file_of_a_lower_one(
    loaded, tmp_path, monkeypatch, text, env, flags, token
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_text("from-file")
    config = loaded(f"collectors:\n  source:\n    url: http://x\n    {text}\n", env, **flags)
    assert config.collectors["source"].token.get_secret_value() == token
    assert (config.collectors["source"].token_file is None) == (token != "from-file")


def test_a_secret_and_its_file_in_one_layer_exclude_each_other(problems):
    assert problems(SOURCE, {TOKEN: "hunter22", f"{TOKEN}_FILE": "f"}) == [
        f"environment: {TOKEN}_FILE: token and token_file are both set: keep one of them"
    ]


def test_a_table_of_old_names_may_be_given(file, models):
    table = (EnvName("OLD_CAPACITY", "engine.capacity"), EnvName("OLD_ZONE", "timezone", str.strip))
    env = {"OLD_CAPACITY": "9", "OLD_ZONE": " UTC ", "LOG_LEVEL": "nonsense"}
    config = load(None, models=models, env=env, legacy=table)
    assert (config.settings.engine.capacity, config.settings.timezone) == (9, "UTC")
