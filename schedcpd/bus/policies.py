# SPDX-License-Identifier: Apache-2.0
"""The part of org.schedcp.SchedCP1 that is the policy repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schedcpd.bus import polkit
from schedcpd.bus.control import Control
from schedcpd.bus.interface import Call, Method, args
from schedcpd.bus.limits import MAX_NAME, MAX_TARGET, sentence, text
from schedcpd.bus.views import document
from schedcpd.errors import InvalidArgumentError
from schedcpd.model import IntentClass

MAX_RECORDS = 1000


def intent_class(value: str) -> IntentClass:
    """InvalidArgumentError names the classes there are."""
    try:
        return IntentClass(text("intent", value, MAX_NAME))
    except ValueError as error:
        raise InvalidArgumentError(
            f"there is no intent {value!r}", hint="one of " + ", ".join(IntentClass)
        ) from error


def record_limit(value: int) -> int:
    if not 1 <= value <= MAX_RECORDS:
        raise InvalidArgumentError(f"limit is {value}", hint=f"1 to {MAX_RECORDS}")
    return value


def policy_methods(control: Control) -> tuple[Method, ...]:
    catalogue = control.catalogue

    async def listing(_call: Call) -> Sequence[Any]:
        return [document("policies", [dict(policy) for policy in control.policies()])]

    async def show(call: Call) -> Sequence[Any]:
        name = text("policy", call.args[0], MAX_NAME, empty=False)
        return [document("policy", dict(await catalogue.show(name)))]

    async def search(call: Call) -> Sequence[Any]:
        words, intent, workload, here, limit = call.args
        found = await catalogue.search(
            words=sentence("words", words),
            intent=intent_class(intent) if intent else None,
            workload=text("workload", workload, MAX_TARGET),
            here=here,
            limit=record_limit(limit),
        )
        return [document("found", [dict(each) for each in found])]

    async def history(call: Call) -> Sequence[Any]:
        name, limit = call.args
        found = await catalogue.history(text("policy", name, MAX_NAME), record_limit(limit))
        return [document("history", dict(found))]

    async def promote(call: Call) -> Sequence[Any]:
        name = text("policy", call.args[0], MAX_NAME, empty=False)
        reason = sentence("reason", call.args[1])
        changed = await catalogue.promote(name, actor=call.actor, reason=reason)
        return [document("policy", dict(changed))]

    async def retire(call: Call) -> Sequence[Any]:
        name = text("policy", call.args[0], MAX_NAME, empty=False)
        reason = sentence("reason", call.args[1])
        changed = await catalogue.retire(name, actor=call.actor, reason=reason)
        return [document("policy", dict(changed))]

    json, named = args("s json"), args("s policy, s reason")
    asked = args("s words, s intent, s workload, b here, u limit")
    scheduler = polkit.MANAGE_SCHEDULER
    return (
        Method("ListPolicies", (), json, listing, costly=True),
        Method("ShowPolicy", args("s policy"), json, show, costly=True),
        Method("SearchPolicies", asked, json, search, costly=True),
        Method("PolicyHistory", args("s policy, u limit"), json, history, costly=True),
        Method("PromotePolicy", named, json, promote, scheduler),
        Method("RetirePolicy", named, json, retire, scheduler),
    )
