"""Which function answers which path, and the ids in a path."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from collectors._standin.asking import Answer, Refusal
from collectors.gitlab.standin.delivery_api import DeliveryApi
from collectors.gitlab.standin.events_api import EventsApi
from collectors.gitlab.standin.pipelines_api import PipelinesApi
from collectors.gitlab.standin.projects_api import ProjectsApi
from collectors.gitlab.standin.render import Render
from collectors.gitlab.standin.runners_api import RunnersApi
from collectors.gitlab.standin.world import World

if TYPE_CHECKING:
    from collectors.gitlab.standin.graphql_api import GraphqlApi

Handler = Callable[..., Answer]


def graphql_api(world: World, missing: Iterable[str]) -> GraphqlApi:
    """GraphQL, loaded only when asked for; 404 without the package it needs."""
    try:
        from collectors.gitlab.standin.graphql_api import GraphqlApi
    except ModuleNotFoundError:
        raise Refusal(404, {"errors": [{"message": "Not found!"}]}) from None
    return GraphqlApi(world, missing)


def routes(world: World, render: Render) -> dict[tuple[str, ...], Handler]:
    """The handlers of REST by the template of their path."""
    projects, pipelines = ProjectsApi(world, render), PipelinesApi(world, render)
    runners, events = RunnersApi(world, render), EventsApi(world, render)
    delivery = DeliveryApi(world, render)
    table: dict[str, Handler] = {
        "version": projects.version,
        "metadata": projects.metadata,
        "user": projects.me,
        "user/activities": events.activities,
        "users": events.users,
        "users/:id": events.user,
        "users/:id/events": events.of_user,
        "events": events.own,
        "projects/:id/events": events.of_project,
        "projects": projects.projects,
        "projects/:id": projects.project,
        "groups/:id": projects.group,
        "groups/:id/projects": projects.group_projects,
        "users/:id/projects": projects.user_projects,
        "projects/:id/pipelines": pipelines.pipelines,
        "projects/:id/pipelines/:id": pipelines.pipeline,
        "projects/:id/pipelines/:id/jobs": pipelines.pipeline_jobs,
        "projects/:id/pipelines/:id/bridges": pipelines.bridges,
        "projects/:id/pipelines/:id/test_report": pipelines.test_report,
        "projects/:id/pipelines/:id/test_report_summary": pipelines.test_report_summary,
        "projects/:id/jobs": pipelines.jobs,
        "projects/:id/jobs/:id": pipelines.job,
        "projects/:id/merge_requests": delivery.merge_requests,
        "projects/:id/merge_requests/:id": delivery.merge_request,
        "projects/:id/merge_requests/:id/notes": delivery.notes,
        "projects/:id/deployments": delivery.deployments,
        "projects/:id/deployments/:id": delivery.deployment,
        "projects/:id/environments": delivery.environments,
        "projects/:id/environments/:id": delivery.environment,
        "projects/:id/repository/branches": projects.branches,
        "projects/:id/repository/branches/:id": projects.branch,
        "projects/:id/repository/tags": projects.tags,
        "projects/:id/repository/commits/:id": delivery.commit,
        "projects/:id/repository/compare": delivery.compare,
        "projects/:id/runners": runners.of_project,
        "groups/:id/runners": runners.of_group,
        "runners": runners.own,
        "runners/all": runners.all,
        "runners/:id": runners.runner,
        "runners/:id/managers": runners.managers,
        "runners/:id/jobs": runners.jobs,
    }
    return {tuple(template.split("/")): handler for template, handler in table.items()}


def split(path: str) -> tuple[tuple[str, ...], list[str]]:
    """The template of a path and the ids in it; ids stand second, fourth, or fifth in the repository."""
    parts = path.split("/")
    ids: list[str] = []
    if path in ("runners/all", "user/activities"):
        return tuple(parts), ids
    last = 4 if len(parts) > 2 and parts[2] == "repository" else 3
    for place in (1, last):
        if place < len(parts):
            ids.append(unquote(parts[place]))
            parts[place] = ":id"
    return tuple(parts), ids
