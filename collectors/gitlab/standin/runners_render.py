"""How GitLab writes runners and the processes behind them as JSON."""

from __future__ import annotations

from typing import Any

from collectors._standin.times import iso
from collectors.gitlab.standin.fleet import Fleet
from collectors.gitlab.standin.runners import Manager, Runner

Json = dict[str, Any]


class RunnersRender:
    """Writes for one instance: its base URL, the offset of all its timestamps, its version and runners."""

    def __init__(self, base_url: str, offset: str, version: str, fleet: Fleet) -> None:
        self.base_url, self.offset = base_url, offset
        self.version, self.fleet = version, fleet

    def _time(self, moment: int | None) -> str | None:
        return iso(moment, self.offset)

    def runner(self, runner: Runner, now: int) -> Json:
        """A runner as jobs and lists show it: no tags, no contact, no version."""
        return {
            "id": runner.id,
            "description": runner.description,
            "ip_address": None,
            "active": not runner.paused,
            "paused": runner.paused,
            "is_shared": runner.runner_type == "instance_type",
            "runner_type": runner.runner_type,
            "name": None,
            "online": None if runner.contacted_at(now) is None else runner.has_status("online", now),
            "created_by": None,
            "created_at": self._time(runner.created_at),
            "status": runner.rest_status(now),
            "job_execution_status": "active" if self.fleet.executing(runner) else "idle",
        }

    def detail(self, runner: Runner, projects: list[Json], now: int) -> Json:
        """A runner asked for by id; since 18.0 only its processes tell versions."""
        latest = max(runner.managers, key=lambda manager: manager.contacted_at(now), default=None)
        told = None if int(self.version.partition(".")[0]) >= 18 else latest
        groups = [runner.group] if runner.group else []
        return self.runner(runner, now) | {
            "tag_list": list(runner.tags),
            "run_untagged": runner.run_untagged,
            "locked": runner.locked,
            "maximum_timeout": None,
            "access_level": "not_protected",
            "version": told.version if told else "",
            "revision": told.revision if told else "",
            "platform": told.platform if told else "",
            "architecture": told.architecture if told else "",
            "contacted_at": self._time(runner.contacted_at(now)),
            "maintenance_note": None,
            "projects": projects,
            "groups": [
                {"id": space.id, "web_url": f"{self.base_url}/groups/{space.path}", "name": space.path}
                for space in groups
            ],
        }

    def manager(self, manager: Manager, now: int) -> Json:
        """A process behind a runner."""
        return {
            "id": manager.id,
            "system_id": manager.system_id,
            "version": manager.version,
            "revision": manager.revision,
            "platform": manager.platform,
            "architecture": manager.architecture,
            "created_at": self._time(manager.created_at),
            "contacted_at": self._time(manager.contacted_at(now)),
            "ip_address": "127.0.0.1",
            "status": manager.status(now),
            "job_execution_status": "active" if manager.id in self.fleet.busy_managers() else "idle",
        }
