"""What a test or demo can make happen to the runners of the simulated GitLab."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from collectors.gitlab.standin.runners import Manager, Runner
from collectors.gitlab.standin.world import World

Json = Mapping[str, Any]


class RunnerActions:
    """Named interferences with the runners of *world*, as those of `Actions`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.by_name: dict[str, Callable[[Json], dict[str, Any]]] = {
            "new_runner": self._new_runner,
            "set_runner": self._set_runner,
            "remove_runner": self._remove_runner,
        }

    def _new_runner(self, given: Json) -> dict[str, Any]:
        """A runner of ``type``, of ``group`` or ``projects``; it is at work unless ``managers`` is 0."""
        fleet, people = self.world.fleet, self.world.people
        kind = str(given.get("type", "instance_type"))
        more: dict[str, Any] = {}
        if kind == "group_type":
            more["group"] = people.group(str(given.get("group", people.root)))
        elif kind == "project_type":
            known: dict[Any, int] = {number: number for number in people.projects}
            known |= {path: project.id for path, project in people.by_path.items()}
            more["project_ids"] = {known[key] for key in given["projects"]}
        runner = fleet.add(str(given.get("description", "runner")), kind, self.world.now, **more)
        for _ in range(int(given.get("managers", 1))):
            fleet.start_manager(runner, self.world.now)
        self._change_runner(runner, given)
        return {"runner_id": runner.id, "manager_ids": [manager.id for manager in runner.managers]}

    def _set_runner(self, given: Json) -> dict[str, Any]:
        """Change what is given; ``silent`` is the seconds since its last contact, ``None`` for at work."""
        self._change_runner(self.world.fleet.runners[int(given["runner"])], given)
        return {}

    def _change_runner(self, runner: Runner, given: Json) -> None:
        for name in ("paused", "locked", "run_untagged"):
            if name in given:
                setattr(runner, name, bool(given[name]))
        runner.tags = tuple(given.get("tags", runner.tags))
        runner.concurrent = int(given.get("concurrent", runner.concurrent))
        runner.description = str(given.get("description", runner.description))
        if "created" in given:
            runner.created_at = self.world.now - _ms(given["created"])
        for manager in runner.managers:
            if given.get("manager", manager.id) == manager.id:
                self._change_manager(manager, given)

    def _change_manager(self, manager: Manager, given: Json) -> None:
        manager.version = str(given.get("version", manager.version))
        if "silent" in given:
            seconds = given["silent"]
            manager.silent_since = None if seconds is None else self.world.now - _ms(seconds)
            manager.created_at = min(manager.created_at, manager.contacted_at(self.world.now))

    def _remove_runner(self, given: Json) -> dict[str, Any]:
        """What it executes goes on to its end; its jobs have no runner any more."""
        del self.world.fleet.runners[int(given["runner"])]
        return {}


def _ms(seconds: float) -> int:
    return round(float(seconds) * 1000)
