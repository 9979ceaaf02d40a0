"""What may be written: addresses, time zones, levels; and the list of all keys."""

from datetime import UTC

import pytest
from pydantic import ValidationError

from exporter.config.describe import Described, describe_schema
from exporter.config.schema import LogSettings, MetricsSettings, Settings


@pytest.mark.parametrize(
    "addr",
    [
        "127.0.0.1:9101",
        "[::1]:0",
        ":9101",
        "host-1.example.com:80",
        "[fe80::1%eth0]:1",
        "unix:/run/a.sock",
        "unix:///run/a.sock",
    ],
)
def test_good_addresses(addr):
    metrics = MetricsSettings(addr=addr, health_addr=addr, admin_addr=[addr, ":1"])
    assert (metrics.addr, metrics.health_addr, metrics.admin_addr) == ((addr,), (addr,), (addr, ":1"))


@pytest.mark.parametrize("key", ["addr", "health_addr", "admin_addr", "api_addr"])
def test_bad_addresses(key):
    # All of them are in test_address.py: what may be written is decided there.
    with pytest.raises(ValidationError, match="must be host:port"):
        MetricsSettings(**{key: "9101"})


def test_metrics_need_an_address():
    with pytest.raises(ValidationError):
        MetricsSettings(addr=[])


@pytest.mark.parametrize("path", ["", "metrics", "/a b", "/a?b", "/a#b", "/a\n"])
def test_bad_paths(path):
    with pytest.raises(ValidationError):
        MetricsSettings(path=path)


@pytest.mark.parametrize(
    ("level", "meant"), [("warn", "warning"), ("WARNING", "warning"), ("Debug", "debug")]
)
def test_levels_are_read_as_people_write_them(level, meant):
    assert LogSettings(level=level).level == meant


@pytest.mark.parametrize("zone", ["Nowhere/Land", "", "../etc/passwd", "/etc/passwd", "Europe", "a\0b"])
def test_bad_time_zones(zone):
    with pytest.raises(ValidationError, match="must be the name of a time zone"):
        Settings(timezone=zone)


def test_the_time_zone_itself():
    assert Settings().zone is UTC
    assert str(Settings(timezone="Europe/Paris").zone) == "Europe/Paris"


def test_every_key_is_described(models):
    keys = {described.key: described for described in describe_schema(models)}
    assert list(keys)[:12] == [
        "metrics.enabled",
        "metrics.addr",
        "metrics.health_addr",
        "metrics.admin_addr",
        "metrics.api",
        "metrics.api_addr",
        "metrics.systemd_socket",
        "metrics.path",
        "metrics.web_config_file",
        "metrics.probes_without_password",
        "metrics.lifecycle",
        "metrics.max_series_per_family",
    ]
    assert [key for key, described in keys.items() if not described.description] == []
    assert keys["log.level"] == Described(
        "log.level", "one of debug, info, warning, error", "info", "the least level that is logged", False
    )
    assert keys["store.url"].default == "sqlite:///pipelines.db"
    assert keys["log.port"].type == "whole number or null"
    assert keys["collectors.source.url"].required
    assert keys["collectors.source.token"].type == "secret or null"
    assert keys["collectors.source.groups"].type == "list of mapping or text"
    assert keys["collectors.source.groups[].path"].required
    assert keys["collectors.my-databases.databases.<name>.dsn_file"].type == "path or null"


def test_without_collectors_the_shared_keys_are_described():
    assert not [described for described in describe_schema() if described.key.startswith("collectors")]


def test_hooks_need_the_server_and_may_have_addresses_of_their_own():
    metrics = {"enabled": True}
    settings = Settings.model_validate({"metrics": metrics, "hooks": {"enabled": True, "addr": ":9105"}})
    assert settings.hooks.addr == (":9105",)
    assert not Settings().hooks.enabled
    with pytest.raises(ValidationError, match="enabled needs the HTTP server"):
        Settings.model_validate({"hooks": {"enabled": True}})
    with pytest.raises(ValidationError, match="must be host:port"):
        Settings.model_validate({"metrics": metrics, "hooks": {"addr": "9105"}})


def test_the_largest_hook_fits_into_the_queue():
    def checked(**hooks: object) -> Settings:
        return Settings.model_validate({"metrics": {"enabled": True}, "hooks": hooks})

    with pytest.raises(ValidationError, match="max_waiting_bytes must be at least 10192 "):
        checked(enabled=True, max_body_bytes=2000, max_waiting_bytes=10191)
    assert checked(enabled=True, max_body_bytes=2000, max_waiting_bytes=10192)
    # Nobody is troubled with what is switched off.
    assert checked(max_body_bytes=2000, max_waiting_bytes=2000)
