"""GitLab: pipelines and jobs over its REST API, its runners over GraphQL or REST, tests, what people do."""

from collectors.gitlab.events.collector import GitLabEvents
from collectors.gitlab.fleet.collector import GitLabRunners
from collectors.gitlab.pipelines import GitLab
from collectors.gitlab.testreports.collector import GitLabTests

__all__ = ["GitLab", "GitLabEvents", "GitLabRunners", "GitLabTests"]
