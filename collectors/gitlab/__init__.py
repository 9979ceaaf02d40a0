"""GitLab: pipelines and jobs over its REST API, its runners over GraphQL or REST, and what people do."""

from collectors.gitlab.events.collector import GitLabEvents
from collectors.gitlab.fleet.collector import GitLabRunners
from collectors.gitlab.pipelines import GitLab

__all__ = ["GitLab", "GitLabEvents", "GitLabRunners"]
