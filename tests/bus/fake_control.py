# SPDX-License-Identifier: Apache-2.0
"""A `Control` without a kernel: keeps workloads, pins and a policy, and tells its observers.

`calls` lists every change that got through, so that a test can say that none did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from schedcpd.bus.control import Observer
from schedcpd.errors import (
    AmbiguousTargetError,
    ConfigError,
    InvalidArgumentError,
    KilledError,
    NotFoundError,
    UnsupportedError,
)
from schedcpd.model import (
    AppIdentity,
    AppKind,
    DaemonState,
    ExitRecord,
    InferenceSource,
    Intent,
    IntentClass,
    IntentSource,
    LearnedRecord,
    RecordKind,
    SchedulerStatus,
    Status,
    WorkloadProfile,
    WorkloadView,
)

STATUS = Status(
    state=DaemonState.ACTIVE,
    reason="intent runs",
    kernel="7.3.4-test",
    scheduler="intent",
    policy="intent-default",
    policy_source="auto",
    deployment_id="d-1",
    verdict_id="v-1",
    last_known_good="intent-default",
    inference=InferenceSource.RULES,
    agent="not configured",
    kill_switch=False,
    workloads=0,
)


SHIPPED: Mapping[str, object] = {
    "name": "intent-default",
    "scheduler": "intent",
    "description": "one class for each intent",
    "intents": ["latency", "batch"],
    "chosen_for": ["latency"],
    "tunables": {"preempt": True, "slice_us": 3000},
    "machines": {"power": "ac"},
    "slo": {"latency": {"delay_p99_us": 5000.0}},
    "limits": {},
    "priority": 50,
    "origin": "shipped",
    "author": "",
    "extends": "",
    "file": "/usr/share/schedcp/policies.d/intent.yaml",
    "line": 4,
    "sha256": "ab" * 32,
    "current": True,
}


def view(number: int, unit: str, *, comm: str = "", uid: int | None = None) -> WorkloadView:
    """A workload in /system.slice whose name is its unit without the suffix."""
    name = unit.rsplit(".", 1)[0]
    profile = WorkloadProfile(
        cgroup=f"/system.slice/{unit}",
        cgroup_id=number,
        identity=AppIdentity(
            AppKind.SERVICE, name, unit=unit, slice="system.slice", comm=comm or name, uid=uid
        ),
        populated=True,
        seen_ns=1_000 * number,
        nr_procs=2,
        executables=(name,),
        cpu_usage_us=5_000,
    )
    intent = Intent(str(number), IntentClass.NORMAL, IntentSource.DEFAULT, "no rule matched")
    return WorkloadView(profile, intent, pinned=False)


TRIAL: Mapping[str, object] = {
    "policy": "intent-default",
    "sha256": "ab" * 32,
    "kind": "rolled-back",
    "reason": "an operator rolled back",
    "did_well": False,
    "missed": ["latency waited 9000 us (p99), promised 5000"],
    "at_unix_s": 1_700_000_000.0,
    "seconds": 125.0,
    "kernel": "7.3.4-test",
    "machine": {"cpus": 4, "power": "ac"},
    "measures": {"latency_delay_p99_us": 9000.0},
    "workloads": [{"name": "nginx", "executable": "nginx", "intent": "latency"}],
}


class FakeCatalogue:
    """Remembers one trial and every promotion and retirement."""

    def __init__(self, control: FakeControl) -> None:
        self.control = control
        self.events: list[dict[str, object]] = []
        self.asked: dict[str, object] = {}

    def _policy(self, name: str) -> dict[str, object]:
        for policy in self.control.shelf:
            if policy["name"] == name:
                return dict(policy)
        raise NotFoundError(f"there is no policy {name}", hint="one of: intent-default")

    async def show(self, name: str) -> Mapping[str, object]:
        verdict = {"kernel": "7.3.4-test", "by": "shipped", "passed": True, "covers": True}
        return {
            **self._policy(name),
            "standing": "in-force",
            "unfit": "",
            "not_chosen": "",
            "decision": None,
            "object_sha256": "cd" * 32,
            "verdicts": [{"id": "v", "version": "0.1.0", "made_unix_s": 1, **verdict}],
            "verdicts_trouble": "",
            "events": self.events,
            "trials": [TRIAL],
        }

    async def search(self, **asked: object) -> Sequence[Mapping[str, object]]:
        self.asked = asked
        near = {"workload": "nginx", "distance": 0.125, "kind": "replaced", "did_well": True}
        return [
            {**policy, "standing": "in-force", "unfit": "", "score": 0.875, "neighbours": [near]}
            for policy in self.control.shelf
        ]

    async def history(self, name: str, limit: int) -> Mapping[str, object]:
        if name:
            self._policy(name)
        return {"events": self.events[:limit], "trials": [TRIAL][:limit]}

    async def promote(self, name: str, *, actor: str, reason: str) -> Mapping[str, object]:
        return self._decide(name, "promoted", actor, reason)

    async def retire(self, name: str, *, actor: str, reason: str) -> Mapping[str, object]:
        return self._decide(name, "retired", actor, reason)

    def _decide(self, name: str, action: str, actor: str, reason: str) -> Mapping[str, object]:
        found = {**self._policy(name), "standing": action}
        self.control._record(action, name, actor, reason)
        event = {"policy": name, "action": action, "actor": actor, "reason": reason}
        self.events.insert(0, {**event, "at_unix_s": 1.0, "sha256": "ab" * 32})
        return found


class FakeControl:
    def __init__(self, *units: str) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.unsupported = False
        self.broken_config = False
        self.current = STATUS
        self.views: dict[str, WorkloadView] = {}
        self.pinned: dict[str, IntentClass] = {}
        self.observers: list[Observer] = []
        self.records: list[LearnedRecord] = []
        self.handed_in = ""
        self.shelf: list[Mapping[str, object]] = [SHIPPED]
        self.catalogue = FakeCatalogue(self)
        for number, unit in enumerate(units, start=100):
            self.add(view(number, unit))

    # ------------------------------------------------------------ what tests do to it

    def set_status(self, **changes: object) -> None:
        old, self.current = self.current, replace(self.current, **changes)  # type: ignore[arg-type]
        for observer in self.observers:
            observer.status_changed(old, self.current)

    def add(self, new: WorkloadView) -> None:
        self.views[new.profile.id] = new
        for observer in self.observers:
            observer.workload_added(new)
        self.set_status(workloads=len(self.views))

    def change(self, new: WorkloadView) -> None:
        old = self.views[new.profile.id]
        self.views[new.profile.id] = new
        for observer in self.observers:
            observer.workload_changed(old, new)

    def remove(self, workload_id: str) -> None:
        gone = self.views.pop(workload_id)
        for observer in self.observers:
            observer.workload_removed(gone)
        self.set_status(workloads=len(self.views))

    def eject(self) -> None:
        last = ExitRecord(1026, -7, "runnable task stall", "watchdog failed to check in for 5.0s")
        status = SchedulerStatus(False, "intent", deployment_id="d-1", last_exit=last)
        for observer in self.observers:
            observer.ejected(status)
        self.set_status(state=DaemonState.DEFAULT, scheduler="", policy="kernel-default")

    # ------------------------------------------------------------ Control

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        self.observers.append(observer)
        return lambda: self.observers.remove(observer)

    def status(self) -> Status:
        return self.current

    def workloads(self) -> Sequence[WorkloadView]:
        return tuple(self.views.values())

    def find(self, target: str) -> WorkloadView:
        found = [
            each
            for each in self.views.values()
            if target
            in (each.profile.cgroup, each.profile.identity.unit, each.profile.identity.name)
        ]
        if not found:
            raise NotFoundError(f"no workload matches {target!r}", hint="see schedctl list")
        if len(found) > 1:
            raise AmbiguousTargetError(
                f"{target!r} matches {len(found)} workloads", hint="give the cgroup path"
            )
        return found[0]

    async def pin(self, target: str, intent: IntentClass, *, actor: str) -> WorkloadView:
        old = self.find(target)
        self._record("pin", old.profile.cgroup, intent.value, actor)
        self.pinned[old.profile.cgroup] = intent
        new_intent = Intent(old.profile.id, intent, IntentSource.PIN, f"pinned by {actor}")
        new = replace(old, intent=new_intent, pinned=True)
        self.change(new)
        return new

    async def unpin(self, target: str, *, actor: str) -> WorkloadView | None:
        old = self.find(target)
        if old.profile.cgroup not in self.pinned:
            raise NotFoundError(f"{old.profile.cgroup} is not pinned")
        self._record("unpin", old.profile.cgroup, actor)
        del self.pinned[old.profile.cgroup]
        new = replace(view(old.profile.cgroup_id, old.profile.identity.unit))
        self.change(new)
        return new

    def pins(self) -> Mapping[str, IntentClass]:
        return dict(self.pinned)

    async def apply(self, policy: str, *, actor: str) -> Status:
        if self.unsupported:
            raise UnsupportedError("this kernel has no sched_ext", hint="boot 6.12 or newer")
        if self.current.kill_switch:
            raise KilledError("the kill switch is set", hint="schedctl resume")
        if policy not in ("intent-default", "kernel-default", "auto"):
            raise NotFoundError(f"no policy {policy!r}", hint="see schedctl policies")
        self._record("apply", policy, actor)
        self.set_status(policy=policy, policy_source="operator", scheduler="intent")
        return self.current

    async def rollback(self, *, actor: str, reason: str = "") -> Status:
        self._record("rollback", reason, actor)
        old = self.current.policy
        for observer in self.observers:
            observer.rolled_back(old, "kernel-default", reason)
        self.set_status(
            state=DaemonState.DEFAULT,
            reason=reason,
            policy="kernel-default",
            policy_source="rollback",
            scheduler="",
        )
        return self.current

    async def kill(self, *, actor: str, reason: str = "") -> Status:
        self._record("kill", reason, actor)
        self.set_status(
            state=DaemonState.KILLED, reason=reason, kill_switch=True, scheduler="", policy=""
        )
        return self.current

    async def resume(self, *, actor: str) -> Status:
        if not self.current.kill_switch:
            raise InvalidArgumentError("the kill switch is not set")
        self._record("resume", actor)
        self.set_status(state=DaemonState.DEFAULT, reason="resumed", kill_switch=False)
        return self.current

    async def reload(self, *, actor: str) -> None:
        if self.broken_config:
            raise ConfigError(
                "not a number",
                file="/etc/schedcp/schedcpd.yaml",
                line=3,
                field="canary.seconds",
                hint="write 1 to 600",
            )
        self._record("reload", actor)

    async def verify(self, name: str, text: str, *, run: bool, actor: str) -> str:
        self._record("verify", name, str(run), actor)
        self.handed_in = text
        for observer in self.observers:
            observer.verify_progress("v-1", "source")
            observer.verify_ended("v-1", False, "It is bad. [source.bad]")
        return "v-1"

    def verification(self, id_: str) -> Mapping[str, object]:
        if id_ != "v-1":
            raise NotFoundError(f"nothing was verified as {id_!r}")
        checks = [{"name": "source", "status": "failed", "sentence": "It is bad."}]
        return {
            "id": id_,
            "state": "ended",
            "passed": False,
            "sentence": "It is bad. [source.bad]",
            "result": {"checks": checks},
        }

    async def explain(self, target: str) -> Mapping[str, object]:
        if not target:
            return {"deployment": {"id": self.current.deployment_id, "policy": self.current.policy}}
        found = self.find(target)
        return {
            "workload": {"cgroup": found.profile.cgroup, "name": found.profile.identity.name},
            "intent": {
                "class": found.intent.intent_class.value,
                "source": found.intent.source.value,
                "reason": found.intent.reason,
            },
        }

    def history(
        self, *, limit: int = 50, kind: RecordKind | None = None, subject: str = ""
    ) -> Sequence[LearnedRecord]:
        found = [
            record
            for record in reversed(self.records)
            if (kind is None or record.kind is kind) and subject in ("", record.subject)
        ]
        return found[:limit]

    def policies(self) -> Sequence[Mapping[str, object]]:
        return list(self.shelf)

    def _record(self, *call: str) -> None:
        self.calls.append(call)
        self.records.append(
            LearnedRecord(
                RecordKind.OPERATOR,
                at_unix_s=1_700_000_000.0 + len(self.records),
                subject=call[1],
                summary=" ".join(call),
                data={"call": list(call)},
                id=len(self.records) + 1,
            )
        )
