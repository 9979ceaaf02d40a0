"""Which branches, tags and pull requests of a repository exist, so that the series of others may go."""

from __future__ import annotations

from collectors._ci import Refs
from collectors.github import mapping
from collectors.github.client import GitHubClient
from exporter.model.runs import RefKind

_SORTS = {RefKind.BRANCH: "heads", RefKind.TAG: "tags"}


class RefReader:
    """One look at all refs: three conditional calls, and further ones where there are many pull requests."""

    def __init__(self, client: GitHubClient, config: Refs) -> None:
        self._client = client
        self._config = config

    def read(self, path: str, etags: dict[str, str]) -> tuple[dict[RefKind, frozenset[str]], dict[str, str]]:
        """The refs that exist, of the kinds that changed since *etags*; and the ETags of now."""
        found: dict[RefKind, frozenset[str]] = {}
        now = dict(etags)
        for kind, sort in _SORTS.items():
            if not self._config.of(kind).enabled:
                found[kind] = frozenset()
            elif answer := self._client.refs(path, sort, etags.get(sort, "")):
                names = (mapping.ref_name(value, f"refs/{sort}/") for value in answer[0])
                found[kind] = frozenset(name for name in names if self._config.selects(kind, name))
                now[sort] = answer[1]
        if not self._config.change_requests.enabled:
            found[RefKind.CHANGE_REQUEST] = frozenset()
        elif pulls := self._client.open_change_requests(path, etags.get("pulls", "")):
            refs = (ref for value in pulls[0] for ref in mapping.open_change_request_refs(value))
            found[RefKind.CHANGE_REQUEST] = frozenset(refs)
            now["pulls"] = pulls[1]
        return found, now
