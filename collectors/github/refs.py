"""Which branches, tags and pull requests of a repository exist, so that the series of others may go."""

from __future__ import annotations

from collectors._ci import Refs
from collectors.github import mapping
from collectors.github.client import GitHubClient
from collectors.github.memory import Memory
from collectors.github.reader import Reader
from exporter.errors import SourceError, Unauthorized
from exporter.model.runs import RefKind

_SORTS = {RefKind.BRANCH: "heads", RefKind.TAG: "tags"}


class RefReader:
    """One look at all refs: three conditional calls, and further ones where there are many pull requests."""

    def __init__(self, client: GitHubClient, config: Refs, memory: Memory) -> None:
        self._client = client
        self._config = config
        self._refs = memory.refs

    def read(self, reader: Reader) -> dict[RefKind, frozenset[str]]:
        """The refs that exist, of each kind that can be read; of those that get no series, none.

        In an empty repository there is nothing to read, and a token that reads Actions may not read the rest.
        """
        found: dict[RefKind, frozenset[str]] = {}
        for kind in RefKind:
            try:
                found[kind] = self._of(kind, reader) if self._config.of(kind).enabled else frozenset()
            except SourceError as error:
                if not error.permanent or error.retry_after is not None or isinstance(error, Unauthorized):
                    raise
        return found

    def _of(self, kind: RefKind, reader: Reader) -> frozenset[str]:
        """The refs of one kind, asked for on condition that they changed."""
        key = (reader.unit.key, kind.value)
        etag, known = self._refs.get(key, ("", frozenset()))
        if kind is RefKind.CHANGE_REQUEST:
            answer = self._client.open_change_requests(reader.path, etag)
            names = [
                ref for value in (answer or ((), ""))[0] for ref in mapping.open_change_request_refs(value)
            ]
        else:
            answer = self._client.refs(reader.path, _SORTS[kind], etag)
            prefix = f"refs/{_SORTS[kind]}/"
            names = [mapping.ref_name(value, prefix) for value in (answer or ((), ""))[0]]
        if answer is None:
            return known
        self._refs[key] = (answer[1], frozenset(name for name in names if self._config.selects(kind, name)))
        return self._refs[key][1]
