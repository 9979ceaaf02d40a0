"""The collector of Jenkins' nodes: who is online, what runs where, and what waits for which label."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from collectors import _fleet
from collectors._fleet import Fleet, Runner, WaitingJob
from collectors._runners import FleetCollector
from collectors._values import Json, integer, json_object, text, text_or_empty
from collectors.jenkins import demos
from collectors.jenkins.client import JenkinsClient
from collectors.jenkins.settings import NodesConfig
from collectors.jenkins.values import LARGEST, LONGEST, instant
from exporter import ci_families
from exporter.contract import Batch, Context, Position, Unit
from exporter.errors import BadAnswer
from exporter.families import Sample, gauge

_PROVIDER = "jenkins"
_ARCHITECTURE = "hudson.node_monitors.ArchitectureMonitor"
_PLATFORM = re.compile(r"(.*) \(([^)]*)\)\Z")
_MOST = 2**53  # what JSON holds exactly
# In every language of Jenkins labels and nodes stand in quotes of some sort, and nothing else does. Behind a
# letter there is no opening quote.
_QUOTED = re.compile("(?<!\\w)[‘“„«「『'\"]([^’”“»」』'\"]+)[’”“»」』'\"]")

EXECUTORS = gauge(
    "ci_runner_executors",
    "Jobs that an online runner can execute at once, by whether it does."
    " From the last poll, not the moment of the scrape.",
    ("provider", "runner", "state"),
    source="runner",
)


class JenkinsNodes(FleetCollector[NodesConfig, JenkinsClient]):
    """All nodes that the user sees as one fleet, and what waits for an executor; two calls a poll."""

    name = "jenkins_nodes"
    config_model = NodesConfig
    families = (*ci_families.RUNNER_FAMILIES, EXECUTORS)
    fleet_provider = _PROVIDER
    no_room = "max_nodes"
    start_demo = staticmethod(demos.nodes_source)

    def __init__(self, config: NodesConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = JenkinsClient(config, context, self.name)

    def poll(self, unit: Unit, position: Position) -> Batch:
        """All nodes, and the queue."""
        nodes = _objects(self._client.computers(), "computer")
        nodes.sort(key=lambda node: text(node, "displayName"))
        runners = [_runner(node, place) for place, node in enumerate(nodes)]
        fleet = Fleet(runners, _waiting(_objects(self._client.queue(), "items")))
        at_most = self.config.max_nodes
        samples = self._samples(fleet, runners, at_most=at_most, max_tag_sets=self.config.max_labels)
        names = {runner.named for runner in runners[:at_most] if runner.status == _fleet.ONLINE}
        executors = [sample for node in nodes for sample in _executors(node, names)]
        return Batch(samples={**samples, EXECUTORS: executors})


def _runner(node: Json, place: int) -> Runner:
    """A node as a runner of the instance; its name is its id, since Jenkins gives no other."""
    name = text(node, "displayName")
    offline = node.get("offline") is True
    platform, architecture = _platform(node)
    told: Json = {"assignedLabels": [], **node}  # old ones tell of none
    labels = (text(label, "name") for label in _objects(told, "assignedLabels"))
    return Runner(
        runner_id=place,
        named=name,
        runner_type=_fleet.INSTANCE,
        status=_fleet.OFFLINE if offline else _fleet.ONLINE,
        paused=node.get("temporarilyOffline") is True,
        description=name,
        tags=tuple(sorted(labels)),
        platform=platform,
        architecture=architecture,
        jobs_running=None if offline else _busy(node),
    )


def _busy(node: Json) -> int:
    """How many executors work, those that pipelines use for themselves left out."""
    return sum(executor.get("idle") is False for executor in _objects(node, "executors"))


def _executors(node: Json, names: set[str]) -> Iterator[Sample]:
    """Busy and idle executors of a node that is among *names*."""
    name = text(node, "displayName")
    if name in names:
        busy = _busy(node)
        yield Sample((_PROVIDER, name, "busy"), float(busy))
        yield Sample((_PROVIDER, name, "idle"), float(max(0, integer(node, "numExecutors", LARGEST) - busy)))


def _platform(node: Json) -> tuple[str, str]:
    """Operating system and architecture, empty while unknown; Jenkins writes ``Linux (amd64)``."""
    data = node.get("monitorData")
    told = data.get(_ARCHITECTURE) if isinstance(data, dict) else None
    match = _PLATFORM.match(told) if isinstance(told, str) else None
    return (match[1], match[2]) if match else ("", "")


def _waiting(items: Sequence[Json]) -> list[WaitingJob]:
    """What could run if there were an executor: nothing in its quiet period, or behind another build."""
    return [
        WaitingJob(integer(item, "id", _MOST), _tags(item), "", "", _since(item))
        for item in items
        if item.get("buildable") is True
    ]


def _since(item: Json) -> datetime:
    """Since when it waits for an executor."""
    key = "buildableStartMilliseconds" if "buildableStartMilliseconds" in item else "inQueueSince"
    return instant(integer(item, key, LONGEST))


def _tags(item: Json) -> frozenset[str]:
    """The labels that it waits for; Jenkins exports them nowhere but in the sentence that says why it waits.

    Of an expression all parts of an ``&&`` are labels; one with other signs stays as it is.
    """
    label = _label(text_or_empty(item, "why"))
    if re.search(r"[|!()<]|->", label):
        return frozenset((label,))
    return frozenset(part.strip() for part in label.split("&&") if part.strip())


def _label(why: str) -> str:
    """The label in a sentence or several, empty if there is none.

    ``‘Built-In Node’ doesn’t have label ‘linux’; ‘old’ is reserved`` names nodes as well: where there are two
    names, the second is the label.
    """
    quoted = max((_QUOTED.findall(clause) for clause in why.split(";")), key=len)
    return quoted[-1] if quoted else ""


def _objects(body: Any, key: str) -> list[Json]:
    """The objects in a list that must be there."""
    entries = json_object(body, f"list of {key}").get(key)
    if not isinstance(entries, list):
        raise BadAnswer(f"{key} should be a list, got {type(entries).__name__}")
    return [json_object(entry, key) for entry in entries]
