"""Reads the runners of several scopes, each over GraphQL or REST, as one fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from collectors._fleet import ONLINE, Fleet, Runner, WaitingJob
from collectors._http import NotThere
from collectors.gitlab.fleet import graphql
from collectors.gitlab.fleet import mapping as parse
from collectors.gitlab.fleet.client import RunnersClient
from collectors.gitlab.fleet.graphql import NoGraphQL
from collectors.gitlab.fleet.mapping import ListEntry
from collectors.gitlab.fleet.queue import QueueReader
from collectors.gitlab.fleet.remembered import Remembered
from collectors.gitlab.fleet.scopes import INSTANCE, Scope, ScopeProjects, Ways, scopes_of, trouble_of
from collectors.gitlab.fleet.settings import RunnersConfig
from exporter.contract import Context, UnitTrouble
from exporter.errors import SourceError, Unauthorized

_DETAILS_EVERY = 4  # polls; a healthy runner's last contact must not look old
_CALLS_PER_POLL = 200  # of each sort; what is left over is asked at the next poll
_RUNNING_JOBS = "running jobs"


@dataclass(slots=True)
class _Seen:
    """What the scopes of one poll had: runners in full, or entries of lists; and who executes jobs."""

    runners: dict[int, Runner]
    entries: dict[int, ListEntry]
    busy: dict[int, bool | None]


class FleetReader:
    """Remembers between polls what need not be asked every time; not for several threads."""

    def __init__(self, client: RunnersClient, config: RunnersConfig, context: Context) -> None:
        self._client = client
        self._config = config
        self._context = context
        self.troubles: list[UnitTrouble] = []
        self.blind = False  # no scope could be read
        self.failure: SourceError | None = None  # why jobs are missing from the picture
        self.scopes = scopes_of(config)
        self._outdated = False
        self._ways = Ways(graphql=config.graphql == "auto")
        self._projects = ScopeProjects(client)
        self._queue = QueueReader(client, self._ways, self._projects, context.clock)
        self._details: Remembered[int, Runner] = Remembered(every=_DETAILS_EVERY, at_most=_CALLS_PER_POLL)
        self._known: dict[int, ListEntry] = {}
        self._of_project: Remembered[str, dict[int, ListEntry]] = Remembered(
            every=_DETAILS_EVERY, at_most=_CALLS_PER_POLL
        )
        self._running: Remembered[int, int | None] = Remembered(every=1, at_most=_CALLS_PER_POLL)

    def forget_ways(self) -> None:
        """Try GraphQL again, and read the projects of groups anew: they may have changed."""
        self._outdated = True  # for the next poll: this may be called while one runs

    def read(self) -> Fleet:
        """Everything; scopes that cannot be read are left out, and told in ``troubles``.

        Questions about jobs are the heaviest: one that fails is told in ``failure``, and costs no runner.
        """
        self.troubles = self._projects.troubles = self._queue.troubles = []
        self.failure = None
        if self._outdated:
            self._outdated = False
            self._ways.forget()
            self._client.graphql.forget()
            self._projects.forget()
        seen = _Seen({}, {}, {})
        readable = [scope for scope in self.scopes if self._read_scope(scope, seen)]
        self.blind = not readable
        self._add_below(readable, seen)
        self._add_details(seen)
        return Fleet(self._with_jobs(seen, readable), self._waiting(readable))

    def _waiting(self, readable: list[Scope]) -> list[WaitingJob] | None:
        """The jobs that wait, ``None`` if they are not, or cannot be, read."""
        if not (self._config.queue.enabled and readable):
            return None
        try:
            return self._queue.read(readable)
        except SourceError as error:
            self._fail(error)
            return None

    def _fail(self, error: SourceError) -> None:
        """Note why a question about jobs was not answered; a refused token refuses everything."""
        if isinstance(error, Unauthorized):
            raise error
        self.failure = self.failure or error

    def chosen(self, runners: Iterable[Runner]) -> list[Runner]:
        """Those of *runners* that get series of their own as far as there is room, by id."""
        rules = self._config.per_runner
        chosen = [runner for runner in runners if rules.selects(runner.description)]
        return sorted(chosen, key=lambda runner: runner.runner_id)

    # -- scopes --------------------------------------------------------------------------------

    def _read_scope(self, scope: Scope, seen: _Seen) -> bool:
        """Add the runners of one scope to *seen*; false if the token may not read them."""
        try:
            if self._ways.graphql(scope):
                try:
                    self._scope_by_graphql(scope, seen)
                except NoGraphQL as error:
                    self._ways.refuse(scope, error)
                else:
                    self._ways.tell(scope, "graphql")
                    return True
            self._scope_by_rest(scope, seen)
        except NotThere as error:
            self.troubles.append(trouble_of(scope, error))
            return False
        return True

    def _scope_by_graphql(self, scope: Scope, seen: _Seen) -> None:
        query = graphql.RUNNERS_OF[scope.kind]
        steps = ("runners",) if scope.kind == "instance" else (scope.kind, "runners")
        variables = {"path": scope.name} if scope.name else {}
        pages = self._client.graphql.pages(f"graphql_{scope.kind}_runners", query, *steps, **variables)
        for page in pages:
            for node in page:
                runner, busy = parse.graphql_runner(node, unknown=self._unknown)
                seen.runners[runner.runner_id] = runner
                seen.busy[runner.runner_id] = busy

    def _scope_by_rest(self, scope: Scope, seen: _Seen) -> None:
        """Add the entries of a list."""
        if scope.kind == "instance":
            pages = self._client.all_runners()
        elif scope.kind == "group":
            pages = self._client.group_runners(scope.name)
        else:
            pages = self._client.project_runners(scope.name)
        seen.entries.update(self._entries(pages))

    def _add_below(self, readable: Iterable[Scope], seen: _Seen) -> None:
        """Add the runners of the projects of groups, which the list of a group over REST lacks."""
        groups = [scope for scope in readable if scope.kind == "group" and not self._ways.graphql(scope)]
        keys = self._projects.among(groups)
        # In the order in which the queue is read: no job may wait where the runners are not known yet.
        self._of_project.refresh(sorted(keys), self._runners_of_project)
        listed = dict(seen.entries)
        for key in keys:
            seen.entries.update(self._of_project.get(key, {}))
        seen.entries.update(listed)  # what a list of this poll said is newer

    def _runners_of_project(self, key: str) -> dict[int, ListEntry]:
        try:
            return self._entries(self._client.project_runners(key))
        except NotThere:
            return {}

    def _entries(self, pages: Iterable[list[Any]]) -> dict[int, ListEntry]:
        entries = (parse.list_entry(value, unknown=self._unknown) for page in pages for value in page)
        return {entry.runner_id: entry for entry in entries}

    def _unknown(self, kind: str) -> None:
        self._context.api.unknown_value(kind)

    # -- runners -------------------------------------------------------------------------------

    def _add_details(self, seen: _Seen) -> None:
        """Make runners of the entries of lists; one whose details are not read yet is shown without."""
        entries = {key: entry for key, entry in seen.entries.items() if key not in seen.runners}
        changed = {key for key, entry in entries.items() if self._known.get(key) != _lasting(entry)}
        self._details.refresh(sorted(entries), lambda key: self._detail(entries[key]), changed)
        for key, entry in entries.items():
            seen.busy[key] = entry.busy
            runner = self._details.get(key) or parse.rest_runner(entry, None, ())
            seen.runners[key] = replace(
                runner, status=entry.status, paused=entry.paused, description=entry.description
            )
        self._known = {key: entry for key, entry in self._known.items() if key in entries}

    def _detail(self, entry: ListEntry) -> Runner:
        detail = self._client.runner(entry.runner_id)
        managers = self._client.managers(entry.runner_id) if detail is not None else []
        runner = parse.rest_runner(entry, detail, managers)
        self._known[entry.runner_id] = _lasting(entry)
        return runner

    def _with_jobs(self, seen: _Seen, readable: Collection[Scope]) -> list[Runner]:
        """The runners, each online one with how many jobs it executes."""
        counts = None
        try:
            counts = self._running_everywhere(readable)
            if counts is None:
                self._ask_for_jobs(seen)
        except SourceError as error:
            self._fail(error)
        return [
            replace(runner, jobs_running=self._count(runner, seen, counts))
            for _, runner in sorted(seen.runners.items())
        ]

    def _ask_for_jobs(self, seen: _Seen) -> None:
        """Ask each online runner that is shown and may be busy, which REST demands."""
        shown = self.chosen(seen.runners.values())[: self._config.per_runner.max_runners]
        asked = [
            runner.runner_id
            for runner in shown
            if runner.status == ONLINE and seen.busy[runner.runner_id] is not False
        ]
        self._running.refresh(asked, self._client.running_jobs)

    def _count(self, runner: Runner, seen: _Seen, counts: Counter[int] | None) -> int | None:
        """How many jobs one runner executes, ``None`` if that is not known."""
        if runner.status != ONLINE:
            return None
        if counts is not None:
            return counts[runner.runner_id]
        if seen.busy[runner.runner_id] is False:
            return 0
        return self._running.get(runner.runner_id)

    def _running_everywhere(self, readable: Collection[Scope]) -> Counter[int] | None:
        """``runner -> jobs`` of the whole instance, ``None`` unless GraphQL tells an administrator."""
        whole = INSTANCE in readable and self._ways.graphql(INSTANCE)
        if not whole or not self._ways.graphql(_RUNNING_JOBS):
            return None
        try:
            pages = self._client.graphql.pages("graphql_running_jobs", graphql.RUNNING, "jobs")
            # By job: pages overlap while jobs come and go.
            runner_of = dict(parse.running(node) for page in pages for node in page)
            return Counter(number for number in runner_of.values() if number is not None)
        except NoGraphQL as error:
            self._ways.refuse(_RUNNING_JOBS, error)
            return None


def _lasting(entry: ListEntry) -> ListEntry:
    """*entry* without what changes with every job."""
    return entry._replace(busy=None)
