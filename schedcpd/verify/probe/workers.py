# SPDX-License-Identifier: Apache-2.0
"""The load: processes that each want the CPU in one way and say how they were served.

Mixed on purpose: hogs, tasks held to one CPU, one whose mask keeps changing, a very light one,
sleepers, a pair that wakes each other, one that forks, one that makes and empties cgroups, and
one that needs a kernel thread of every CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schedcpd.verify.probe.slots import Slot, Slots

SLEEP_S = 0.01
PAUSE_S = 0.005  # between two rounds of those that are no hogs
CGROUP = Path("/sys/fs/cgroup/schedcp-verify")
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Worker:
    """`kind` groups what is judged alike; `body` never returns."""

    name: str
    kind: str
    body: Callable[[Slot], None]


def _work() -> None:
    """About a millisecond of computing under emulation, less on bare metal."""
    total = 0
    for number in range(4000):
        total += number


def hog(slot: Slot) -> None:
    while True:
        _work()
        slot.step()


def light(nice: int) -> Callable[[Slot], None]:
    def body(slot: Slot) -> None:
        os.nice(nice)
        hog(slot)

    return body


def pinned(cpu: int) -> Callable[[Slot], None]:
    def body(slot: Slot) -> None:
        os.sched_setaffinity(0, {cpu})
        while True:
            _work()
            if _LIBC.sched_getcpu() != cpu:
                slot.violation()
            slot.step()

    return body


def churner(slot: Slot) -> None:
    """Moves itself by its mask. A task sees its new mask obeyed when the call returns."""
    cpus = sorted(os.sched_getaffinity(0))
    while True:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
            if _LIBC.sched_getcpu() != cpu:
                slot.violation()
            time.sleep(0.002)
            if _LIBC.sched_getcpu() != cpu:
                slot.violation()
            slot.step()


def sleeper(slot: Slot) -> None:
    while True:
        before = time.monotonic_ns()
        time.sleep(SLEEP_S)
        slot.step(late_ns=time.monotonic_ns() - before - int(SLEEP_S * 1e9))


def ping_pong(slot: Slot) -> None:
    """Two processes that wake each other through pipes."""
    there, back = os.pipe(), os.pipe()
    if os.fork() == 0:
        _die_with_parent()
        while os.read(there[0], 1):
            os.write(back[1], b"x")
        os._exit(0)
    while True:
        before = time.monotonic_ns()
        os.write(there[1], b"x")
        os.read(back[0], 1)
        slot.step(late_ns=time.monotonic_ns() - before)
        time.sleep(PAUSE_S)


def forker(slot: Slot) -> None:
    while True:
        child = os.fork()
        if child == 0:
            _work()
            os._exit(0)
        os.waitpid(child, 0)
        slot.step()
        time.sleep(PAUSE_S)


def cgroup_churner(slot: Slot) -> None:
    """Makes a cgroup, runs a task in it, removes it."""
    number = 0
    while True:
        number += 1
        path = CGROUP / f"churn-{os.getpid()}-{number}"
        path.mkdir()
        with contextlib.suppress(OSError):  # without the cpu controller there is no weight
            (path / "cpu.weight").write_text(str(1 + number % 10000))
        child = os.fork()
        if child == 0:
            (path / "cgroup.procs").write_text("0")
            _work()
            time.sleep(0.001)  # it is queued once more, in its new group
            _work()
            os._exit(0)
        os.waitpid(child, 0)
        while True:
            try:
                path.rmdir()
                break
            except OSError:  # the kernel has not let go of the exited task yet
                time.sleep(0.001)
        slot.step()
        time.sleep(PAUSE_S)


def kernel_threads(slot: Slot) -> None:
    """Needs a kernel worker of each CPU in turn (mm/vmstat.c: vmstat_refresh).

    Runs above every normal task itself, so that only the kernel threads can make it late.
    """
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
    while True:
        before = time.monotonic_ns()
        Path("/proc/sys/vm/stat_refresh").read_bytes()
        slot.step(late_ns=time.monotonic_ns() - before)
        time.sleep(0.1)


def mixture(cpus: Sequence[int]) -> tuple[Worker, ...]:
    """The load for these CPUs: a good two tasks that always want to run on each."""
    return (
        *(Worker(f"hog{n}", "hog", hog) for n in range(len(cpus))),
        *(Worker(f"pinned{cpu}", "pinned", pinned(cpu)) for cpu in cpus),
        Worker("nice10", "hog", light(10)),
        Worker("nice19", "light", light(19)),
        Worker("churner", "affinity", churner),
        *(Worker(f"sleeper{n}", "sleeper", sleeper) for n in range(2)),
        Worker("ping-pong", "wakeup", ping_pong),
        Worker("forker", "fork", forker),
        Worker("cgroups", "cgroup", cgroup_churner),
        Worker("kernel-threads", "kthread", kernel_threads),
    )


def make_cgroup() -> None:
    """The cgroup of the load, with the cpu controller for those below it.

    Without the controller the kernel never tells a scheduler that a cgroup came or went.
    """
    CGROUP.mkdir(exist_ok=True)
    for folder in (CGROUP.parent, CGROUP):
        (folder / "cgroup.subtree_control").write_text("+cpu")


def restless(slot: Slot) -> None:
    """Computes nearly all the time, and may move at every turn: it sleeps between two."""
    while True:
        for _ in range(20):
            _work()
        slot.step()
        time.sleep(0.001)


def free_to_move(cpus: Sequence[int]) -> tuple[Worker, ...]:
    """Work for all these CPUs that may run on any of them, two for each."""
    return tuple(Worker(f"restless{n}", "restless", restless) for n in range(2 * len(cpus)))


def start(workers: Sequence[Worker], slots: Slots) -> list[int]:
    """Forks every worker; returns their pids. They die with this process."""
    pids = []
    for number, worker in enumerate(workers):
        pid = os.fork()
        if pid == 0:
            _become(worker, slots.slot(number))
        pids.append(pid)
    return pids


def stop_soon(pids: Sequence[int], seconds: float) -> None:
    """Kills them, and reaps those that die in time: a task that a scheduler lost cannot."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    left, until = set(pids), time.monotonic() + seconds
    while left and time.monotonic() < until:
        left = {pid for pid in left if os.waitpid(pid, os.WNOHANG)[0] == 0}
        time.sleep(0.01)


def stop(pids: Sequence[int]) -> None:
    """Kills and reaps them, and removes what cgroups they left."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    for path in CGROUP.glob("churn-*"):
        with contextlib.suppress(OSError):  # a task may still be leaving; the VM is thrown away
            path.rmdir()


def _become(worker: Worker, slot: Slot) -> None:
    """The child's whole life. Its slot not moving is how trouble in here shows."""
    try:
        _die_with_parent()
        os.setpgid(0, 0)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        slot.begin()
        worker.body(slot)
    except OSError as error:
        os.write(2, f"worker {worker.name}: {error}\n".encode())
    finally:
        os._exit(1)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
