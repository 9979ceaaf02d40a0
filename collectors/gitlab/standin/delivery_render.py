"""How GitLab writes environments, deployments, comparisons, merge requests and notes as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collectors.gitlab.standin.deployments import Deployment, Environment
from collectors.gitlab.standin.records import USERS, MergeRequest, Note, Project, sha_of
from collectors.gitlab.standin.render import Render

Json = dict[str, Any]


class DeliveryRender:
    """Writes with what *render* knows of the instance."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._time = render.time

    def commit(self, at: int, key: int) -> Json:
        """Commit number *key*."""
        return self._render.commit(key, at)

    def _basic_environment(self, one: Environment) -> Json:
        """As deployments show it: without its tier."""
        slug = one.name.replace("/", "-")
        return {
            "id": one.id,
            "name": one.name,
            "slug": slug,
            "external_url": f"https://{slug}.example.com",
            "created_at": self._time(one.created_at),
            "updated_at": self._time(one.updated_at),
        }

    def environment(self, one: Environment) -> Json:
        """An entry of the list of environments."""
        return self._basic_environment(one) | {
            "tier": one.tier,
            "state": one.state,
            "auto_stop_at": None,
            "description": None,
            "kubernetes_namespace": None,
            "flux_resource_path": None,
        }

    def deployment(self, one: Deployment, now: int) -> Json:
        """A deployment, which has no time of its end but that of its job."""
        user = next(user for user in USERS if user.id == one.user_id)
        return {
            "id": one.id,
            "iid": one.iid,
            "ref": one.ref,
            "sha": sha_of(one.sha_key),
            "created_at": self._time(one.created_at),
            "updated_at": self._time(one.updated_at),
            "user": self._render.user(user),
            "environment": self._basic_environment(one.environment),
            "deployable": None if one.job is None else self._render.job(one.job, now),
            "status": one.status,
        }

    def comparison(self, project: Project, commits: Sequence[tuple[int, int]], *, same: bool) -> Json:
        """A comparison; nobody here looks at differences."""
        shown = [self.commit(*one) for one in commits]
        return {
            "commit": shown[-1] if shown else None,
            "commits": shown,
            "diffs": [],
            "compare_timeout": False,
            "compare_same_ref": same,
            "web_url": f"{self._render.base_url}/{project.path}/-/compare",
        }

    def simple_merge_request(self, project: Project, request: MergeRequest) -> Json:
        """What ``view=simple`` leaves of a merge request."""
        whole = self.merge_request(project, request)
        keys = ["id", "iid", "project_id", "title", "description", "state"]
        keys += ["created_at", "updated_at", "web_url"]
        return {key: whole[key] for key in keys}

    def merge_request(self, project: Project, request: MergeRequest) -> Json:
        """A merge request."""
        comments = sum(not note.system for note in request.notes)
        closed = request.closings[-1] if request.closings and request.state == "closed" else None
        return self._render.merge_request(project, request) | {
            "closed_at": self._time(closed),
            "draft": request.draft,
            "work_in_progress": request.draft,
            "title": f"{'Draft: ' if request.draft else ''}Merge {request.source_branch}",
            "user_notes_count": comments,
            "upvotes": 0,
            "downvotes": 0,
            "reviewers": [],
            "assignees": [],
        }

    def note(self, request: MergeRequest, note: Note) -> Json:
        """One thing said about a merge request."""
        when = self._time(note.created_at)
        return {
            "id": note.id,
            "type": None,
            "body": note.body,
            "author": self._render.user(note.author),
            "created_at": when,
            "updated_at": when,
            "system": note.system,
            "noteable_id": request.id,
            "noteable_type": "MergeRequest",
            "project_id": request.id // 1_000,
            "resolvable": False,
            "confidential": False,
            "internal": False,
            "imported": False,
            "imported_from": "none",
            "noteable_iid": request.iid,
            "commands_changes": {},
        }
