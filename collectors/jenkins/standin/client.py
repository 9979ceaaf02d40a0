"""Steers a stand-in Jenkins."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

from collectors._standin.client import StandIn as AnyStandIn
from collectors.jenkins.standin.site import USER

MODULE = "collectors.jenkins.standin"


class StandIn(AnyStandIn):
    """A running stand-in Jenkins; a context manager that ends it."""

    module = MODULE

    def get(self, path: str, tree: str = "") -> tuple[int, Any]:
        """Status and JSON (or text) of *path* with that tree, as the one user there is."""
        word = base64.b64encode(f"{USER}:{self.token}".encode()).decode()
        target = f"{path}?tree={quote(tree)}" if tree else path
        self._connection.request("GET", target, headers={"Authorization": f"Basic {word}"})
        response = self._connection.getresponse()
        raw = response.read().decode()
        is_json = (response.getheader("Content-Type") or "").startswith("application/json")
        return response.status, json.loads(raw) if is_json else raw
