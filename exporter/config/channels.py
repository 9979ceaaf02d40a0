"""What may stand under ``alerts.channels``: ways to reach people."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from exporter.config.secrets import SecretUrl
from exporter.config.section import Section


class AlertmanagerSettings(Section):
    """An Alertmanager that groups, silences and routes what the rules find."""

    url: SecretUrl | None = Field(
        default=None,
        description="its address, such as http://127.0.0.1:9093, with its path prefix if it has one",
    )
    username: str | None = Field(default=None, min_length=1, description="user name for basic authentication")
    password: SecretStr | None = Field(default=None, description="the user's password")
    password_file: Path | None = Field(default=None, description="file that holds the password")
    token: SecretStr | None = Field(default=None, description="bearer token, instead of user and password")
    token_file: Path | None = Field(default=None, description="file that holds the token")
    ca_file: Path | None = Field(default=None, description="PEM file of the authority behind its certificate")
    resend_interval_seconds: float = Field(
        default=60,
        ge=1,
        le=3600,
        description="how often it is told again of what stands; what it misses four times, it takes for over",
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: SecretUrl | None) -> SecretUrl | None:
        if value is not None:
            parts = urlsplit(value.get_secret_value())
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
                raise ValueError("must be an address such as http://127.0.0.1:9093")
        return value

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.token is not None and self.username is not None:
            raise ValueError("token and username are both set: keep one of them")
        if (self.username is None) is not (self.password is None):
            raise ValueError("username and password belong together: set both or none")
        return self


class ChannelSettings(Section):
    """One way to reach people: a URL that apprise knows, an Alertmanager, or whoever reads our log."""

    # No SecretUrl, of which all but the password is shown: tokens stand anywhere in these.
    url: SecretStr | None = Field(
        default=None,
        description="where messages go, as apprise writes it: mailtos://, slack://, dingtalk://…",
    )
    url_file: Path | None = Field(default=None, description="file that holds the url")
    alertmanager: AlertmanagerSettings = Field(
        default=AlertmanagerSettings(), description="instead of url: an Alertmanager that takes alerts"
    )
    log: bool = Field(
        default=False,
        description="instead of url: messages become lines of this program's log, to try rules out",
    )
    timeout_seconds: float = Field(
        default=10, gt=0, le=300, description="how long one attempt may take, from its begin to its end"
    )
    per_minute: int = Field(
        default=20, ge=1, le=6000, description="messages in a minute at most; what is more waits"
    )
    give_up_after_seconds: float = Field(
        default=86_400,
        ge=0,
        description="how old a message may get that cannot be sent; older ones are dropped",
    )

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if [self.url is not None, self.alertmanager.url is not None, self.log].count(True) != 1:
            raise ValueError("set exactly one of url, alertmanager.url and log")
        return self
