# SPDX-License-Identifier: Apache-2.0
"""The whole room on a tree of plain files, with the kernel's own inotify."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from schedcpd.errors import AmbiguousTargetError, NotFoundError
from schedcpd.host.cgroupfs import Cgroup2
from schedcpd.host.clock import SystemClock
from schedcpd.host.inotify import IN_Q_OVERFLOW, Event, LibcInotify, WatchLimitError
from schedcpd.model import Signal, SignalKind
from schedcpd.observe.observation import Observation
from schedcpd.observe.watcher import CgroupWatcher
from schedcpd.observe.workloads import Change

from .tree import FakeProcesses, FakeTree


class LimitedInotify(LibcInotify):
    """Has room for `room` watches."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def add(self, path: str, mask: int) -> int | None:
        if self.room == 0:
            raise WatchLimitError(errno.ENOSPC, "no room")
        self.room -= 1
        return super().add(path, mask)


@dataclass
class Rig:
    tree: FakeTree
    processes: FakeProcesses
    observation: Observation
    changes: list[Change] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool], seconds: float = 3.0) -> None:
        for _ in range(int(seconds / 0.005)):
            if condition():
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"did not happen; changes: {self.changes}")

    def executable(self, cgroup: str) -> str | None:
        profile = self.observation.table.get(cgroup)
        return profile.identity.executable if profile else None


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    tree, processes = FakeTree(tmp_path), FakeProcesses()
    observation = Observation(
        Cgroup2(tree.root),
        processes,
        LibcInotify,
        SystemClock(),
        relook_ms=(20, 60),
        sample_s=10.0,
        ignore=("/*.mount",),
    )
    rig = Rig(tree, processes, observation)
    observation.listen(rig.changes.append)
    yield rig
    await observation.stop()


async def test_what_was_there_before_is_found(rig: Rig) -> None:
    rig.processes.table[10] = ("nginx", "nginx", 33)
    rig.tree.make("/system.slice")
    rig.tree.make("/system.slice/nginx.service", (10,))
    rig.tree.populated("/system.slice", True)
    await rig.observation.start()
    (profile,) = rig.observation.table.profiles()
    assert profile.cgroup == "/system.slice/nginx.service"
    assert profile.cgroup_id == rig.tree.path(profile.cgroup).stat().st_ino
    assert profile.executables == ("nginx",)
    assert (profile.pressure.avg10, profile.pressure.total_us) == (1.5, 77)


async def test_a_life_from_creation_to_end(rig: Rig) -> None:
    await rig.observation.start()
    rig.processes.table[10] = ("redis-server", "redis-server", 5)
    rig.tree.make("/redis.service")
    rig.tree.fill("/redis.service", 10)
    await rig.until(lambda: rig.executable("/redis.service") == "redis-server")
    rig.tree.fill("/redis.service")
    await rig.until(lambda: not rig.observation.table.profiles())
    assert rig.changes[-1].new is None
    rig.tree.remove("/redis.service")
    rig.tree.make("/redis.service", (10,))  # its next life, under another id
    await rig.until(lambda: rig.executable("/redis.service") == "redis-server")


async def test_children_made_with_their_parent_are_not_missed(rig: Rig) -> None:
    await rig.observation.start()
    rig.processes.table[10] = ("a", "a", 0)
    rig.tree.make("/x.slice")
    rig.tree.make("/x.slice/y.slice")
    rig.tree.make("/x.slice/y.slice/z.service", (10,))
    await rig.until(lambda: rig.executable("/x.slice/y.slice/z.service") == "a")


async def test_the_application_is_seen_after_exec(rig: Rig) -> None:
    await rig.observation.start()
    rig.processes.table[10] = ("systemd-executor", "(nginx)", 0)
    rig.tree.make("/nginx.service", (10,))
    await rig.until(lambda: rig.executable("/nginx.service") == "")
    rig.processes.table[10] = ("nginx", "nginx", 33)
    await rig.until(lambda: rig.executable("/nginx.service") == "nginx")
    assert rig.changes[-1].signal.kind is SignalKind.IDENTIFIED


async def test_processes_that_moved_into_a_child_leave_no_workload_behind(rig: Rig) -> None:
    await rig.observation.start()
    rig.processes.table[10] = ("systemd", "systemd", 1000)
    rig.tree.make("/user@1.service", (10,))
    await rig.until(lambda: rig.observation.table.get("/user@1.service") is not None)
    rig.tree.make("/user@1.service/init.scope", (10,))
    (rig.tree.path("/user@1.service") / "cgroup.procs").write_text("")
    await rig.until(lambda: rig.observation.table.get("/user@1.service") is None)
    assert rig.observation.table.get("/user@1.service/init.scope") is not None


async def test_a_program_started_in_a_session_is_noticed_by_its_cpu_use(rig: Rig) -> None:
    rig.processes.table[10] = ("bash", "bash", 1000)
    rig.tree.make("/user.slice", (), 1000)
    rig.tree.make("/user.slice/session-1.scope", (10,), 1000)
    rig.tree.make("/user.slice/idle.service", (10,), 1000)
    rig.tree.populated("/user.slice", True)
    await rig.observation.start()
    rig.observation._sampler.sample()
    await asyncio.sleep(0.1)  # past the looks after populating
    rig.changes.clear()
    rig.processes.table[11] = ("make", "make", 1000)
    (rig.tree.path("/user.slice/session-1.scope") / "cgroup.procs").write_text("10\n11\n")
    rig.tree.use_cpu("/user.slice", 5_000_000)
    rig.tree.use_cpu("/user.slice/session-1.scope", 5_000_000)
    rig.observation._sampler.sample()
    (change,) = rig.changes
    assert change.new is not None
    assert change.new.executables == ("bash", "make")


async def test_an_idle_machine_costs_one_level_of_reads(rig: Rig) -> None:
    rig.tree.make("/system.slice", (), 50)
    for number in range(30):
        rig.tree.make(f"/system.slice/s{number}.service", (10,), 1)
    await rig.observation.start()
    read: list[str] = []
    fs = rig.observation._fs
    original = fs.cpu_usage_us
    fs.cpu_usage_us = lambda cgroup: read.append(cgroup) or original(cgroup)  # type: ignore[method-assign,func-returns-value]
    rig.observation._sampler.sample()
    assert read == ["/system.slice"]


async def test_ignored_paths_and_the_root_are_no_workloads(rig: Rig) -> None:
    rig.processes.table[10] = ("mount", "mount", 0)
    rig.tree.make("/tmp.mount", (10,))
    await rig.observation.start()
    assert rig.observation.table.profiles() == ()
    rig.observation.configure(relook_ms=(), sample_s=1.0, ignore=())
    assert [p.cgroup for p in rig.observation.table.profiles()] == ["/tmp.mount"]
    rig.observation.configure(relook_ms=(), sample_s=1.0, ignore=("/*.mount",))
    assert rig.observation.table.profiles() == ()


async def test_after_an_overflow_everything_is_looked_at_again(tmp_path: Path) -> None:
    tree, seen = FakeTree(tmp_path), list[Signal]()
    tree.make("/old.service", (1,))
    inotify = LibcInotify()
    watcher = CgroupWatcher(Cgroup2(tree.root), inotify, SystemClock(), seen.append)
    await watcher.start()
    asyncio.get_running_loop().remove_reader(inotify._fd)  # events are lost from here on
    tree.remove("/old.service")
    tree.make("/new.service", (1,))
    seen.clear()
    watcher.handle([Event(-1, IN_Q_OVERFLOW, "")])
    for _ in range(50):
        await asyncio.sleep(0.01)
    assert [(s.kind, s.cgroup) for s in seen] == [
        (SignalKind.EMPTIED, "/old.service"),
        (SignalKind.VANISHED, "/old.service"),
        (SignalKind.CREATED, "/new.service"),
        (SignalKind.POPULATED, "/new.service"),
    ]
    await watcher.stop()


async def test_a_late_event_of_an_earlier_life_does_not_end_the_new_one(tmp_path: Path) -> None:
    tree, seen = FakeTree(tmp_path), list[Signal]()
    watcher = CgroupWatcher(Cgroup2(tree.root), LibcInotify(), SystemClock(), seen.append)
    await watcher.start()
    for _ in range(20):
        tree.make("/flap.service", (1,))
        tree.remove("/flap.service")
    tree.make("/flap.service", (1,))
    await asyncio.sleep(0.2)
    node = watcher.node("/flap.service")
    assert node is not None
    assert node.populated
    assert node.cgroup_id == tree.path("/flap.service").stat().st_ino
    await watcher.stop()


async def test_running_out_of_watches_is_said_and_mended(tmp_path: Path) -> None:
    tree, seen = FakeTree(tmp_path), list[Signal]()
    for number in range(5):
        tree.make(f"/s{number}.service", (1,))
    inotify = LimitedInotify(room=5)  # the root and two cgroups
    watcher = CgroupWatcher(Cgroup2(tree.root), inotify, SystemClock(), seen.append)
    await watcher.start()
    assert "max_user_watches" in watcher.degraded
    assert len([s for s in seen if s.kind is SignalKind.POPULATED]) == 2
    inotify.room = 100
    watcher.rescan()
    await asyncio.sleep(0.2)
    assert watcher.degraded == ""
    assert len([s for s in seen if s.kind is SignalKind.POPULATED]) == 5
    await watcher.stop()


async def test_targets(rig: Rig) -> None:
    rig.processes.table = {
        10: ("nginx", "nginx", 33),
        11: ("worker", "worker", 0),
        12: ("worker", "worker", 0),
    }
    rig.processes.cgroups[10] = "/system.slice/nginx.service"
    rig.tree.make("/system.slice")
    rig.tree.make("/system.slice/nginx.service", (10,))
    rig.tree.make("/system.slice/a.service", (11,))
    rig.tree.make("/system.slice/b.service", (12,))
    await rig.observation.start()
    find = rig.observation.find
    nginx = find("nginx.service")
    for target in ("nginx", "10", "/system.slice/nginx.service", "/system.slice/nginx.service/"):
        assert find(target) == nginx
    assert find(nginx.id) == nginx
    assert find("system.slice").cgroup == "/system.slice"
    with pytest.raises(AmbiguousTargetError, match="worker names 2"):
        find("worker")
    for target in ("/nowhere", "4000000", "nobody"):
        with pytest.raises(NotFoundError):
            find(target)


async def test_ten_thousand_cgroups_are_bounded(rig: Rig) -> None:
    rig.processes.table[10] = ("w", "w", 0)
    template = rig.tree
    template.make("/big.slice")
    for number in range(10_000):
        directory = template.path("/big.slice") / f"{number}.service"
        directory.mkdir()
        (directory / "cgroup.events").write_text("populated 1\n")
        (directory / "cgroup.procs").write_text("10\n")
    worst, last = 0.0, time.thread_time()

    async def pulse() -> None:
        nonlocal worst, last
        while True:
            worst, last = max(worst, time.thread_time() - last), time.thread_time()
            await asyncio.sleep(0)

    task = asyncio.create_task(pulse())
    began = time.thread_time()
    await rig.observation.start()
    assert len(rig.observation.table) == 10_000
    assert time.thread_time() - began < 60
    assert worst < 2.0  # the loop went on turning meanwhile
    task.cancel()
