"""Where a source is, as whom to ask, and how hard: the keys of every collector that calls an HTTP API."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from collectors._credentials import Credentials
from collectors._http import ApiClient
from collectors._rates import RateLimiter, shared_pace
from exporter.contract import CollectorConfig, Context
from exporter.errors import ConfigError


class Connection(CollectorConfig):
    """A collector that narrows these keys gives them its own default and description."""

    url: str = Field(description="the source's address")
    token: SecretStr | None = Field(default=None, description="access token")
    token_file: Path | None = Field(default=None, description="file with the token, read again after a 401")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority behind the source's certificate"
    )
    tls_verify: bool = Field(default=True, description="check the source's certificate")
    operations_per_second: float = Field(
        default=10,
        gt=0,
        le=1000,
        description="calls a second; shared by the collectors of this host for which the same is set",
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as https://ci.example.com")
        if parts.username or parts.password:
            raise ValueError("must hold no user name or password; use token or token_file")
        return value.rstrip("/")

    @property
    def host_and_path(self) -> str:
        """Tells instances apart; the scheme may change without another history."""
        parts = urlsplit(self.url)
        return parts.netloc.lower() + parts.path

    @property
    def history_name(self) -> str:
        """Under which name the history of the instance is kept."""
        return self.host_and_path

    def token_credentials(self) -> Credentials:
        """A bearer token from the configuration or the file."""
        return Credentials(self.token.get_secret_value() if self.token else "", self.token_file)


class NamedInstance(Connection):
    """The key of a collector whose history may outlast the source's address; it comes behind other bases."""

    instance: str | None = Field(
        default=None,
        description="name under which history is kept; set it to the old host when the source moves",
    )

    @property
    def history_name(self) -> str:
        """Under which name the history of the instance is kept: the given one outlives a move."""
        return self.instance or super().history_name


def api_client(
    config: Connection,
    context: Context,
    collector: str,
    *,
    base_url: str = "",
    credentials: Credentials | None = None,
    accept: str = "application/json",
    cls: type[ApiClient] = ApiClient,
) -> ApiClient:
    """The client of *collector* for the API at *base_url*, by default at the configured address.

    Raises:
        ConfigError: ``ca_file`` is no file.
    """
    if config.ca_file and not config.ca_file.is_file():
        raise ConfigError(f"collectors.{collector}.ca_file: {config.ca_file} is no file")
    return cls(
        base_url or config.url,
        credentials or config.token_credentials(),
        limiter=_limiter(config, context),
        observer=context.api,
        clock=context.clock,
        stopping=context.stopping,
        timeout_seconds=context.fetch_timeout_seconds,
        user_agent=f"ci-exporter/{context.version or '0'}",
        accept=accept,
        verify=str(config.ca_file) if config.ca_file and config.tls_verify else config.tls_verify,
    )


def _limiter(config: Connection, context: Context) -> RateLimiter:
    """The limiter of one collector, in step with those of others that are told the same of the same host.

    One whose number nobody set keeps its own: the default is what each may take.
    """
    rate = config.operations_per_second
    if "operations_per_second" not in config.model_fields_set:
        return RateLimiter(rate, context.stopping)
    host = urlsplit(config.url).netloc.lower()
    return RateLimiter(rate, context.stopping, pace=shared_pace(host, rate, context.stopping))
