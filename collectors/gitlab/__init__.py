"""GitLab: pipelines and jobs, tests, deployments, merge requests, runners, and what people do."""

from collectors.gitlab.changes.collector import GitLabChanges
from collectors.gitlab.deployments.collector import GitLabDeployments
from collectors.gitlab.events.collector import GitLabEvents
from collectors.gitlab.fleet.collector import GitLabRunners
from collectors.gitlab.pipelines import GitLab
from collectors.gitlab.testreports.collector import GitLabTests

__all__ = ["GitLab", "GitLabChanges", "GitLabDeployments", "GitLabEvents", "GitLabRunners", "GitLabTests"]
