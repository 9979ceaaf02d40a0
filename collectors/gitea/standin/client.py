"""Steers a stand-in Gitea."""

from __future__ import annotations

from collectors._standin.client import StandIn as AnyStandIn

MODULE = "collectors.gitea.standin"


class StandIn(AnyStandIn):
    """A running stand-in Gitea; a context manager that ends it."""

    module = MODULE
