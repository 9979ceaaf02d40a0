"""What query files may say beyond sql_exporter's format, in the file or in the configuration."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from collectors.postgres.cron import Cron
from collectors.postgres.durations import seconds
from collectors.postgres.spec import OnNull

LONGEST = 100 * 31_536_000
"""No duration is longer, in seconds: what is, cannot be scheduled."""


def duration(text: str) -> float:
    """*text*, a Prometheus duration, in seconds.

    Raises:
        ValueError: it is none, or longer than :data:`LONGEST`.
    """
    if len(text) > 100:
        raise ValueError("is not a duration such as 30s, 5m or 1h30m")
    found = seconds(text)
    if found > LONGEST:
        raise ValueError("must be at most 100 years")
    return found


def _duration(value: Any) -> Any:
    """Text in seconds; a bare number, as text or not, is seconds already."""
    if isinstance(value, str) and not (value.isascii() and value.replace(".", "", 1).isdigit()):
        return duration(value)
    return value


def _parameters(value: Any) -> Any:
    """Scalars as the text that the server gets; ``None`` stays, others are left for the model to refuse."""
    if not isinstance(value, Mapping):
        return value
    return {name: _text(scalar) for name, scalar in value.items()}


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


def _cron(value: str) -> str:
    Cron(value, UTC)
    return value


def _buckets(value: tuple[float, ...]) -> tuple[float, ...]:
    if any(low >= high for low, high in itertools.pairwise(value)):
        raise ValueError("must be in rising order, each bound once")
    return value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) < len(value) or "" in value:
        raise ValueError("must name each column once")
    return value


Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0, le=LONGEST)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class MetricOverlay(_Part):
    """Additions to one metric."""

    unit: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_]+$")] | None = Field(
        default=None, description="the OpenMetrics unit; metric_name must end in _<unit>"
    )
    buckets: Annotated[tuple[float, ...], Field(min_length=1), AfterValidator(_buckets)] | None = Field(
        default=None, description="upper bounds that make it a histogram of its value column"
    )
    once_by: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_distinct)] | None = Field(
        default=None, description="columns that tell rows apart; each row then adds to the metric once"
    )
    counter: bool | None = Field(
        default=None, description="true makes it a counter and false a gauge, whatever type says"
    )
    max_series: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="series above this are dropped and counted"
    )
    on_null: OnNull | None = Field(default=None, description="what a NULL value does to its sample")


class Overlay(_Part):
    """Additions to one query file."""

    title: str | None = Field(default=None, description="what the file is about, in a few words")
    description: str | None = Field(default=None, description="what the file is about, at length")
    interval: Duration | None = Field(
        default=None, description="how often it runs, such as 5m; instead of min_interval"
    )
    schedule: Annotated[str, AfterValidator(_cron)] | None = Field(
        default=None, description="instead of interval: a cron expression of five fields"
    )
    statement_timeout: Duration | None = Field(
        default=None, description="how long one query may take, enforced by the server"
    )
    keep_last_for: Duration | None = Field(
        default=None, description="how long series outlive a failing query"
    )
    parameters: Annotated[Mapping[_Name, str | None], BeforeValidator(_parameters)] = Field(
        default_factory=dict, description="values for %(name)s in queries, sent to the server as text"
    )
    max_series: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="series above this are dropped and counted, per metric"
    )
    on_null: OnNull = Field(default="skip", description="what a NULL value does to its sample")
    listen: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        default=None, description="a channel; its notifications run the file at once"
    )
    debounce: Duration | None = Field(
        default=None, description="the least wait between two runs that notifications ask for"
    )
    metrics: Mapping[str, MetricOverlay] = Field(
        default_factory=dict, description="additions to metrics, by metric_name"
    )

    @model_validator(mode="after")
    def _one_rhythm(self) -> Overlay:
        if self.interval is not None and self.schedule is not None:
            raise ValueError("interval and schedule are both set: keep one of them")
        return self

    def under(self, other: Overlay | None) -> Overlay:
        """This one with the keys that *other* sets; those of a metric are taken one by one too."""
        if other is None:
            return self
        update = {name: getattr(other, name) for name in other.model_fields_set}
        if update.keys() & {"interval", "schedule"}:
            update = {"interval": None, "schedule": None} | update
        metrics = dict(self.metrics)
        for name, metric in other.metrics.items():
            below = metrics.get(name, metric)
            metrics[name] = below.model_copy(
                update={key: getattr(metric, key) for key in metric.model_fields_set}
            )
        return self.model_copy(update=update | {"metrics": metrics})
