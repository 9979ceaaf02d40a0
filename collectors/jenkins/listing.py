"""Lists of the builds of one job: page by page from the newest on, or the oldest that are not read yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from collectors.jenkins import mapping
from collectors.jenkins.client import PAGE, JenkinsClient
from collectors.jenkins.mapping import Build
from collectors.jenkins.sweep import Job
from exporter.errors import BadAnswer, SourceError

_MOST_PAGES = 1_000
_MOST_LOOKS = 20
_OVERLAP = 10  # builds that a page has in common with the next: meanwhile some may be discarded
_FIRST_GUESS = PAGE - _OVERLAP
_NEAR_ENOUGH = PAGE // 2

Wanted = Callable[[Build], bool]


class Portion(NamedTuple):
    """A page of *builds*, oldest first, the newest of which is at *position*; 0 if there is no newer one."""

    builds: list[Build]
    position: int


class Lister:
    """Lists builds for one poll; ``calls`` is how often Jenkins was asked.

    Jenkins counts positions from the newest build, 0, and loads every build up to the last one asked for:
    what is far back is not asked for unless it is wanted. *note_fault* is told of a build that cannot be
    understood; it is left out, since one that never will be must not hold up the others.
    """

    def __init__(
        self,
        client: JenkinsClient,
        unknown: mapping.Unknown,
        note_fault: Callable[[Job, str], None],
    ) -> None:
        self.calls = 0
        self._client = client
        self._unknown = unknown
        self._note_fault = note_fault

    def pages(self, job: Job, most: int = PAGE * _MOST_PAGES) -> Iterator[list[Build]]:
        """Pages of builds, newest first, at least *most* of them if there are so many."""
        first = 0
        while first < most:
            count = min(PAGE, most - first + _OVERLAP)
            bodies = self._bodies(job, first, count)
            yield self._readable(job, bodies)
            if len(bodies) < count:
                return
            first += PAGE - _OVERLAP

    def oldest(self, job: Job, last: Build, wanted: Wanted, guess: int | None = None) -> Portion:
        """The oldest builds that are *wanted*, as all newer ones are; *last* is the newest.

        *guess* is the position where the first unwanted one may be. A wrong one costs a few calls more.

        Raises:
            SourceError: builds come and go faster than they can be listed.
        """
        near, far, clear = 0, last.number, -1  # from `clear` on there is nothing
        end = _FIRST_GUESS if guess is None else guess
        for _ in range(_MOST_LOOKS):
            first = max(0, end + _OVERLAP - PAGE)
            count = end + _OVERLAP - first
            bodies = self._bodies(job, first, count)
            page = self._readable(job, bodies)
            found = {build.number: build for build in page if wanted(build)}
            reached = end == clear or len(bodies) < count or len(found) < len(page)
            if reached and (found or first == 0):
                if first == 0:
                    found.setdefault(last.number, last)
                return Portion([found[number] for number in sorted(found)], first)
            if reached:
                near, far, clear = min(near, first), first, first
            else:
                near = first + len(bodies) - 1
                far = far if far > near else near + PAGE  # builds came meanwhile
            end = self._boundary(job, wanted, near, far)
        raise SourceError(f"the builds of {job.full_name} come and go faster than they can be listed")

    def _boundary(self, job: Job, wanted: Wanted, near: int, far: int) -> int:
        """A position shortly behind the last wanted build, which is between *near* and *far*."""
        while far - near > _NEAR_ENOUGH:
            # Rather from the front than from the middle: what is far back is dear.
            middle = min(2 * near + PAGE, (near + far) // 2)
            bodies = self._bodies(job, middle, _OVERLAP)
            builds = self._readable(job, bodies)
            if bodies and (not builds or wanted(builds[0])):
                near = middle
            else:
                far = middle
        return far

    def _bodies(self, job: Job, first: int, count: int) -> list[object]:
        self.calls += 1
        return self._client.builds(job.full_name, first, count)

    def _readable(self, job: Job, bodies: list[object]) -> list[Build]:
        """Those builds that can be understood."""
        found = []
        for body in bodies:
            try:
                found.append(mapping.build(body, self._unknown))
            except BadAnswer as error:
                self._note_fault(job, str(error))
        return found
