"""GitLab: pipelines and jobs over its REST API, and its runners over GraphQL or REST."""

from collectors.gitlab.fleet.collector import GitLabRunners
from collectors.gitlab.pipelines import GitLab

__all__ = ["GitLab", "GitLabRunners"]
