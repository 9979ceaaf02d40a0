"""Steers a stand-in GitLab."""

from __future__ import annotations

import json
from typing import Any

from collectors._standin.client import StandIn as AnyStandIn

MODULE = "collectors.gitlab.standin"


class StandIn(AnyStandIn):
    """A running stand-in GitLab; a context manager that ends it."""

    module = MODULE

    def get(self, path: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON (or text) and headers (lower case) of ``/api/v4`` + *path*, with the token."""
        self._connection.request("GET", f"/api/v4{path}", headers={"PRIVATE-TOKEN": self.token} | headers)
        response = self._connection.getresponse()
        raw = response.read()
        known = {name.lower(): value for name, value in response.getheaders()}
        is_json = known.get("content-type", "").startswith("application/json")
        return response.status, json.loads(raw) if is_json else raw.decode(), known

    def graphql(self, query: str, **variables: Any) -> tuple[int, Any]:
        """Status and JSON of a GraphQL query, with the token."""
        body = json.dumps({"query": query, "variables": variables})
        head = {"PRIVATE-TOKEN": self.token, "Content-Type": "application/json"}
        self._connection.request("POST", "/api/graphql", body, head)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def fleet(self) -> dict[str, Any]:
        """The runners as they are, and the jobs that wait or run."""
        return self.control("GET", "fleet")

    def deployments(self) -> list[dict[str, Any]]:
        """Every deployment as it really is, those of deleted projects too."""
        told: list[dict[str, Any]] = self.control("GET", "deployments")["deployments"]
        return told

    def changes(self) -> list[dict[str, Any]]:
        """Every merge request as it really is."""
        told: list[dict[str, Any]] = self.control("GET", "changes")["changes"]
        return told

    def test_reports(self) -> list[dict[str, Any]]:
        """What the tests of each execution of a pipeline came to that ended while the world moved."""
        reports: list[dict[str, Any]] = self.control("GET", "test_reports")["test_reports"]
        return reports

    def events(self) -> list[dict[str, Any]]:
        """Every event that could be seen by now, by id, each with its text as it is sent."""
        events: list[dict[str, Any]] = self.control("GET", "events")["events"]
        return events

    def hooks(self) -> dict[str, Any]:
        """How the delivery of webhooks stands: how many wait, and the statuses of the answers."""
        return self.control("GET", "hooks")

    def take_hooks(self) -> list[dict[str, Any]]:
        """The webhooks that were made without an address to send them to, each with headers and body."""
        taken: list[dict[str, Any]] = self.control("DELETE", "hooks")["hooks"]
        return taken
