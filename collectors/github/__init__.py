"""GitHub: runs and jobs of Actions over its REST API, and its runners."""

from collectors.github.actions import GitHubActions
from collectors.github.runners import GitHubRunners

__all__ = ["GitHubActions", "GitHubRunners"]
