"""The calls about reports of tests."""

from __future__ import annotations

from collectors._http import NotThere
from collectors.gitlab.client import GitLabClient
from collectors.gitlab.values import Json, json_object
from exporter.contract import Trouble
from exporter.errors import UnitUnavailable


class ReportsClient(GitLabClient):
    """The client of GitLab with what concerns reports of tests."""

    def summary(self, project: str, run_id: int) -> Json | None:
        """What the tests of a pipeline came to, by suite; ``None`` if the pipeline was deleted."""
        return self._of_run(project, run_id, "test_report_summary")

    def cases(self, project: str, run_id: int) -> Json | None:
        """The whole report with every test, which may be long; ``None`` if the pipeline was deleted."""
        return self._of_run(project, run_id, "test_report")

    def _of_run(self, project: str, run_id: int, what: str) -> Json | None:
        try:
            # Of the right shape already here: null would be taken for a pipeline that was deleted.
            return json_object(self._get(f"projects/{project}/pipelines/{run_id}/{what}", what), what)
        except NotThere as error:
            if error.status == 403:
                detail = f"GitLab says 403: this token may not read jobs, and so no {what}"
                raise UnitUnavailable(detail, Trouble.FORBIDDEN) from error
            if self.pipeline(project, run_id) is None:
                return None
            detail = (
                f"GitLab says 404 to {what} of a pipeline that is there: it is older than 14.2, or this token"
                " may not read jobs"
            )
            raise UnitUnavailable(detail, Trouble.NOT_FOUND) from error
