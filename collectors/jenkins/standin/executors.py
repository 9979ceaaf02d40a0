"""Jenkins' queue and nodes as its remote API exports them, made from a forge when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable

from collectors._standin.forge import Forge
from collectors._standin.runs import Run
from collectors.jenkins.standin.beans import LEFT_QUEUE_AFTER, WORKFLOW, Settings, address
from collectors.jenkins.standin.tree import Bean, Table

_PLACEHOLDER = "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask"


class Executors:
    """Makes the objects that tell what runs where, and what waits; nothing is kept between two requests."""

    def __init__(self, forge: Forge, settings: Settings, base_url: str) -> None:
        self._forge = forge
        self._settings = settings
        self._url = base_url

    def queue(self) -> Bean:
        """What waits: runs in their quiet period, and stages for an executor."""
        return {
            "_class": "hudson.model.Queue",
            "discoverableItems": [],
            "items": lambda: [*self._quiet(), *self._buildable()],
        }

    def _runs(self) -> Iterable[Run]:
        return (run for project in self._forge.projects.values() for run in project.runs.values())

    def _quiet(self) -> Iterable[Bean]:
        for run in self._runs():
            if run.status == "created":
                task = {
                    "_class": f"{WORKFLOW}Job",
                    "name": run.ref,
                    "url": address(self._url, run.project.path),
                }
                yield {
                    "_class": "hudson.model.Queue$WaitingItem",
                    **self._queued(run.id, run.created_at, "In the quiet period. Expires in 0.9 sec", task),
                    "timestamp": run.created_at + LEFT_QUEUE_AFTER,
                }

    def _buildable(self) -> Iterable[Bean]:
        for run in self._runs():
            for job in run.jobs:
                if job.status == "pending":
                    why = f"Waiting for next available executor on ‘{' && '.join(job.plan.labels)}’"
                    task = {"_class": _PLACEHOLDER, "name": f"part of {run.project.path} #{run.number}"}
                    yield {
                        "_class": "hudson.model.Queue$BuildableItem",
                        **self._queued(job.id, job.created_at, why, task),
                        "buildable": True,
                        "buildableStartMilliseconds": job.created_at,
                        "pending": False,
                    }

    @staticmethod
    def _queued(number: int, since: int, why: str, task: Bean) -> Bean:
        return {
            "id": number,
            "inQueueSince": since,
            "blocked": False,
            "buildable": False,
            "stuck": False,
            "why": why,
            "params": "",
            "url": f"queue/item/{number}/",
            "actions": [],
            "task": task,
        }

    def computers(self) -> Bean:
        """All nodes: the controller's own without executors, and one for each runner of the forge."""
        names = [f"runner-{number + 1}" for number in range(self._forge.options.runners)]
        return {
            "_class": "hudson.model.ComputerSet",
            "displayName": "Nodes",
            "busyExecutors": 0,
            "totalExecutors": 4 * len(names),
            "computer": lambda: [
                self._computer("Built-In Node", 0, ("built-in",)),
                *(self._computer(name, 4, (name, "linux")) for name in names),
            ],
        }

    def _computer(self, name: str, executors: int, labels: tuple[str, ...]) -> Bean:
        offline, temporarily = self._settings.nodes.get(name, (False, False))
        busy = sum(job.status == "running" and job.runner == name for run in self._runs() for job in run.jobs)
        return {
            "_class": "hudson.slaves.SlaveComputer" if executors else "hudson.model.Hudson$MasterComputer",
            "displayName": name,
            "offline": offline or temporarily,
            "temporarilyOffline": temporarily,
            "offlineCauseReason": "",
            "idle": busy == 0,
            "numExecutors": executors,
            "assignedLabels": [{"name": label} for label in labels],
            "executors": [{"idle": place >= busy, "number": place} for place in range(max(executors, busy))],
            "oneOffExecutors": [],
            "monitorData": _monitors(told=not offline),
        }


def _monitors(*, told: bool) -> Table:
    """What monitors know of a node, nothing of one that is offline; a tree selects none of them."""
    space = {"_class": "hudson.node_monitors.DiskSpaceMonitorDescriptor$DiskSpace", "size": 10**10}
    known: Bean = {
        "SwapSpaceMonitor": {"_class": "hudson.node_monitors.SwapSpaceMonitor$MemoryUsage2"},
        "TemporarySpaceMonitor": space,
        "DiskSpaceMonitor": space,
        "ArchitectureMonitor": "Linux (amd64)",
        "ResponseTimeMonitor": {"_class": "hudson.node_monitors.ResponseTimeMonitor$Data", "average": 3},
        "ClockMonitor": {"_class": "hudson.util.ClockDifference", "diff": 0},
    }
    return Table({f"hudson.node_monitors.{name}": value if told else None for name, value in known.items()})
