"""GitLab: pipelines and jobs over its REST API, and its runners over GraphQL or REST."""

from collectors.gitlab.pipelines import GitLab
from collectors.gitlab.runners import GitLabRunners

__all__ = ["GitLab", "GitLabRunners"]
