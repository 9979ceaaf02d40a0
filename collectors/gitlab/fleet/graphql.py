"""GitLab's GraphQL API: which questions there are, and what its ways of saying no mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from collectors._http import NotThere
from collectors.gitlab.fleet.mapping import nodes
from collectors.gitlab.values import Json, json_object
from exporter.errors import BadAnswer, SourceError

Ask = Callable[[str, Mapping[str, Any]], Any]
_MAX_PAGES = 1_000
_MAX_ERRORS = 20

# A page of 100 runners costs about 70 of the allowed complexity of 250: the fields inside, twice.
# Source: GitLab, app/graphql/types/ci/{runner,runner_manager,job}_type.rb, job_interface.rb; base_field.rb.
_RUNNERS = """pageInfo { hasNextPage endCursor }
nodes {
  id runnerType status paused description contactedAt tagList runUntagged jobExecutionStatus
  managers(first: 5) { nodes { id contactedAt version platformName architectureName } }
  projects(first: 20) { pageInfo { hasNextPage } nodes { id } }
  groups { nodes { fullPath } }
}"""
_PAGE = "$first: Int!, $after: String"
_HERE = "first: $first, after: $after"
# DESCENDANTS, the default, would leave out what the groups above and the instance lend to the group.
_OF_GROUP = f"runners({_HERE}, membership: ALL_AVAILABLE) {{ {_RUNNERS} }}"
_OF_OTHERS = f"runners({_HERE}) {{ {_RUNNERS} }}"
RUNNERS_OF = {
    "instance": f"query({_PAGE}) {{ {_OF_OTHERS} }}",
    "group": f"query({_PAGE}, $path: ID!) {{ group(fullPath: $path) {{ {_OF_GROUP} }} }}",
    "project": f"query({_PAGE}, $path: ID!) {{ project(fullPath: $path) {{ {_OF_OTHERS} }} }}",
}
WAITING = f"""query({_PAGE}) {{ jobs({_HERE}, statuses: [PENDING]) {{
  pageInfo {{ hasNextPage endCursor }}
  nodes {{ id tags queuedAt createdAt project {{ id fullPath }} }} }} }}"""
RUNNING = f"""query({_PAGE}) {{ jobs({_HERE}, statuses: [RUNNING]) {{
  pageInfo {{ hasNextPage endCursor }} nodes {{ id runner {{ id }} }} }} }}"""

_COMPLEXITY = re.compile("complexity", re.IGNORECASE)
_NO_FIELD = re.compile(
    "doesn't exist on type|doesn't accept argument|isn't defined|was provided invalid", re.IGNORECASE
)
_NO_RIGHT = re.compile("permission|not authorized|access", re.IGNORECASE)
_FAILED = re.compile(
    "internal server error|time.?out|timed out|rate.?limit|too many|unavailable", re.IGNORECASE
)


class NoGraphQL(SourceError):
    """This question cannot be asked here: GraphQL is off, too old, or not for this token; REST may do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


class GraphQL:
    """Asks questions through *ask*; remembers how large a page of each may be."""

    def __init__(self, ask: Ask, per_page: int) -> None:
        self._ask = ask
        self._per_page = per_page
        self._small: dict[str, int] = {}

    def forget(self) -> None:
        """Ask for whole pages again: what was too complex need not be for ever."""
        self._small = {}

    def pages(self, operation: str, query: str, *steps: str, **variables: Any) -> Iterator[list[Json]]:
        """The pages of the connection to which *steps* lead.

        Raises:
            NoGraphQL: it is refused, hidden, or unknown to this version. Other failures: `SourceError`.
        """
        after: str | None = None
        for _ in range(_MAX_PAGES):
            given = {**variables, "first": self._small.get(operation, self._per_page), "after": after}
            connection = self._connection(operation, query, steps, given)
            if connection is None:
                continue  # too complex, and asked again for less
            yield nodes(connection)
            info = json_object(connection.get("pageInfo"), "pageInfo")
            if not info.get("hasNextPage"):
                return
            if not isinstance(info.get("endCursor"), str) or info["endCursor"] == after:
                raise BadAnswer(f"{operation}: the same page came twice")
            after = info["endCursor"]
        raise SourceError(f"{operation} does not end after {_MAX_PAGES} pages")

    def _connection(
        self, operation: str, query: str, steps: tuple[str, ...], variables: Mapping[str, Any]
    ) -> Json | None:
        """The connection in one answer, ``None`` if the page was too large; it is smaller from then on."""
        try:
            answer = self._ask(operation, {"query": query, "variables": variables})
        except NotThere as error:
            raise NoGraphQL(f"{operation} answered {error.status}") from error
        answer = json_object(answer, "answer")
        found: Any = answer.get("data")
        for step in steps:
            found = json_object(found, "answer").get(step) if found is not None else None
        messages = _messages(answer)
        if found is not None:
            connection = json_object(found, "connection")
            if isinstance(connection.get("nodes"), list):
                # Errors next to an answer concern single fields of single runners.
                return connection
            if not messages:
                raise BadAnswer(f"{operation}: a page without nodes")
        if "data" not in answer and not messages:
            raise BadAnswer(f"{operation}: an answer without data")
        if _COMPLEXITY.search(messages) and variables["first"] > 1:
            self._small[operation] = variables["first"] // 2
            return None
        raise _refused(operation, messages)


def _messages(answer: Json) -> str:
    """What the errors say, to be judged and never shown: they may repeat what was sent."""
    errors = answer.get("errors") or []
    if not isinstance(errors, list):
        raise BadAnswer(f"errors should be a list, got {type(errors).__name__}")
    return "\n".join(str(json_object(error, "error").get("message")) for error in errors[:_MAX_ERRORS])


def _refused(operation: str, messages: str) -> SourceError:
    """What an answer without data means, in our own words."""
    if not messages:
        return NoGraphQL(f"{operation}: it does not exist, or is hidden from this token")
    if _NO_FIELD.search(messages):
        return NoGraphQL(f"{operation}: this version of GitLab lacks a field")
    if _FAILED.search(messages):
        return SourceError(f"{operation}: GitLab failed to answer")
    if _NO_RIGHT.search(messages):
        return NoGraphQL(f"{operation}: this token may not ask that")
    return NoGraphQL(f"{operation}: GitLab refuses the question")
