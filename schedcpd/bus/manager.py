# SPDX-License-Identifier: Apache-2.0
"""The two interfaces of schedcp: every method is one call of `Control`, translated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from schedcpd.bus import polkit
from schedcpd.bus.control import Control
from schedcpd.bus.interface import Call, Handler, Interface, Method, Signal, args
from schedcpd.bus.limits import MAX_NAME, MAX_TARGET, sentence, text
from schedcpd.bus.policies import intent_class, policy_methods, record_limit
from schedcpd.bus.views import (
    BUS_NAME,
    MANAGER_PROPERTIES,
    WORKLOAD_INTERFACE,
    WORKLOAD_PROPERTIES,
    document,
    manager_values,
    object_path,
    record_values,
    workload_values,
)
from schedcpd.errors import InvalidArgumentError
from schedcpd.model import RecordKind, WorkloadView


def record_kind(value: str) -> RecordKind | None:
    """None for "". InvalidArgumentError names the kinds there are."""
    if not value:
        return None
    try:
        return RecordKind(text("kind", value, MAX_NAME))
    except ValueError as error:
        raise InvalidArgumentError(
            f"there is no kind of record {value!r}", hint="one of " + ", ".join(RecordKind)
        ) from error


def manager_interface(control: Control, version: str) -> Interface:
    """org.schedcp.SchedCP1, as documented in dbus/org.schedcp.SchedCP1.xml."""

    async def list_workloads(_call: Call) -> Sequence[Any]:
        return [[object_path(view.profile.id) for view in control.workloads()]]

    async def find(call: Call) -> Sequence[Any]:
        target = text("target", call.args[0], MAX_TARGET, empty=False)
        return [object_path(control.find(target).profile.id)]

    async def list_pins(_call: Call) -> Sequence[Any]:
        return [{cgroup: pinned.value for cgroup, pinned in control.pins().items()}]

    async def pin(call: Call) -> Sequence[Any]:
        target = text("target", call.args[0], MAX_TARGET, empty=False)
        view = await control.pin(target, intent_class(call.args[1]), actor=call.actor)
        return [object_path(view.profile.id)]

    async def unpin(call: Call) -> Sequence[Any]:
        await control.unpin(text("target", call.args[0], MAX_TARGET, empty=False), actor=call.actor)
        return []

    async def apply(call: Call) -> Sequence[Any]:
        await control.apply(text("policy", call.args[0], MAX_NAME, empty=False), actor=call.actor)
        return []

    async def rollback(call: Call) -> Sequence[Any]:
        await control.rollback(actor=call.actor, reason=sentence("reason", call.args[0]))
        return []

    async def kill(call: Call) -> Sequence[Any]:
        await control.kill(actor=call.actor, reason=sentence("reason", call.args[0]))
        return []

    async def resume(call: Call) -> Sequence[Any]:
        await control.resume(actor=call.actor)
        return []

    async def reload(call: Call) -> Sequence[Any]:
        await control.reload(actor=call.actor)
        return []

    async def explain(call: Call) -> Sequence[Any]:
        target = text("target", call.args[0], MAX_TARGET)
        return [document("explain", await control.explain(target))]

    async def history(call: Call) -> Sequence[Any]:
        limit, kind, subject = call.args
        records = control.history(
            limit=record_limit(limit),
            kind=record_kind(kind),
            subject=text("subject", subject, MAX_TARGET),
        )
        return [document("records", [record_values(record) for record in records])]

    async def verify(call: Call) -> Sequence[Any]:
        name = text("name", call.args[0], MAX_NAME, empty=False)
        source, run = call.args[1], call.args[2]
        return [await control.verify(name, source, run=run, actor=call.actor)]

    async def verification(call: Call) -> Sequence[Any]:
        id_ = text("id", call.args[0], MAX_NAME, empty=False)
        return [document("verification", control.verification(id_))]

    def read(name: str, inputs: str, outputs: str, handler: Handler, *, costly: bool) -> Method:
        return Method(name, args(inputs), args(outputs), handler, costly=costly)

    def change(name: str, inputs: str, outputs: str, handler: Handler, action: str) -> Method:
        return Method(name, args(inputs), args(outputs), handler, action)

    return Interface(
        name=BUS_NAME,
        methods=(
            read("ListWorkloads", "", "ao workloads", list_workloads, costly=True),
            read("FindWorkload", "s target", "o workload", find, costly=False),
            read("ListPins", "", "a{ss} pins", list_pins, costly=True),
            change("Pin", "s target, s intent", "o workload", pin, polkit.MANAGE_INTENTS),
            change("Unpin", "s target", "", unpin, polkit.MANAGE_INTENTS),
            change("Apply", "s policy", "", apply, polkit.MANAGE_SCHEDULER),
            change("Rollback", "s reason", "", rollback, polkit.MANAGE_SCHEDULER),
            change("Kill", "s reason", "", kill, polkit.KILL_SWITCH),
            change("Resume", "", "", resume, polkit.MANAGE_SCHEDULER),
            change("Reload", "", "", reload, polkit.RELOAD),
            change("Verify", "s name, s text, b run", "s id", verify, polkit.VERIFY),
            read("Verification", "s id", "s json", verification, costly=True),
            read("Explain", "s target", "s json", explain, costly=True),
            read("History", "u limit, s kind, s subject", "s json", history, costly=True),
            *policy_methods(control),
        ),
        signals=(
            Signal(
                "Ejected",
                args(
                    "s deployment_id, s scheduler, u kind, s kind_name, x code, s reason, s message"
                ),
            ),
            Signal("RolledBack", args("s old_policy, s new_policy, s reason")),
            Signal("VerifyProgress", args("s id, s check")),
            Signal("VerifyEnded", args("s id, b passed, s sentence")),
            Signal("IntentChanged", args("o workload, s old, s new, s source")),
            Signal("SchedulerChanged", args("s old, s new, s reason")),
        ),
        properties=MANAGER_PROPERTIES,
        constant=frozenset({"Version", "Kernel"}),
        values=lambda _path: manager_values(control.status(), version),
    )


def workload_interface(control: Control, view_of: Callable[[str], WorkloadView]) -> Interface:
    """org.schedcp.SchedCP1.Workload. `view_of(path)` raises NotFoundError for no such object."""

    async def pin(call: Call) -> Sequence[Any]:
        cgroup = view_of(call.path).profile.cgroup
        await control.pin(cgroup, intent_class(call.args[0]), actor=call.actor)
        return []

    async def unpin(call: Call) -> Sequence[Any]:
        await control.unpin(view_of(call.path).profile.cgroup, actor=call.actor)
        return []

    async def explain(call: Call) -> Sequence[Any]:
        return [document("explain", await control.explain(view_of(call.path).profile.cgroup))]

    return Interface(
        name=WORKLOAD_INTERFACE,
        methods=(
            Method("Pin", args("s intent"), (), pin, polkit.MANAGE_INTENTS),
            Method("Unpin", (), (), unpin, polkit.MANAGE_INTENTS),
            Method("Explain", (), args("s json"), explain, costly=True),
        ),
        properties=WORKLOAD_PROPERTIES,
        constant=frozenset({"Cgroup", "CgroupId", "SeenNs"}),
        values=lambda path: workload_values(view_of(path)),
    )
