"""The stories a pipeline can live through, each drawn from a seeded source of chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from collectors.gitlab.standin.records import Attempt, BridgePlan, FollowUp, JobPlan, Plan

_REASONS = ("script_failure", "script_failure", "runner_system_failure", "stuck_or_timeout_failure")
# Every fleet of two runners or more can take all of these; what is not named here has the tag docker.
_TAGS: Mapping[str, tuple[str, ...]] = {
    "lint": (),
    "unit": ("docker", "linux"),
    "deploy": ("docker", "deploy"),
    "rollout": ("deploy",),
}


def _queue(chance: Random) -> int:
    return chance.randrange(100, 900) if chance.random() < 0.3 else chance.randrange(1_000, 15_000)


def _attempt(chance: Random, outcome: str = "success") -> Attempt:
    reason = chance.choice(_REASONS) if outcome == "failed" else ""
    return Attempt(_queue(chance), chance.randrange(4_000, 90_000), outcome, reason)


def _job(chance: Random, name: str, stage: str, level: int) -> JobPlan:
    coverage = round(chance.uniform(60, 99), 1) if name == "unit" and chance.random() < 0.5 else None
    return JobPlan(
        name, stage, level, (_attempt(chance),), coverage=coverage, tags=_TAGS.get(name, ("docker",))
    )


def _usual(chance: Random) -> list[JobPlan]:
    lint = replace(_job(chance, "lint", "test", 1), allow_failure=True)
    jobs = [_job(chance, "compile", "build", 0), _job(chance, "unit", "test", 1), lint]
    if chance.random() < 0.5:
        jobs.append(_job(chance, "deploy", "deploy", 2))
    return jobs


def _with(jobs: list[JobPlan], place: int, changed: JobPlan) -> tuple[JobPlan, ...]:
    return (*jobs[:place], changed, *jobs[place + 1 :])


def _normal(chance: Random) -> Plan:
    return Plan(tuple(_usual(chance)))


def _failing(chance: Random) -> Plan:
    jobs = _usual(chance)
    place = chance.randrange(len(jobs))
    return Plan(_with(jobs, place, replace(jobs[place], attempts=(_attempt(chance, "failed"),))))


def _auto_retry(chance: Random) -> Plan:
    jobs = _usual(chance)
    tries = (_attempt(chance, "failed"), _attempt(chance, chance.choice(("success", "failed"))))
    return Plan(_with(jobs, 1, replace(jobs[1], attempts=tries, auto_retry=True)))


def _retry_pipeline(chance: Random) -> Plan:
    jobs = _usual(chance)
    tries = (_attempt(chance, "failed"), _attempt(chance))
    again = FollowUp("retry", "finished", chance.randrange(20_000, 300_000))
    return Plan(_with(jobs, 1, replace(jobs[1], attempts=tries)), (again,))


def _manual(chance: Random) -> Plan:
    job = replace(_job(chance, "release", "release", 3), when="manual", allow_failure=True)
    follow = FollowUp("play", "finished", chance.randrange(30_000, 600_000))
    return Plan((*_usual(chance), job), (follow,))


def _blocking_manual(chance: Random) -> Plan:
    gate = replace(_job(chance, "approve", "gate", 3), when="manual")
    follow = FollowUp("play", "created", chance.randrange(300_000, 900_000))
    return Plan((*_usual(chance), gate, _job(chance, "rollout", "rollout", 4)), (follow,))


def _cancel_pending(chance: Random) -> Plan:
    jobs = tuple(replace(job, attempts=(Attempt(queue=600_000),)) for job in _usual(chance))
    return Plan(jobs, (FollowUp("cancel", "created", chance.randrange(2_000, 20_000)),))


def _cancel_running(chance: Random) -> Plan:
    jobs = _usual(chance)
    slow = replace(jobs[0], attempts=(Attempt(1_000, 600_000),))
    return Plan(_with(jobs, 0, slow), (FollowUp("cancel", "created", chance.randrange(10_000, 120_000)),))


def _ci_skip(_chance: Random) -> Plan:
    return Plan()


def _yaml_error(_chance: Random) -> Plan:
    return Plan(yaml_errors="jobs config should contain at least one visible job")


def _first_waits(chance: Random, status: str) -> Plan:
    jobs = _usual(chance)
    return Plan(_with(jobs, 0, replace(jobs[0], prelude=((status, chance.randrange(3_000, 60_000)),))))


def _child_jobs(chance: Random) -> tuple[JobPlan, ...]:
    tests = _job(chance, "child-test", "test", 0)
    return (tests, _job(chance, "child-report", "report", 1))


def _parent_child(chance: Random) -> Plan:
    bridge = BridgePlan(_child_jobs(chance), depend=chance.random() < 0.5)
    return Plan((*_usual(chance), JobPlan("trigger-child", "test", 1, bridge=bridge)))


def _outliving_child(chance: Random) -> Plan:
    tries = (Attempt(1_000, chance.randrange(300_000, 900_000)),)
    long = JobPlan("soak", "test", 0, tries, tags=("large",))
    return Plan((*_usual(chance), JobPlan("trigger-soak", "test", 1, bridge=BridgePlan((long,)))))


def _deleted(chance: Random) -> Plan:
    jobs = _usual(chance)
    slow = replace(jobs[0], attempts=(Attempt(1_000, 300_000),))
    return Plan(_with(jobs, 0, slow), (FollowUp("delete", "created", chance.randrange(10_000, 120_000)),))


def _no_runner(chance: Random) -> Plan:
    """A job whose tags no runner has waits until somebody gives up."""
    train = replace(_job(chance, "train", "train", 0), tags=("gpu",))
    return Plan((train,), (FollowUp("cancel", "created", chance.randrange(120_000, 600_000)),))


STORIES: Mapping[str, tuple[float, Callable[[Random], Plan]]] = {
    "normal": (50, _normal),
    "failing": (12, _failing),
    "auto_retry": (7, _auto_retry),
    "retry_pipeline": (5, _retry_pipeline),
    "manual": (4, _manual),
    "blocking_manual": (2, _blocking_manual),
    "cancel_pending": (2, _cancel_pending),
    "cancel_running": (3, _cancel_running),
    "ci_skip": (2, _ci_skip),
    "yaml_error": (1, _yaml_error),
    "delayed": (1, lambda chance: _first_waits(chance, "scheduled")),
    "resource": (1, lambda chance: _first_waits(chance, "waiting_for_resource")),
    "preparing": (1, lambda chance: _first_waits(chance, "preparing")),
    "callback": (1, lambda chance: _first_waits(chance, "waiting_for_callback")),
    "parent_child": (4, _parent_child),
    "outliving_child": (2, _outliving_child),
    "multi_project": (2, _parent_child),
    "deleted": (1, _deleted),
    # Last and without weight: only a world whose runners look at tags has this problem.
    "no_runner": (0, _no_runner),
}


def plan_for(story: str, chance: Random, downstream: int | None = None) -> Plan:
    """The plan of *story*; *downstream* is the other project that ``multi_project`` triggers."""
    plan = STORIES[story][1](chance)
    if story != "multi_project" or downstream is None:
        return plan
    jobs = (
        replace(job, bridge=replace(job.bridge, project_id=downstream)) if job.bridge else job
        for job in plan.jobs
    )
    return replace(plan, jobs=tuple(jobs))


def draw(chance: Random, weights: Mapping[str, float]) -> str:
    """The name of a story by weight; *weights* override the usual ones."""
    names = list(STORIES)
    return chance.choices(names, [weights.get(name, STORIES[name][0]) for name in names])[0]
