"""Gitea: runs and jobs of its Actions, its runners, and the jobs that wait for them."""

from collectors.gitea.collector import Gitea

__all__ = ["Gitea"]
