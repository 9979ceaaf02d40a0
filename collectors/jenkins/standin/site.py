"""One request in, one reply out: who asks, what for, and what can be made to happen."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from collectors._standin.asking import Answer, Refusal, Request
from collectors._standin.faults import Reply
from collectors._standin.forge import Forge, Options
from collectors._standin.runs import Run
from collectors._standin.site import Site as StandInSite
from collectors.jenkins.standin.beans import MULTIBRANCH, Beans, Settings
from collectors.jenkins.standin.executors import Executors
from collectors.jenkins.standin.tree import BadTree, Bean, parse, prune, shallow

USER = "exporter"
_JOB = re.compile(r"((?:job/[^/]+/)+)(?:(\d+)/)?(api/json|wfapi/describe|wfapi)\Z")
_TEXT = "text/html;charset=utf-8"


class Site(StandInSite):
    """The stand-in Jenkins, below *prefix* of its address; *anonymous* visitors may read if that is set."""

    def __init__(
        self, options: Options, base_url: str, *, prefix: str = "", anonymous: bool = False, **settings: Any
    ) -> None:
        self.forge = Forge(options, numbered_by_ref=True)
        super().__init__(self.forge, base_url, options.token, latency_ms=options.latency_ms)
        self.settings = Settings(**settings)
        self._prefix, self._anonymous = prefix, anonymous
        self._beans = Beans(self.forge, self.settings, base_url + prefix)
        self._executors = Executors(self.forge, self.settings, base_url + prefix)

    def api(self, request: Request) -> Reply:
        """The reply of the remote API."""
        path = request.target.partition("?")[0]
        inside = path.startswith(f"{self._prefix}/")
        path = path.removeprefix(self._prefix).lstrip("/")
        return self.spoiled(request, lambda _: self._answer(request, path, inside), _endpoint(path))

    def reply_headers(self, request: Request) -> list[tuple[str, str]]:
        """What every page of Jenkins has."""
        return [("X-Jenkins", "2.479.3"), ("X-Content-Type-Options", "nosniff")]

    def _answer(self, request: Request, path: str, inside: bool) -> Answer:
        if not inside:
            raise Refusal(404, "<html>Not Found</html>")
        self._admit(request)
        tree = parse_qs(request.target.partition("?")[2]).get("tree", [""])[-1]
        bean = self._bean(path)
        if bean is None:
            raise Refusal(404, "<html>Not Found</html>")
        if path.endswith(("wfapi/describe", "wfapi")):
            return Answer(bean)
        try:
            return Answer(prune(bean, parse(tree)) if tree else shallow(bean))
        except BadTree as error:
            raise Refusal(500, f"<html>Malformed tree expression: {error}</html>") from None

    def _admit(self, request: Request) -> None:
        """Refuse who gives another password, or none where that is needed."""
        given = request.headers.get("authorization")
        right = "Basic " + base64.b64encode(f"{USER}:{self.token}".encode()).decode()
        if given is None and not self._anonymous:
            raise Refusal(403, "<html>Authentication required</html>")
        if given is not None and given != right:
            raise Refusal(401, "<html>Invalid password/token for user</html>")

    def _bean(self, path: str) -> Bean | None:
        """What is at *path*; ``None`` if nothing is."""
        fixed = {
            "api/json": self._beans.root,
            "queue/api/json": self._executors.queue,
            "computer/api/json": self._executors.computers,
        }
        if path in fixed:
            return fixed[path]()
        match = _JOB.match(path)
        if match is None:
            return None
        names = [unquote(part) for part in match[1].split("/")[1::2]]
        job = self._beans.find(names)
        if job is None or match[2] is None:
            return job if match[3] == "api/json" else None
        found = self._beans.build_of(job, int(match[2]))
        if found is None:
            return None
        build, run = found
        return build if match[3] == "api/json" else self._beans.stages(run, match[1])

    # -- steering ------------------------------------------------------------------------------

    def truth(self, asked: Mapping[str, str]) -> object:
        """Every finished execution."""
        return self.forge.truth()

    def act(self, given: dict[str, Any]) -> object:
        """Make something happen that is Jenkins' own, or what every forge can do."""
        own = getattr(self, f"_do_{given['action']}", None)
        if own is None:
            return self.forge.act(given)
        return own(**{name: value for name, value in given.items() if name != "action"}) or {}

    def _do_batch(self, actions: list[dict[str, Any]]) -> None:
        """Make many things happen at once."""
        for action in actions:
            self.act(action)

    def _do_create_project(self, path: str, kind: str = MULTIBRANCH, **facts: Any) -> object:
        """A project of that kind; a plain one numbers all of its builds in one row."""
        self.settings.kinds[path] = kind
        return {"id": self.forge.create_project(path, counts_once=kind != MULTIBRANCH, **facts).id}

    def _do_rerun(self, project: str, pipeline_id: int, **_more: Any) -> object:
        """A further build of the same, as Jenkins does."""
        run = self.forge.run(project, pipeline_id)
        plans = [
            {name: getattr(plan, name) for name in ("name", "stage", "seconds", "queue", "status")}
            for plan in run.plans
        ]
        again = self.forge.new_run(
            run.project, plans, ref=run.ref, ref_kind=run.ref_kind, source="replay", pipeline=run.pipeline
        )
        return {"pipeline_id": again.id}

    def _do_discard(self, project: str, keep: int = 0, ref: str = "") -> None:
        """Delete the oldest builds but *keep*, as the retention does."""
        runs = self._runs(project, ref)
        for run in runs[: max(0, len(runs) - keep)]:
            self.forge.delete_run(run)

    def _do_recreate(self, project: str, ref: str = "") -> None:
        """Delete a job and make it again: no builds, and numbers from 1."""
        for run in self._runs(project, ref):
            self.forge.delete_run(run)
        numbers = self.forge.project(project).numbers
        for counter in [counter for counter in numbers if not ref or counter[1] == ref]:
            del numbers[counter]

    def _do_delete_branch(self, project: str, ref: str) -> None:
        """Delete the job of a branch, as the scan of a multibranch project does."""
        self._do_recreate(project, ref)
        self._beans.refs.get(self.forge.project(project).id, {}).pop(ref, None)

    def _do_set_result(self, pipeline_id: int, result: str) -> None:
        """Have Jenkins say that a build ended otherwise."""
        self.settings.results[pipeline_id] = result

    def _do_cut_off(self, pipeline_id: int) -> None:
        """Let a build end as a crash of Jenkins ends it: without a duration."""
        self.settings.cut_off.add(pipeline_id)

    def _do_set(self, **settings: Any) -> None:
        """Change what Jenkins has: metrics, stage_view, git, closing_ms."""
        for name, value in settings.items():
            setattr(self.settings, name, value)

    def _do_make_organization(self, path: str) -> None:
        """Have a folder be one of an organization."""
        self.settings.organizations.add(path)

    def _do_set_node(self, name: str, offline: bool = False, temporarily: bool = False) -> None:
        """Let a node go, or have somebody take it out of service."""
        self.settings.nodes[name] = (offline, temporarily)

    def _do_number(self, project: str, pipeline_id: int) -> object:
        """The number of a build."""
        return {"number": self.forge.run(project, pipeline_id).number}

    def _runs(self, project: str, ref: str) -> list[Run]:
        return [run for run in self.forge.project(project).runs.values() if ref in ("", run.ref)]


def _endpoint(path: str) -> str:
    """What the counts call a request."""
    match = _JOB.match(path)
    if match is None:
        return path if path.endswith("api/json") else ""
    if match[3] != "api/json":
        return "job/:job/:number/wfapi"
    return "job/:job/:number/api/json" if match[2] else "job/:job/api/json"
