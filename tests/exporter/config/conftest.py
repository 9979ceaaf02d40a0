"""Two made-up collectors, and functions that load a text and return what is wrong with it."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from exporter.config.load import load
from exporter.config.secrets import SecretUrl
from exporter.contract import CollectorConfig, PolledConfig
from exporter.errors import ConfigError


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="full path")
    exclude: list[str] = Field(default=[], description="patterns")


class SourceConfig(PolledConfig):
    env_names: ClassVar = {"SOURCE_URL": "url", "SOURCE_TOKEN": "token", "SOURCE_PER_PAGE": "per_page"}
    env_enables: ClassVar = frozenset({"SOURCE_URL"})

    url: str = Field(description="where it is")
    token: SecretStr | None = Field(default=None, description="access token")
    token_file: Path | None = Field(default=None, description="file with the token")
    projects: list[str] = Field(default=[], description="paths")
    groups: list[Group | str] = Field(default=[], description="groups")
    per_page: int = Field(default=100, ge=1, le=100, description="entries a page")

    @model_validator(mode="after")
    def _has_a_scheme(self):
        if not self.url.startswith("http"):
            raise ValueError("url must begin with http")
        return self


class Database(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dsn: SecretUrl = Field(description="where it is")
    dsn_file: Path | None = Field(default=None, description="file with the dsn")
    files: list[Path] = Field(default=[], description="query files")
    labels: dict[str, str] = Field(default={}, description="labels added")


class DatabasesConfig(CollectorConfig):
    env_names: ClassVar = {"DATABASE_URL": "databases.main.dsn"}
    env_enables: ClassVar = frozenset({"DATABASE_URL"})

    databases: dict[str, Database] = Field(default={}, description="databases by name")
    team: str = Field(default="", description="for tests of plain values")


MODELS = {"source": SourceConfig, "my-databases": DatabasesConfig}


@pytest.fixture
def models():
    return MODELS


@pytest.fixture
def file(tmp_path):
    return tmp_path / "config.yml"


@pytest.fixture
def loaded(file):
    """Loads a text (``None``: no file at all)."""

    def run(text="", env=None, **overrides):
        if text is not None:
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        flags = {key.replace("__", "."): value for key, value in overrides.items()}
        return load(file if text is not None else None, models=MODELS, env=env or {}, overrides=flags)

    return run


@pytest.fixture
def problems(loaded, file):
    """Loads a text that is wrong and returns each problem as a line, the file's path cut off."""

    def run(text="", env=None, **overrides):
        with pytest.raises(ConfigError) as caught:
            loaded(text, env, **overrides)
        return [str(problem).removeprefix(str(file)) for problem in caught.value.problems]

    return run
