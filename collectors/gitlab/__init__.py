"""GitLab: pipelines and jobs over its REST API."""

from collectors.gitlab.pipelines import GitLab

__all__ = ["GitLab"]
