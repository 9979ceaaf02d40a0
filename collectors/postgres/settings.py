"""What may stand under ``collectors.postgres``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from collectors.postgres.overlay import Duration, Overlay
from exporter.config.secrets import SecretUrl
from exporter.contract import CollectorConfig

MOST_CONNECTIONS = 10
"""Per database, unless the configuration says otherwise: more would be a burden on many servers."""
SHIPPED = Path("queries/*.collector.yml")


class Tls(BaseModel):
    """How to check the server, and what to show it; what is left out is as the DSN says."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = Field(
        default=None, description="libpq's sslmode"
    )
    ca_file: Path | None = Field(default=None, description="PEM file of the authorities to trust")
    cert_file: Path | None = Field(default=None, description="PEM file of our own certificate")
    key_file: Path | None = Field(default=None, description="PEM file of its key, mode 0600")


class DatabaseSettings(BaseModel):
    """One database and the files it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    dsn: SecretUrl | None = Field(default=None, description="postgresql://user:password@host:5432/database")
    dsn_file: Path | None = Field(default=None, description="instead of dsn: a file that holds it")
    files: tuple[Path, ...] = Field(default=(SHIPPED,), description="query files to run, globs allowed")
    labels: Mapping[str, str] = Field(default_factory=dict, description="labels on every series from here")
    tls: Tls = Field(default=Tls(), description="TLS")
    connect_timeout: Duration = Field(default=5, ge=1, le=300, description="how long connecting may take")
    max_connections: int | None = Field(
        default=None, ge=1, le=100, description="how many files run at once; all of them by default, up to 10"
    )

    def connections_for(self, files: int) -> int:
        """How many connections *files* files share: enough that a slow one delays no other."""
        return self.max_connections or max(1, min(files, MOST_CONNECTIONS))


class PostgresConfig(CollectorConfig):
    """Which databases to ask, with which query files, and how often."""

    env_names: ClassVar[Mapping[str, str]] = {"DATABASE_URL": "databases.main.dsn"}
    env_enables: ClassVar[frozenset[str]] = frozenset(("DATABASE_URL",))

    interval_seconds: float = Field(default=60, gt=0, description="for files that set no interval")
    statement_timeout: Duration = Field(
        default=30, le=86_400, description="how long one query may take, enforced by the server"
    )
    keep_last_for: Duration | None = Field(
        default=None, description="how long series outlive a failing query; 3 intervals by default"
    )
    database_label: str | None = Field(
        default=None,
        pattern=r"^([a-zA-Z_][a-zA-Z0-9_]*)?$",
        description="the label that tells databases apart; none with a single database, else `database`",
    )
    databases: Mapping[str, DatabaseSettings] = Field(
        min_length=1, description="the databases by name; DATABASE_URL alone makes one named main"
    )
    overlays: Mapping[str, Overlay] = Field(
        default_factory=dict, description="what to add to query files, by collector_name"
    )

    @field_validator("databases")
    @classmethod
    def _told_apart(cls, value: Mapping[str, DatabaseSettings]) -> Mapping[str, DatabaseSettings]:
        if any(not name for name in value):
            raise ValueError("a database needs a name")
        return value

    @property
    def label_of_database(self) -> str | None:
        """The name of the label that tells the databases apart, ``None`` for none."""
        if self.database_label is not None:
            return self.database_label or None
        return "database" if len(self.databases) > 1 else None
