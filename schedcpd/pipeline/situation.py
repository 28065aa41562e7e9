# SPDX-License-Identifier: Apache-2.0
"""What the planner is told: the machine, its workloads, what runs, what went wrong before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schedcpd.config import KERNEL_DEFAULT
from schedcpd.deploy.manager import DeployManager
from schedcpd.model import Machine, WorkloadView
from schedcpd.pipeline.settings import Settings
from schedcpd.plan.situation import HistorySummary, Limits, Running, Situation, demand_of

_OWN_UNITS = frozenset({"schedcpd.service", "schedcp-scheduler.service", "schedcp-agent.service"})


def _is_ours(view: WorkloadView) -> bool:
    """Our own units want what they want only while there is something to do."""
    return view.profile.identity.unit in _OWN_UNITS


def situation_of(
    settings: Settings,
    deploy: DeployManager,
    *,
    machine: Machine,
    views: Iterable[WorkloadView],
    setbacks: Mapping[str, int],
    barred: Mapping[str, str],
    now_s: float,
    unix_s: float,
    choice: str,
    preferred: tuple[str, float],
    lift_quarantine: bool = False,
) -> Situation:
    """`now_s` is the monotonic clock, `unix_s` the other one, both of this moment."""
    config, repository = settings.config, settings.repository
    current = deploy.view().current
    objects = repository.objects()
    quarantined, failed = {}, {}
    for policy in repository.policies() if not lift_quarantine else ():
        known = objects.get(policy.scheduler)
        if known is None:
            continue
        if why := deploy.quarantined(known.sha256, {}):
            quarantined[known.sha256] = why
        if why := deploy.quarantined(known.sha256, policy.tunables):
            failed[policy.name] = why
    running = Running(KERNEL_DEFAULT, "", {}, 0.0)
    if current is not None:
        since_s = now_s - (unix_s - current.started_unix_s)
        running = Running(current.policy, current.object_sha256, current.tunables, since_s)
    return Situation(
        demand=demand_of(view for view in views if not _is_ours(view)),
        machine=machine,
        policies=repository.policies(),
        objects=objects,
        running=running,
        limits=Limits(config.deploy.hold_down_s, config.deploy.max_per_hour),
        now_s=now_s,
        history=HistorySummary(
            quarantined,
            dict(setbacks),
            tuple(now_s - (unix_s - at) for at in deploy.automatic_swaps()),
            dict(barred),
            failed=failed,
        ),
        choice=choice,
        preferred=preferred,
        missing=repository.missing(),
    )
