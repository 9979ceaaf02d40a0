"""GitLab: pipelines and jobs, deployments, merge requests, runners, and what people do."""

from collectors.gitlab.changes.collector import GitLabChanges
from collectors.gitlab.deployments.collector import GitLabDeployments
from collectors.gitlab.events.collector import GitLabEvents
from collectors.gitlab.fleet.collector import GitLabRunners
from collectors.gitlab.pipelines import GitLab

__all__ = ["GitLab", "GitLabChanges", "GitLabDeployments", "GitLabEvents", "GitLabRunners"]
