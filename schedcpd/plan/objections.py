# SPDX-License-Identifier: Apache-2.0
"""Why a policy is not taken: one sentence each, for `explain`."""

from __future__ import annotations

from schedcpd.host.yamlpos import shown
from schedcpd.model import IntentClass, Policy
from schedcpd.plan.situation import Demand, Situation


def objection(policy: Policy, situation: Situation) -> str:
    """Why the planner would not take this policy by itself, "" when it would."""
    if not policy.scheduler:
        return "" if not situation.demand.wanted else _kernel_objection(situation.demand)
    return (
        unusable(policy, situation)
        or _standing_objection(policy, situation)
        or policy.conditions.objection(situation.machine, situation.demand.desktop)
        or _demand_objection(policy, situation.demand)
    )


def _kernel_objection(demand: Demand) -> str:
    return f"serves no class but normal, and there is {wants(demand)}"


def unusable(policy: Policy, situation: Situation) -> str:
    """What holds against a policy even when an operator asks for it."""
    known = situation.objects.get(policy.scheduler)
    if known is None:
        absent = f"the object of scheduler {policy.scheduler} is missing"
        return situation.missing.get(policy.scheduler, absent)
    quarantine = situation.history.quarantined.get(known.sha256)
    if quarantine is not None:
        return f"scheduler {policy.scheduler} is quarantined: {shown(quarantine, 200)}"
    failed = situation.history.failed.get(policy.name)
    if failed is not None:
        return f"it is quarantined: {shown(failed, 200)}"
    return ""


def _standing_objection(policy: Policy, situation: Situation) -> str:
    barred = situation.history.barred.get(policy.name, "")
    if barred:
        return barred
    limit = policy.limits.setbacks
    had = situation.history.setbacks.get(policy.name, 0)
    if limit is not None and had >= limit:
        return f"had {had} setbacks, its limit is {limit}"
    return ""


def _demand_objection(policy: Policy, demand: Demand) -> str:
    missing = demand.wanted - set(policy.intents)
    if missing:
        return f"does not serve {_list(missing, demand)}"
    if not demand.wanted & set(policy.chosen_for):
        return f"is chosen only when {' or '.join(policy.chosen_for)} is wanted"
    return ""


def wants(demand: Demand) -> str:
    return _list(demand.wanted, demand)


def _list(classes: frozenset[IntentClass], demand: Demand) -> str:
    """ "latency (3, such as nginx) and batch (1, such as make)"."""
    named = [
        f"{intent} ({demand.counts[intent]}, such as {shown(demand.examples[intent])})"
        for intent in IntentClass
        if intent in classes
    ]
    return " and ".join(named)
