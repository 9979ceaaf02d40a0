"""GitHub: runs and jobs of Actions over its REST API, and its runners."""

from collectors.github.actions import GitHubActions

__all__ = ["GitHubActions"]
