"""Gitea: runs and jobs of its Actions, its runners, and the jobs that wait for them."""

from collectors.gitea.collector import Gitea
from collectors.gitea.fleet import GiteaRunners

__all__ = ["Gitea", "GiteaRunners"]
