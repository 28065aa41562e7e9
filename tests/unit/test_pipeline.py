# SPDX-License-Identifier: Apache-2.0
"""The loop from a signal to a record, on a tree of plain files and a fake kernel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schedcpd.config import Config, DeployConfig, ObserveConfig
from schedcpd.deploy.admission import GateAdmission
from schedcpd.errors import BusyError, ConfigErrors, NotFoundError, SchedcpError, UnsupportedError
from schedcpd.host.cgroupfs import Cgroup2
from schedcpd.host.clock import SystemClock
from schedcpd.host.inotify import LibcInotify
from schedcpd.infer.pinstore import PinStore
from schedcpd.learn.store import HistoryStore
from schedcpd.learn.writer import History
from schedcpd.model import (
    Candidate,
    DaemonState,
    ExitKind,
    Intent,
    IntentClass,
    IntentSource,
    KernelBuild,
    RecordKind,
    SchedulerStatus,
    Status,
    Verdict,
    WorkloadProfile,
    WorkloadView,
)
from schedcpd.observe.machine import MachineReader
from schedcpd.observe.observation import Observation
from schedcpd.pipeline import Pipeline, Settings
from schedcpd.policy import repository
from schedcpd.policy.library import Library
from schedcpd.verify.child import Children

from .deploy.rig import KERNEL, Rig
from .observe.tree import FakeProcesses, FakeTree

MANIFEST = """\
name: toy
ops: toy
description: a scheduler for tests
suits: [tests]
bad_at: [everything else]
tunables:
  slice_us: {type: int, unit: us, default: 1000, min: 1, max: 9000, live: false, description: x}
"""
POLICIES = """\
version: 1
policies:
  - name: toy-server
    description: for servers
    scheduler: toy
    intents: [latency, normal, batch]
    chosen_for: [latency]
  - name: other
    description: the same with another scheduler
    scheduler: other
    intents: [latency, normal, batch]
    chosen_for: [latency]
    priority: 1
rules:
  - name: web
    match: {unit: [nginx.service]}
    intent: latency
    why: it answers requests
"""


class FakeAgent:
    """Answers when told to."""

    def __init__(self) -> None:
        self.answer: IntentClass | None = None
        self.asked: list[str] = []
        self.gate = asyncio.Event()

    available = True

    def describe(self) -> str:
        return "idle (a fake)"

    def why(self, profile: WorkloadProfile) -> str:
        return "because" if profile.identity.name in self.asked else ""

    async def infer(self, profile: WorkloadProfile) -> Intent | None:
        self.asked.append(profile.identity.name)
        await self.gate.wait()
        if self.answer is None:
            return None
        return Intent(profile.id, self.answer, IntentSource.AGENT, "it seems so", model="fake")

    async def probe(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Gate:
    """The fake gate of the deploy tests, behind the real admission."""

    def __init__(self, rig: Rig) -> None:
        self._admission = rig.admission

    async def admit(self, candidate: Candidate, kernel: KernelBuild) -> Verdict:
        assert kernel == KERNEL
        return await self._admission.admit(candidate)


class Minter:
    def mint(self, verdict: Verdict, *, kernel: KernelBuild, tunables: Any = None) -> str:
        return f"token for {verdict.object_sha256}"


@dataclass
class Seen:
    """An Observer."""

    statuses: list[Status] = field(default_factory=list)
    added: list[WorkloadView] = field(default_factory=list)
    changed: list[tuple[WorkloadView, WorkloadView]] = field(default_factory=list)
    removed: list[WorkloadView] = field(default_factory=list)
    ejections: list[SchedulerStatus] = field(default_factory=list)
    rollbacks: list[tuple[str, str, str]] = field(default_factory=list)
    verified: list[tuple[str, str]] = field(default_factory=list)

    def status_changed(self, old: Status, new: Status) -> None:
        assert old != new
        self.statuses.append(new)

    def workload_added(self, view: WorkloadView) -> None:
        self.added.append(view)

    def workload_changed(self, old: WorkloadView, new: WorkloadView) -> None:
        self.changed.append((old, new))

    def workload_removed(self, view: WorkloadView) -> None:
        self.removed.append(view)

    def ejected(self, status: SchedulerStatus) -> None:
        self.ejections.append(status)

    def rolled_back(self, old_policy: str, new_policy: str, reason: str) -> None:
        self.rollbacks.append((old_policy, new_policy, reason))

    def verify_progress(self, id_: str, check: str) -> None:
        self.verified.append((id_, check))

    def verify_ended(self, id_: str, passed: bool, sentence: str) -> None:
        self.verified.append((id_, f"passed {passed}: {sentence}"))


class Daemon:
    """A pipeline on a machine that outlives it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.rig, self.tree, self.processes = Rig(base), FakeTree(base), FakeProcesses()
        self.bpf, self.policies = base / "bpf", base / "policies.d"
        self.bpf.mkdir()
        self.policies.mkdir()
        (self.bpf / "toy.bpf.o").write_bytes(b"toy bytes")
        (self.bpf / "toy.manifest.yaml").write_text(MANIFEST)
        (self.bpf / "other.bpf.o").write_bytes(b"other bytes")
        (self.bpf / "other.manifest.yaml").write_text(MANIFEST.replace("toy", "other"))
        (self.policies / "10-toy.yaml").write_text(POLICIES)
        self.config = Config(
            deploy=DeployConfig(hold_down_s=0.0), observe=ObserveConfig(relook_ms=(20,))
        )
        self.verdicts: list[Verdict] = []
        self.new_life()

    def load(self, before: repository.Repository | None) -> Settings:
        return Settings(self.config, repository.load([self.policies], self.bpf, before))

    def new_life(self) -> None:
        self.rig.machine.host = None
        self.rig.manager = self.rig._new()
        self.agent, self.seen, self.applied = FakeAgent(), Seen(), list[Settings]()
        clock = SystemClock()
        store = HistoryStore(self.base / "history.sqlite", clock, keep_days=9, max_rows=999)
        admission = GateAdmission(Gate(self.rig), KERNEL, Minter)
        self.rig.manager._swap._admission = admission
        self.rig.manager._core.clock = clock
        self.pipeline = Pipeline(
            settings=self.load(None),
            load=self.load,
            applied=self.applied.append,
            observation=Observation(
                Cgroup2(self.tree.root),
                self.processes,
                LibcInotify,
                clock,
                relook_ms=(20,),
                sample_s=60.0,
                ignore=(),
            ),
            machine=MachineReader(self.base),
            deploy=self.rig.manager,
            admission=admission,
            history=History(store),
            pins=PinStore(self.base / "pins.json"),
            agent=self.agent,
            library=Library(self.base / "policies.sqlite", clock),
            verdicts=lambda scheduler, sha256: self.verdicts,
            workshop=Children(),
            clock=clock,
            kernel=KERNEL.release,
        )
        self.pipeline.subscribe(self.seen)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.pipeline.start()
        self._running = asyncio.create_task(self.pipeline.run())

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self.pipeline.stop()

    def begin(self, cgroup: str, executable: str, pid: int) -> None:
        """A unit starts."""
        self.processes.table[pid] = (executable, executable, 0)
        self.tree.make(cgroup, (pid,))

    def told(self, cgroup: str) -> IntentClass | None:
        """What stands in the scheduler's map."""
        return self.rig.machine.intents.get(self.tree.path(cgroup).stat().st_ino)

    def intent(self, cgroup: str) -> Intent:
        return self.pipeline.find(cgroup).intent

    async def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        for _ in range(int(seconds / 0.01)):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"did not happen; {self.pipeline.status()}")

    async def active(self) -> None:
        self.begin("/nginx.service", "nginx", 10)
        await self.start()
        await self.until(lambda: self.pipeline.status().state is DaemonState.ACTIVE)


@pytest_asyncio.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    await daemon.stop()


async def test_from_a_signal_to_the_map_and_the_record(daemon: Daemon) -> None:
    await daemon.active()
    status = daemon.pipeline.status()
    assert (status.scheduler, status.policy, status.policy_source) == ("toy", "toy-server", "auto")
    assert status.verdict_id.startswith("verdict-")
    assert daemon.told("/nginx.service") is IntentClass.LATENCY
    daemon.begin("/build.service", "make", 11)
    await daemon.until(lambda: daemon.told("/build.service") is IntentClass.BATCH)
    assert daemon.rig.kernel.seq == 1  # written live, not reloaded
    kinds = {record.kind for record in daemon.pipeline.history()}
    assert {RecordKind.DECISION, RecordKind.DEPLOYMENT} <= kinds
    assert {v.profile.cgroup for v in daemon.seen.added} == {"/nginx.service", "/build.service"}
    assert daemon.seen.statuses[-1] == daemon.pipeline.status()
    daemon.tree.fill("/build.service")
    await daemon.until(lambda: daemon.told("/build.service") is None)
    assert [v.profile.cgroup for v in daemon.seen.removed] == ["/build.service"]


async def test_nothing_is_loaded_while_nothing_is_wanted(daemon: Daemon) -> None:
    daemon.begin("/unknown.service", "xyz", 10)
    daemon.begin("/schedcpd.service", "schedcpd", 11)
    await daemon.start()
    await asyncio.sleep(0.3)
    assert daemon.pipeline.status().state is DaemonState.DEFAULT
    assert daemon.rig.machine.loads == []


async def test_everything_can_be_explained(daemon: Daemon) -> None:
    await daemon.active()
    found = json.loads(json.dumps(await daemon.pipeline.explain("nginx")))
    assert found["signal"]["kind"] == "populated"
    assert found["workload"]["unit"] == "nginx.service"
    assert found["intent"]["class"] == "latency"
    assert found["intent"]["rule"] == "10-toy.yaml:web"
    assert found["candidate"]["policy"] == "toy-server"
    assert found["candidate"]["rejected"][0]["policy"] == "kernel-default"
    assert found["verdict"]["object_sha256"] == found["deployment"]["object_sha256"]
    await daemon.pipeline.rollback(actor="test", reason="no good")
    found = json.loads(json.dumps(await daemon.pipeline.explain("")))
    assert found["last_outcome"]["kind"] == "rolled-back"
    assert found["last_outcome"]["measures"]["latency_runs"] == 2


async def test_pins_hold_for_what_is_below_and_survive(daemon: Daemon) -> None:
    daemon.tree.make("/a.slice")
    daemon.begin("/a.slice/one.service", "one", 11)
    await daemon.active()
    view = await daemon.pipeline.pin("a.slice", IntentClass.BATCH, actor="uid 0")
    assert (view.pinned, view.intent.source) == (True, IntentSource.PIN)
    assert daemon.intent("/a.slice/one.service").source is IntentSource.INHERITED
    await daemon.until(lambda: daemon.told("/a.slice/one.service") is IntentClass.BATCH)
    assert daemon.told("/a.slice") is IntentClass.BATCH  # for children before we see them
    await daemon.pipeline.pin("one.service", IntentClass.LATENCY, actor="uid 0")
    assert daemon.intent("/a.slice/one.service").intent_class is IntentClass.LATENCY
    await daemon.stop()
    daemon.new_life()
    await daemon.start()
    assert daemon.pipeline.pins() == {
        "/a.slice": IntentClass.BATCH,
        "/a.slice/one.service": IntentClass.LATENCY,
    }
    assert daemon.intent("/a.slice/one.service").intent_class is IntentClass.LATENCY
    await daemon.pipeline.unpin("/a.slice/one.service", actor="uid 0")
    await daemon.pipeline.unpin("a.slice", actor="uid 0")
    await daemon.until(lambda: daemon.told("/a.slice") is None)
    assert daemon.intent("/a.slice/one.service").source is IntentSource.DEFAULT
    with pytest.raises(NotFoundError, match="not pinned"):
        await daemon.pipeline.unpin("a.slice", actor="uid 0")


async def test_a_pin_of_a_cgroup_that_is_gone_can_be_taken_back(daemon: Daemon) -> None:
    await daemon.active()
    await daemon.pipeline.pin("nginx", IntentClass.BATCH, actor="uid 0")
    daemon.tree.remove("/nginx.service")
    await daemon.until(lambda: not daemon.pipeline.workloads())
    assert await daemon.pipeline.unpin("/nginx.service", actor="uid 0") is None


async def test_a_pin_that_cannot_be_kept_is_not_made(daemon: Daemon) -> None:
    await daemon.active()
    (daemon.base / "pins.json").mkdir()
    with pytest.raises(SchedcpError, match=r"cannot write .*pins\.json"):
        await daemon.pipeline.pin("nginx", IntentClass.BATCH, actor="uid 0")
    assert daemon.intent("/nginx.service").source is IntentSource.RULE


async def test_where_nothing_can_run_a_pin_is_refused_and_not_kept(daemon: Daemon) -> None:
    daemon.begin("/nginx.service", "nginx", 11)
    daemon.rig.manager._core.unsupported = "this kernel has no sched_ext"
    with pytest.raises(UnsupportedError, match="sched_ext"):
        await daemon.pipeline.pin("nginx", IntentClass.BATCH, actor="uid 0")
    assert daemon.pipeline.pins() == {}


async def test_the_agent_is_asked_only_of_the_unknown_and_never_waited_for(daemon: Daemon) -> None:
    daemon.begin("/unknown.service", "xyz", 11)
    await daemon.active()
    assert daemon.intent("/unknown.service").source is IntentSource.DEFAULT
    await daemon.until(lambda: daemon.agent.asked)
    assert daemon.agent.asked == ["unknown"]
    assert daemon.told("/unknown.service") is IntentClass.NORMAL  # the default stands meanwhile
    daemon.agent.answer = IntentClass.BATCH
    daemon.agent.gate.set()
    await daemon.until(lambda: daemon.told("/unknown.service") is IntentClass.BATCH)
    assert daemon.intent("/unknown.service").source is IntentSource.AGENT
    old, new = daemon.seen.changed[-1]
    assert (old.intent.source, new.intent.source) == (IntentSource.DEFAULT, IntentSource.AGENT)
    # another program in the same cgroup is another question
    daemon.processes.table[11] = ("abc", "abc", 0)
    daemon.pipeline._observation.refresh(new.profile)
    await daemon.until(lambda: len(daemon.agent.asked) == 2)


async def test_reload_follows_the_files_and_keeps_what_is_broken(daemon: Daemon) -> None:
    await daemon.active()
    path = daemon.policies / "10-toy.yaml"
    path.write_text(POLICIES.replace("intent: latency", "intent: batch"))
    await daemon.pipeline.reload(actor="SIGHUP")
    assert daemon.intent("/nginx.service").intent_class is IntentClass.BATCH
    assert len(daemon.applied) == 1
    path.write_text(POLICIES.replace("intent: latency", "intent: quick"))
    with pytest.raises(ConfigErrors) as caught:
        await daemon.pipeline.reload(actor="SIGHUP")
    assert f"{path}:17: rules[0].intent" in str(caught.value)
    assert daemon.intent("/nginx.service").intent_class is IntentClass.BATCH


async def test_an_ejection_reaches_observers_and_history(daemon: Daemon) -> None:
    await daemon.active()
    daemon.rig.machine.end(ExitKind.ERROR_STALL, "runnable task stall")
    await daemon.until(lambda: daemon.pipeline.status().state is DaemonState.DEFAULT)
    assert "runnable task stall" in daemon.pipeline.status().reason
    assert daemon.seen.ejections[0].last_exit is not None
    assert daemon.seen.rollbacks[0][:2] == ("toy-server", "kernel-default")
    (record,) = daemon.pipeline.history(kind=RecordKind.OUTCOME)
    assert "ERROR_STALL" in record.summary
    await asyncio.sleep(0.3)
    loads = daemon.rig.machine.loads
    assert len(loads) == len(set(loads))  # the planner tries another, never the same again


async def test_after_the_ejection_of_a_chosen_policy_the_last_good_one_stays(
    daemon: Daemon,
) -> None:
    await daemon.active()
    daemon.rig.manager.set_limits(replace(daemon.rig.limits, canary_s=0.0))
    await daemon.pipeline.apply("other", actor="uid 0")
    daemon.rig.machine.end(ExitKind.ERROR, "a fault")
    await daemon.until(lambda: daemon.pipeline.status().policy == "toy-server")
    await asyncio.sleep(0.5)
    status = daemon.pipeline.status()
    assert (status.policy, status.policy_source) == ("toy-server", "fallback")


async def test_kill_and_resume(daemon: Daemon) -> None:
    await daemon.active()
    status = await daemon.pipeline.kill(actor="uid 0", reason="too hot")
    assert (status.state, status.reason, status.kill_switch) == (
        DaemonState.KILLED,
        "too hot",
        True,
    )
    await daemon.pipeline.resume(actor="uid 0")
    await daemon.until(lambda: daemon.pipeline.status().state is DaemonState.ACTIVE)
    operator = [r.data["action"] for r in daemon.pipeline.history(kind=RecordKind.OPERATOR)]
    assert operator == ["resume", "kill"]


async def test_apply(daemon: Daemon) -> None:
    await daemon.active()
    status = await daemon.pipeline.apply("kernel-default", actor="uid 0")
    assert (status.state, status.policy_source) == (DaemonState.DEFAULT, "operator")
    await asyncio.sleep(0.3)
    assert daemon.pipeline.status().state is DaemonState.DEFAULT  # the planner keeps off
    status = await daemon.pipeline.apply("toy-server", actor="uid 0")
    assert (status.policy, status.policy_source) == ("toy-server", "operator")
    with pytest.raises(NotFoundError, match="there is no policy"):
        await daemon.pipeline.apply("toy-servre", actor="uid 0")
    await daemon.pipeline.apply("auto", actor="uid 0")
    assert daemon.rig.manager.wanted == ("auto", "auto")


async def test_a_rollback_is_not_undone_by_the_planner(daemon: Daemon) -> None:
    await daemon.active()
    status = await daemon.pipeline.rollback(actor="uid 0", reason="slow")
    assert (status.state, status.policy_source) == (DaemonState.DEFAULT, "rollback")
    await asyncio.sleep(0.3)
    assert daemon.pipeline.status().state is DaemonState.DEFAULT


async def test_a_configured_policy_is_deployed(daemon: Daemon) -> None:
    daemon.config = replace(daemon.config, policy="toy-server")
    daemon.new_life()
    await daemon.start()
    await daemon.until(lambda: daemon.pipeline.status().state is DaemonState.ACTIVE)


async def test_no_cgroup_v2_means_unsupported_and_harmless(daemon: Daemon) -> None:
    (daemon.tree.root / "cgroup.controllers").unlink()
    daemon.rig.kernel.missing = "no sched_ext"
    daemon.new_life()
    await daemon.start()
    assert daemon.pipeline.status().state is DaemonState.UNSUPPORTED
    assert daemon.pipeline.workloads() == ()
    with pytest.raises(SchedcpError):
        await daemon.pipeline.apply("toy-server", actor="uid 0")
    assert not daemon.rig.machine.alive


async def test_a_second_change_at_the_same_time_is_busy(daemon: Daemon) -> None:
    await daemon.active()
    daemon.rig.admission.wait = asyncio.Event()
    await daemon.pipeline.apply("kernel-default", actor="a")
    first = asyncio.create_task(daemon.pipeline.apply("toy-server", actor="a"))
    await asyncio.sleep(0.05)
    with pytest.raises(BusyError):
        await daemon.pipeline.apply("toy-server", actor="b")
    daemon.rig.admission.wait.set()
    assert (await first).policy == "toy-server"
