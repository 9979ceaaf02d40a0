"""Steers a stand-in GitHub."""

from __future__ import annotations

import json
from typing import Any

from collectors._standin.client import StandIn as AnyStandIn

MODULE = "collectors.github.standin"


class StandIn(AnyStandIn):
    """A running stand-in GitHub; a context manager that ends it."""

    module = MODULE

    def get(self, path: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers (lower case) of ``/api/v3`` + *path*, with the token."""
        given = {"Authorization": f"Bearer {self.token}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        self._connection.request("GET", f"/api/v3{path}", headers=given)
        response = self._connection.getresponse()
        raw = response.read()
        known = {name.lower(): value for name, value in response.getheaders()}
        return response.status, json.loads(raw) if raw else None, known

    def limits(self) -> dict[str, Any]:
        """The primary rate limit, and what of it was used in this hour."""
        return self.control("GET", "limits")
