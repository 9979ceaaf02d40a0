"""What collectors that ask an HTTP API share: the client, and what follows from the connection alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from prometheus_client.metrics_core import Metric

from collectors._connection import Connection
from collectors._http import Answer, ApiClient, NotThere
from exporter.contract import Collector


class Client:
    """The calls we make, for several threads; one rate limit for all of them."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    def credentials_changed(self) -> bool:
        """Whether there are other credentials than those that were refused; takes them over."""
        return self._api.credentials.changed()

    def close(self) -> None:
        """Close idle connections."""
        self._api.close()

    def _get(self, path: str, operation: str, **params: Any) -> Any:
        """The body of one answer; 403 and 404 raise `NotThere`."""
        return self._body(self._api.get(path, operation, params), operation)

    def _body(self, answer: Answer, operation: str) -> Any:
        """What *answer* brought; one without success raises `NotThere`."""
        if answer.status != 200:
            raise NotThere(f"{operation} answered {answer.status}", answer.status)
        return answer.body


C = TypeVar("C", bound=Connection)
A = TypeVar("A", bound=Client)


class ApiCollector(Collector[C], Generic[C, A]):
    """A collector that asks one instance of a source.

    A subclass makes its ``_client`` when it is made itself, and says what there is and what is new.
    """

    _client: A

    @property
    def target(self) -> str:
        """The instance, by the name under which history is kept; no two collectors share a target."""
        return f"{self.name}:{self.config.history_name}"

    def credentials_changed(self) -> bool:
        """Whether there are other credentials than the refused ones."""
        return self._client.credentials_changed()

    def collect(self) -> Iterator[Metric]:
        """What was read so far, from memory."""
        return self.context.page.collect()

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()
