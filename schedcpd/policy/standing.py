# SPDX-License-Identifier: Apache-2.0
"""Whether a policy may be chosen by itself, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schedcpd.host.yamlpos import shown
from schedcpd.model import Policy, PolicyAction, PolicyEvent, Standing

AGENT = "agent"


def standing(policy: Policy, decision: PolicyEvent | None) -> Standing:
    """`decision` is the last promotion or retirement of that name.

    A promotion holds for the content it was given to; a retirement for the name. What an agent
    wrote, and what an external scheduler would run, has to be promoted.
    """
    if decision is not None and decision.action is PolicyAction.RETIRED:
        return Standing.RETIRED
    if decision is not None and decision.sha256 == policy.content_id:
        return Standing.PROMOTED
    unproved = policy.external or policy.author == AGENT
    return Standing.TRIAL if unproved else Standing.IN_FORCE


def barred(policies: Sequence[Policy], decisions: Mapping[str, PolicyEvent]) -> dict[str, str]:
    """policy -> why it is not chosen by itself."""
    said = {}
    for policy in policies:
        decision = decisions.get(policy.name)
        now = standing(policy, decision)
        if now is Standing.RETIRED and decision is not None:
            why = f": {shown(decision.reason, 200)}" if decision.reason else ""
            said[policy.name] = f"was retired by {shown(decision.actor)}{why}"
        elif now is Standing.TRIAL:
            changed = " in this form" if decision is not None else ""
            what = "is external, which nothing verified," if policy.external else ""
            what = what or "was written by an agent"
            said[policy.name] = f"{what} and is not promoted{changed}"
    return said
