"""What may be written in the configuration file, apart from the collectors' own blocks."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, create_model, field_validator, model_validator

from exporter.config.address import Addresses
from exporter.config.alerts import AlertsSettings
from exporter.config.hooks import HooksSettings
from exporter.config.secrets import SecretUrl
from exporter.config.section import Section
from exporter.config.sinks import SinksSettings
from exporter.contract import CollectorConfig

LogLevel = Literal["debug", "info", "warning", "error"]
_STORES = ("sqlite://", "postgresql://", "postgres://", "postgresql+psycopg://")


def _level(value: Any) -> Any:
    word = value.strip().lower() if isinstance(value, str) else value
    return "warning" if word == "warn" else word


def _store_url(value: SecretUrl) -> SecretUrl:
    if not value.get_secret_value().startswith(_STORES):
        raise ValueError("must begin with sqlite:/// or postgresql://")
    return value


class MetricsSettings(Section):
    """The HTTP server."""

    enabled: bool = Field(default=False, description="whether to listen at all")
    addr: Addresses = Field(
        default=("127.0.0.1:9101",),
        min_length=1,
        description="host:port or unix:/path to listen on, or a list of them; put a proxy or web_config_file "
        "in front before binding wider than loopback",
    )
    health_addr: Addresses = Field(
        default=(),
        description="one address or a list that answers /healthz, /-/healthy and /-/ready alone, without the "
        "TLS and passwords of web_config_file",
    )
    admin_addr: Addresses = Field(
        default=(),
        description="one address or a list that answers /-/config, /-/reload and /log_level in place of addr",
    )
    api: bool = Field(
        default=True, description="whether /api/… and the page /status answer questions about runs"
    )
    api_addr: Addresses = Field(
        default=(),
        description="one address or a list that answers /api/… and /status in place of addr",
    )
    systemd_socket: bool = Field(
        default=False,
        description="whether to serve on the sockets of a systemd socket unit in place of addr",
    )
    path: str = Field(default="/metrics", description="path of the exposition")
    web_config_file: Path | None = Field(
        default=None, description="Prometheus web configuration file: TLS, basic auth, headers"
    )
    probes_without_password: bool = Field(
        default=False,
        description="whether /healthz, /-/healthy and /-/ready need no password, and have no rate limit",
    )
    lifecycle: bool = Field(
        default=False,
        description="whether POST /-/reload and PUT /log_level are answered, there or on admin_addr",
    )
    max_series_per_family: int = Field(
        default=50000, ge=1, description="series above this are dropped and counted, per family"
    )

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if not re.fullmatch(r"/[^\s?#]*", value):
            raise ValueError("must begin with / and hold no blank, ? or #")
        return value


class LogSettings(Section):
    """The program's own log, on standard error."""

    level: Annotated[LogLevel, BeforeValidator(_level)] = Field(
        default="info", description="the least level that is logged"
    )
    format: Literal["json", "text"] = Field(
        default="json", description="json: one object a line; text: for people"
    )
    port: int | None = Field(
        default=None, ge=1, le=65535, description="port on loopback that answers PUT /log_level alone"
    )


class StoreSettings(Section):
    """Where runs, totals and cursors are kept."""

    url: SecretUrl = Field(
        default=SecretUrl("sqlite:///pipelines.db"),
        description="sqlite:///file, or postgresql://… which several replicas may share",
    )
    url_file: Path | None = Field(default=None, description="file that holds the url")
    retention_days: int = Field(
        default=400, ge=1, description="days to keep finished runs; pruning lowers no counter"
    )
    dead_letter_days: int = Field(
        default=400, ge=1, description="days to keep events that a sink could never deliver"
    )

    _known = field_validator("url")(_store_url)


class EngineSettings(Section):
    """The engine that runs the polls."""

    capacity: int = Field(
        default=4, ge=1, le=64, description="how many polls of one collector may run at once"
    )
    fetch_timeout_seconds: float = Field(
        default=30, gt=0, le=3600, description="how long one call to a source may take"
    )


class Settings(Section):
    """Everything that may be written, apart from ``collectors``."""

    metrics: MetricsSettings = Field(default=MetricsSettings(), description="the HTTP server")
    hooks: HooksSettings = Field(
        default=HooksSettings(), description="what sources push to us, so that polls need not find it"
    )
    log: LogSettings = Field(default=LogSettings(), description="the program's own log")
    timezone: str = Field(
        default="UTC",
        description='what "today" means in SQL queries and daily statistics, such as Europe/Paris',
    )
    store: StoreSettings = Field(default=StoreSettings(), description="where runs and totals are kept")
    engine: EngineSettings = Field(default=EngineSettings(), description="the engine that runs the polls")
    sinks: SinksSettings = Field(default=SinksSettings(), description="where events go")
    alerts: AlertsSettings | None = Field(default=None, description="when people are told, and how")

    @property
    def zone(self) -> tzinfo:
        """The time zone itself; UTC needs no time zone database on the machine."""
        return UTC if self.timezone == "UTC" else zoneinfo.ZoneInfo(self.timezone)

    @model_validator(mode="after")
    def _hooks_have_a_server(self) -> Self:
        if self.hooks.enabled and not self.metrics.enabled:
            raise ValueError("hooks.enabled needs the HTTP server: set metrics.enabled: true")
        return self

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        if value == "UTC":
            return value
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            close = difflib.get_close_matches(value, zoneinfo.available_timezones(), n=1)
            hint = f"; did you mean {close[0]}?" if close else ", such as UTC or Europe/Paris"
            raise ValueError(f"must be the name of a time zone{hint}") from None
        return value


def root_model(models: Mapping[str, type[CollectorConfig]]) -> type[Settings]:
    """The model of a whole file: :class:`Settings` plus ``collectors`` with one optional block for each."""
    # Python names of the fields are made up, so that a collector may be called "copy" or "my-source".
    blocks: dict[str, Any] = {
        f"block_{index}": (model, Field(default=None, alias=name, description=f"the {name} collector"))
        for index, (name, model) in enumerate(models.items())
    }
    collectors: Any = create_model("Collectors", __base__=Section, **blocks)
    section = (collectors, Field(default=collectors(), description="one block for each source"))
    root: type[Settings] = create_model("Root", __base__=Settings, collectors=section)
    return root
