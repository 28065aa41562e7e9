# SPDX-License-Identifier: Apache-2.0
"""Chooses the policy that should run now, and says of every other one why not.

A pure function of a Situation. A policy is eligible when its object is there and not
quarantined, the machine meets its conditions, it serves every class that is wanted and at
least one workload wants what it is chosen for. Of these the highest priority wins, then fewest
setbacks, then the one that serves least besides, then the name. When nobody wants anything but
`normal`, the kernel's default runs.

So that it does not flap, what runs is left alone for the hold-down time, which doubles with
every swap of the last hour, and until its successor has been preferred for that time without a
break: a pin that comes and goes reloads nothing. Only a running policy that must not go on (kill
switch, quarantine, gone) or that does not serve a wanted class is replaced earlier, and this too at
most `max_per_hour` times. Leaving for the kernel's default out of need is never held back.
"""

from __future__ import annotations

from types import MappingProxyType

from schedcpd.config import AUTO, KERNEL_DEFAULT
from schedcpd.host.yamlpos import shown
from schedcpd.model import Candidate, CandidateKind, Policy, Tunable
from schedcpd.plan.objections import objection, unusable, wants
from schedcpd.plan.situation import Plan, Situation

_HOUR_S = 3600.0


def plan(situation: Situation) -> Plan:
    """The policy for this situation. Never raises; the kernel's default is always possible."""
    rejected = {policy.name: objection(policy, situation) for policy in situation.policies}
    if situation.killed:
        return _kernel(situation, "the kill switch is latched")
    if situation.choice == KERNEL_DEFAULT:
        return _kernel(situation, "an operator chose the kernel's default")
    if situation.choice != AUTO:
        return _chosen(situation)
    if not situation.demand.wanted:
        return _settle(situation, None, "no workload wants anything but normal", rejected)
    eligible = [p for p in situation.policies if p.scheduler and not rejected[p.name]]
    if not eligible:
        return _settle(situation, None, "no policy serves what is wanted", rejected)
    best = min(eligible, key=lambda policy: _rank(policy, situation))
    reason = f"serves {wants(situation.demand)}"
    return _settle(situation, best, reason, rejected)


def _rank(policy: Policy, situation: Situation) -> tuple[int, int, int, str]:
    setbacks = situation.history.setbacks.get(policy.name, 0)
    spare = len(set(policy.intents) - situation.demand.wanted)
    return (-policy.priority, setbacks, spare, policy.name)


# ------------------------------------------------------------ what to do


def _chosen(situation: Situation) -> Plan:
    """An operator's policy: only what makes it unusable stands in its way."""
    policy = next((p for p in situation.policies if p.name == situation.choice), None)
    if policy is None:
        reason = f"the chosen policy {shown(situation.choice)} does not exist"
        return _kernel(situation, reason)
    obstacle = unusable(policy, situation)
    if obstacle:
        reason = f"the chosen policy {policy.name} cannot run: {obstacle}"
        return _kernel(situation, reason)
    others = {p.name: f"an operator chose {policy.name}" for p in situation.policies}
    candidate = _candidate(policy, situation, "an operator chose it", others)
    return Plan(candidate, change=not _is_running(candidate, situation))


def _kernel(situation: Situation, reason: str) -> Plan:
    rejected = {policy.name: reason for policy in situation.policies}
    candidate = _candidate(None, situation, reason, rejected)
    return Plan(candidate, change=not _is_running(candidate, situation))


def _settle(
    situation: Situation, best: Policy | None, reason: str, rejected: dict[str, str]
) -> Plan:
    """`best`, unless what runs should be left alone for a while."""
    name = best.name if best else KERNEL_DEFAULT
    for policy in situation.policies:
        if best is not None and not rejected[policy.name]:
            rejected[policy.name] = _outranked(policy, best, situation)
    candidate = _candidate(best, situation, reason, rejected)
    if _is_running(candidate, situation):
        return Plan(candidate, change=False)
    current = next((p for p in situation.policies if p.name == situation.running.policy), None)
    must_leave = _must_leave(current, situation)
    if must_leave and best is None:
        return Plan(candidate, change=True)
    urgent = bool(must_leave) or _fails_demand(current, situation)
    wait_s = _wait_s(situation, urgent=urgent)
    if not urgent and name != situation.running.policy:
        wait_s = max(wait_s, _unsteady_s(name, situation))
    if wait_s <= 0:
        return Plan(candidate, change=True)
    rejected = {**rejected, name: f"preferred, but held back for {wait_s:.0f} s against flapping"}
    if must_leave:
        # What runs cannot stay and its successor must wait: the kernel's default meanwhile.
        reason = f"{must_leave}; {name} is held back for {wait_s:.0f} s"
        parked = _candidate(None, situation, reason, rejected)
        return Plan(parked, not _is_running(parked, situation), wait_s, preferred=name)
    reason = f"stays for {wait_s:.0f} s more, then {name} ({reason})"
    stays = _candidate(current, situation, reason, rejected)
    return Plan(stays, change=False, retry_in_s=wait_s, preferred=name)


def _outranked(policy: Policy, best: Policy, situation: Situation) -> str:
    mine, its = _rank(policy, situation), _rank(best, situation)
    if mine[0] != its[0]:
        return f"{best.name} has priority {best.priority}, this one {policy.priority}"
    if mine[1] != its[1]:
        return f"{best.name} had fewer setbacks ({its[1]} against {mine[1]})"
    if mine[2] != its[2]:
        return f"{best.name} fits more closely what is wanted"
    return f"{best.name} comes first by name"


def _must_leave(current: Policy | None, situation: Situation) -> str:
    """Why what runs now cannot stay, "" when it can."""
    running = situation.running
    if running.policy == KERNEL_DEFAULT or not running.object_sha256:
        return ""
    if current is None:
        return f"the policy {running.policy} no longer exists"
    quarantine = situation.history.quarantined.get(running.object_sha256)
    if quarantine is not None:
        return f"what runs is quarantined: {shown(quarantine, 200)}"
    known = situation.objects.get(current.scheduler)
    if known is None:
        return unusable(current, situation)
    return ""


def _fails_demand(current: Policy | None, situation: Situation) -> bool:
    return current is None or bool(situation.demand.wanted - set(current.intents))


def _wait_s(situation: Situation, *, urgent: bool) -> float:
    """Seconds until a swap is allowed; 0 or less: now."""
    now_s, limits = situation.now_s, situation.limits
    recent = sorted(s for s in situation.history.swaps_s if now_s - s < _HOUR_S)
    budget_s = 0.0
    if len(recent) >= limits.max_per_hour:
        budget_s = recent[len(recent) - limits.max_per_hour] + _HOUR_S - now_s
    if urgent or not recent:
        return budget_s
    hold_s = min(limits.hold_down_s * 2.0 ** (len(recent) - 1), _HOUR_S)
    last_s = max(recent[-1], situation.running.since_s)
    return max(budget_s, last_s + hold_s - now_s)


def _unsteady_s(name: str, situation: Situation) -> float:
    """Seconds until `name` has been preferred for the hold-down time without a break."""
    if situation.preferred is None:
        return 0.0
    before, since_s = situation.preferred
    preferred_s = situation.now_s - since_s if before == name else 0.0
    return situation.limits.hold_down_s - preferred_s


def _is_running(candidate: Candidate, situation: Situation) -> bool:
    running = situation.running
    return (
        candidate.policy == running.policy
        and candidate.object_sha256 == running.object_sha256
        and dict(candidate.tunables) == dict(running.tunables)
    )


def _candidate(
    policy: Policy | None, situation: Situation, reason: str, rejected: dict[str, str]
) -> Candidate:
    known = situation.objects.get(policy.scheduler) if policy and policy.scheduler else None
    name = policy.name if policy and known else KERNEL_DEFAULT
    told = tuple((other, rejected[other]) for other in sorted(rejected) if other != name)
    if policy is None or known is None:
        empty: MappingProxyType[str, Tunable] = MappingProxyType({})
        return Candidate(CandidateKind.DEFAULT, name, "", "", "", empty, reason, told)
    return Candidate(
        CandidateKind.EXTERNAL if policy.external else CandidateKind.RECONFIGURE,
        policy.name,
        policy.scheduler,
        known.path,
        known.sha256,
        policy.tunables,
        reason,
        told,
        policy.slo_delay_p99_us,
    )
