# SPDX-License-Identifier: Apache-2.0
"""A kernel, a scheduler host and a gate of a few lines each, that break when told to.

The fake host checks the promises of deploying at the moment they matter: when it is asked to load.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schedcpd.deploy.manager import DeployManager
from schedcpd.deploy.ports import Limits
from schedcpd.deploy.state import Deployment, KillSwitch, StateStore
from schedcpd.errors import SchedulerHostError, VerifyError
from schedcpd.host.scx import ScxSnapshot
from schedcpd.host.vitals import Vitals
from schedcpd.model import (
    Candidate,
    CandidateKind,
    ExitKind,
    ExitRecord,
    IntentClass,
    KernelBuild,
    Outcome,
    SchedulerStatus,
    ScxState,
    Tunable,
    Verdict,
    VerdictOrigin,
)

KERNEL = KernelBuild("7.3.4", "#1", "ab" * 20)


@dataclass
class FakeClock:
    ns: int = 10**12
    unix: float = 1_700_000_000.0

    def monotonic_ns(self) -> int:
        self.ns += 20_000_000  # time passes with every look at it
        return self.ns

    def unix_s(self) -> float:
        return self.unix

    def pass_s(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)
        self.unix += seconds


@dataclass
class FakeKernel:
    """/sys/kernel/sched_ext."""

    ops: str = ""
    seq: int = 0
    boot: str = "boot-1"
    missing: str = ""

    def attach(self, ops: str) -> int:
        assert not self.ops, "-EBUSY: two schedulers at once"
        self.ops = ops
        self.seq += 1
        return self.seq

    def snapshot(self) -> ScxSnapshot:
        state = ScxState.ENABLED if self.ops else ScxState.DISABLED
        return ScxSnapshot(state, self.ops, self.seq)

    def unsupported(self) -> str:
        return self.missing

    def kernel(self) -> str:
        return KERNEL.release

    def boot_id(self) -> str:
        return self.boot


@dataclass
class FakeVitals:
    """The kernel's counters; tests write them."""

    waited_us: int | None = 0
    errors: int = 0
    busy_s: float = 0.0
    runnable: int = 4
    idle_s: float = 0.0

    def read(self) -> Vitals:
        return Vitals(self.waited_us, self.errors, self.busy_s, self.runnable, self.idle_s)


class FakeMachine:
    """One scheduler host process and the socket that starts it; outlives the daemon."""

    def __init__(self, kernel: FakeKernel, record: Path, kill_switch: Path) -> None:
        self.kernel, self.record, self.kill_switch = kernel, record, kill_switch
        self.socket = True
        self.alive = False
        self.status = SchedulerStatus(attached=False)
        self.intents: dict[int, IntentClass] = {}
        self.host: FakeHost | None = None  # the daemon that is connected
        self.loading = False
        self.loads: list[str] = []
        self.programs: list[tuple[str, str]] = []  # external ones, with their mode
        self.refuse_load = ""
        self.hang_load = False
        self.deaf = False
        self.classes: dict[str, dict[str, Any]] = {
            "latency": {"runs": 2, "delay_ns": 4000, "delay_hist": [0, 2] + [0] * 62}
        }
        self.asked = asyncio.Event()  # for its counters
        self.died = asyncio.Event()

    def end(self, kind: ExitKind, reason: str = "reason", code: int = 0) -> None:
        """The kernel throws the scheduler out; the host lives on and says so."""
        assert self.status.attached
        self.kernel.ops = ""
        self.status = SchedulerStatus(
            attached=False,
            deployment_id=self.status.deployment_id,
            object_sha256=self.status.object_sha256,
            last_exit=ExitRecord(kind, code, reason, ""),
        )
        if self.host is not None:
            self.host.ejected(self.status)

    def die(self) -> None:
        """SIGKILL, or `systemctl stop`: the link closes with the process."""
        if not self.alive:
            return
        self.alive = False
        self.died.set()
        if self.status.attached:
            self.kernel.ops = ""
        self.status = SchedulerStatus(attached=False)
        host, self.host = self.host, None
        if host is not None:
            host.closed()


class FakeHost:
    """The client side, one for each life of the daemon."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        self.ejected: Callable[[SchedulerStatus], None] = lambda _s: None
        self.closed: Callable[[], None] = lambda: None

    def listen(
        self, ejected: Callable[[SchedulerStatus], None], closed: Callable[[], None]
    ) -> None:
        self.ejected, self.closed = ejected, closed

    @property
    def connected(self) -> bool:
        return self.machine.host is self

    async def connect(self) -> None:
        if not self.machine.socket and not self.machine.alive:
            raise SchedulerHostError("cannot reach the socket: refused")
        self.machine.alive = True
        self.machine.host = self

    async def disconnect(self) -> None:
        if self.connected:
            self.machine.host = None

    def _need(self) -> FakeMachine:
        if not self.connected or not self.machine.alive:
            raise SchedulerHostError("not connected")
        return self.machine

    async def load(
        self,
        *,
        scheduler: str,
        object_path: str,
        sha256: str,
        tunables: Mapping[str, Tunable],
        intents: Mapping[int, IntentClass],
        deployment_id: str,
        token: str,
    ) -> SchedulerStatus:
        machine = self._need()
        assert not machine.loading, "two deployments at once"
        assert token == f"token for {sha256}"
        assert not machine.kill_switch.exists(), "loaded with the kill switch latched"
        recorded = json.loads(machine.record.read_text())
        assert recorded["pending"]["id"] == deployment_id, "the swap is not on disk before it"
        if machine.status.attached:
            assert recorded["current"]["id"] == machine.status.deployment_id
        machine.loading = True
        try:
            machine.loads.append(sha256)
            await asyncio.sleep(0)
            if machine.hang_load:
                await machine.died.wait()
            self._need()
            if machine.refuse_load == "before":
                raise SchedulerHostError("the verifier said no")
            if machine.status.attached:
                machine.kernel.ops = ""
                machine.status = SchedulerStatus(attached=False)
            if machine.refuse_load == "after":
                raise SchedulerHostError("the attach failed")
            seq = machine.kernel.attach(scheduler)
            machine.intents = dict(intents)
            machine.status = SchedulerStatus(
                attached=True,
                scheduler=scheduler,
                ops_name=scheduler,
                object_sha256=sha256,
                tunables=dict(tunables),
                deployment_id=deployment_id,
                enable_seq=seq,
                host_pid=4242,
            )
            return machine.status
        finally:
            machine.loading = False

    async def run_program(
        self,
        *,
        program: str,
        mode: str,
        sha256: str,
        deployment_id: str,
        token: str,
        timeout_s: float,
    ) -> SchedulerStatus:
        assert timeout_s > 0
        self.machine.programs.append((program, mode))
        return await self.load(
            scheduler=program,
            object_path="",
            sha256=sha256,
            tunables={"mode": mode},
            intents={},
            deployment_id=deployment_id,
            token=token,
        )

    async def unload(self, reason: str) -> SchedulerStatus:
        machine = self._need()
        if machine.status.attached:
            machine.kernel.ops = ""
            machine.status = SchedulerStatus(attached=False)
        return machine.status

    async def status(self) -> SchedulerStatus:
        return self._need().status

    async def set_intents(self, set_: Mapping[int, IntentClass], delete: Iterable[int]) -> int:
        machine = self._need()
        machine.intents.update(set_)
        for key in delete:
            machine.intents.pop(key, None)
        return len(set_)

    async def stats(self, cgroups: Iterable[int] | None) -> Mapping[str, Any]:
        self._need()
        self.machine.asked.set()
        if self.machine.deaf:
            raise SchedulerHostError("no answer to stats within 10 s")
        return {"classes": self.machine.classes}

    def end_process(self) -> None:
        self.machine.die()


class FakeAdmission:
    def __init__(self) -> None:
        self.refuse = False
        self.wait: asyncio.Event | None = None
        self.mint_wait: asyncio.Event | None = None

    async def admit(self, candidate: Candidate) -> Verdict:
        if self.wait is not None:
            await self.wait.wait()
        if self.refuse:
            raise VerifyError("no verdict")
        return Verdict(
            id=f"verdict-{candidate.object_sha256}",
            passed=True,
            scheduler=candidate.scheduler,
            object_sha256=candidate.object_sha256,
            tunables=candidate.tunables,
            kernel=KERNEL,
            vm_image="",
            checks=(),
            made_unix_s=0,
            origin=VerdictOrigin.LOCAL,
            schedcp_version="0",
        )

    async def mint(self, verdict: Verdict, candidate: Candidate) -> str:
        if self.mint_wait is not None:
            await self.mint_wait.wait()
        return f"token for {verdict.object_sha256}"


@dataclass
class Told:
    """What the listener heard."""

    started: list[Deployment] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    ejections: list[SchedulerStatus] = field(default_factory=list)
    rollbacks: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    promoted: list[str] = field(default_factory=list)
    free: int = 0
    changes: int = 0

    def deploy_changed(self) -> None:
        self.changes += 1

    def deploy_free(self) -> None:
        self.free += 1

    def deploy_started(self, deployment: Deployment, status: SchedulerStatus) -> None:
        self.started.append(deployment)

    def deploy_finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def deploy_ejected(self, status: SchedulerStatus) -> None:
        self.ejections.append(status)

    def deploy_rolled_back(self, old_policy: str, new_policy: str, reason: str) -> None:
        self.rollbacks.append((old_policy, new_policy, reason))

    def deploy_promoted(self, deployment: Deployment, measures: Mapping[str, float]) -> None:
        self.promoted.append(deployment.policy)

    def deploy_note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def deploy_write_failed(self, reason: str) -> None:
        self.notes.append(reason)


class Rig:
    """A machine and the daemon's manager on it, which can die and come back."""

    def __init__(self, base: Path, *, kill_wait_s: float = 5.0, word_wait_s: float = 5.0) -> None:
        self.kernel, self.clock, self.vitals = FakeKernel(), FakeClock(), FakeVitals()
        self.record, self.kill_path = base / "deploy.json", base / "kill-switch"
        self.machine = FakeMachine(self.kernel, self.record, self.kill_path)
        self.admission, self.told = FakeAdmission(), Told()
        self.limits = Limits(kill_wait_s=kill_wait_s, word_wait_s=word_wait_s, settle_s=0.3)
        self.manager = self._new()

    def _new(self) -> DeployManager:
        manager = DeployManager(
            host=FakeHost(self.machine),
            admission=self.admission,
            scx=self.kernel,
            vitals=self.vitals,
            clock=self.clock,
            store=StateStore(self.record),
            kill_switch=KillSwitch(self.kill_path),
            limits=self.limits,
            kernel_build_id=KERNEL.build_id,
        )
        manager.listen(self.told)
        return manager

    async def restart_daemon(self) -> None:
        """SIGKILL and a new start: nothing is said to anyone."""
        self.machine.host = None
        self.manager = self._new()
        await self.manager.start()

    async def pass_canary(self) -> None:
        """What runs is looked at until it is trusted."""
        self.clock.pass_s(self.limits.canary_s + 1)
        for _ in range(2):
            await self.manager.look()

    async def settle(self) -> None:
        """Lets every task that an event started come to its end."""
        loop = asyncio.get_running_loop()
        end = loop.time() + 60
        while loop.time() < end:
            await asyncio.sleep(0)
            if not self.manager._core._tasks and not self.manager._core.lock.locked():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("something is still under way")


def candidate(name: str, **tunables: Tunable) -> Candidate:
    """Policies and schedulers of the same name; bytes by name."""
    return Candidate(
        kind=CandidateKind.RECONFIGURE,
        policy=name,
        scheduler=name,
        object_path=f"/bpf/{name}.bpf.o",
        object_sha256=f"sha-{name}",
        tunables=tunables,
        reason=f"{name} is wanted",
    )


def external(program: str, mode: str = "auto") -> Candidate:
    """A policy of an external scheduler, named as its program and mode."""
    return Candidate(
        kind=CandidateKind.EXTERNAL,
        policy=f"{program}-{mode}",
        scheduler=program,
        object_path=f"/usr/bin/{program}",
        object_sha256=f"sha-{program}",
        tunables={"mode": mode},
        reason=f"{program} is wanted",
    )


KERNEL_DEFAULT = Candidate(
    CandidateKind.DEFAULT, "kernel-default", "", "", "", {}, "nothing is wanted"
)
