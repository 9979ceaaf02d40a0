"""Which branches, tags and pull requests of a repository exist, so that the series of others may go."""

from __future__ import annotations

from collectors._ci import Refs
from collectors.github import mapping
from collectors.github.client import GitHubClient
from collectors.github.reader import Memory, Reader
from exporter.model.runs import RefKind

_SORTS = {RefKind.BRANCH: "heads", RefKind.TAG: "tags"}


class RefReader:
    """One look at all refs: three conditional calls, and further ones where there are many pull requests."""

    def __init__(self, client: GitHubClient, config: Refs, memory: Memory) -> None:
        self._client = client
        self._config = config
        self._refs = memory.refs

    def read(self, reader: Reader) -> dict[RefKind, frozenset[str]]:
        """The refs that exist, of each kind; of those that get no series, none."""
        found = {kind: self._sort(reader, kind, sort) for kind, sort in _SORTS.items()}
        return found | {RefKind.CHANGE_REQUEST: self._change_requests(reader)}

    def _sort(self, reader: Reader, kind: RefKind, sort: str) -> frozenset[str]:
        if not self._config.of(kind).enabled:
            return frozenset()
        key = (reader.unit.key, sort)
        etag, known = self._refs.get(key, ("", frozenset()))
        answer = self._client.refs(reader.path, sort, etag)
        if answer is None:
            return known
        names = (mapping.ref_name(value, f"refs/{sort}/") for value in answer[0])
        self._refs[key] = (answer[1], frozenset(name for name in names if self._config.selects(kind, name)))
        return self._refs[key][1]

    def _change_requests(self, reader: Reader) -> frozenset[str]:
        if not self._config.change_requests.enabled:
            return frozenset()
        key = (reader.unit.key, "pulls")
        etag, known = self._refs.get(key, ("", frozenset()))
        answer = self._client.open_change_requests(reader.path, etag)
        if answer is None:
            return known
        refs = (ref for value in answer[0] for ref in mapping.open_change_request_refs(value))
        self._refs[key] = (answer[1], frozenset(refs))
        return self._refs[key][1]
