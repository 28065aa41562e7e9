# SPDX-License-Identifier: Apache-2.0
"""Times changes from one sched_ext scheduler to another, on the machine it runs on. Prints JSON.

Reads JSON from standard input: `sides`, each with a `name` and two `policies` (the daemon changes
between them) or two `programs` (argument lists; each is ended by SIGINT, waited for, and the other
one started, as scx_loader does); `rounds` of `swaps` each; whether to `probe` the kernel.

What a task goes through is told by the kernel, not by who makes the change: probes on functions of
kernel/sched/ext say when one sleeping task was put into the fair class (switched_from_scx) and back
out of it (switching_to_scx), and when the kernel began and ceased to pass over the scheduler's own
decisions (scx_bypass). Run as root where schedcpd.service is active.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCX = Path("/sys/kernel/sched_ext")
TRACING = Path("/sys/kernel/tracing")
GROUP = "schedcp_swap"
PROBES = {
    "left": "switched_from_scx pid=p->pid",
    "back": "switching_to_scx pid=p->pid",
    "bypass": "scx_bypass",
}
LINE = re.compile(r"\s(\d+)\.(\d{6}): (left|back|bypass): ")
LIMIT_S = 300.0
SCHEDCP = ("org.schedcp.SchedCP1", "/org/schedcp/SchedCP1", "org.schedcp.SchedCP1")
Swap = dict[str, float]


class Probes:
    """The kernel's own account of one swap; `task` is whose class is watched."""

    def __init__(self, task: int) -> None:
        if not (TRACING / "trace").exists():
            subprocess.run(["mount", "-t", "tracefs", "nodev", TRACING], check=True)
        for name, where in PROBES.items():  # not by open(): this file cannot be sought in
            events = os.open(TRACING / "kprobe_events", os.O_WRONLY | os.O_APPEND)
            os.write(events, f"p:{GROUP}/{name} {where}\n".encode())
            os.close(events)
        self._at = TRACING / "instances" / GROUP
        self._at.mkdir(exist_ok=True)
        (self._at / "trace_clock").write_text("mono")
        for name in PROBES:
            event = self._at / "events" / GROUP / name
            if name != "bypass":
                (event / "filter").write_text(f"pid == {task}")
            (event / "enable").write_text("1")

    def forget(self) -> None:
        (self._at / "trace").write_text("")

    def seen(self) -> Swap:
        """`fair_us`: the task was in the fair class. `bypass_us`: no scheduler of BPF decided."""
        text = (self._at / "trace").read_text()
        at: dict[str, list[int]] = {name: [] for name in PROBES}
        for seconds, micros, name in LINE.findall(text):
            at[name].append(int(seconds) * 1_000_000 + int(micros))
        if len(at["left"]) != 1 or len(at["back"]) != 1 or len(at["bypass"]) < 2:
            raise SystemExit(f"this is no swap that the probes can tell:\n{text[-3000:]}")
        return {
            "fair_us": at["back"][0] - at["left"][0],
            "bypass_us": at["bypass"][-1] - at["bypass"][0],
        }


def call(method: str, *arguments: str) -> list[Any]:
    """A method of the daemon's; busctl is there in a tenth of the time that schedctl takes."""
    argv = ["busctl", "--system", "--timeout=300", "--json=short", "call", *SCHEDCP, method]
    done = subprocess.run([*argv, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return list(json.loads(done.stdout)["data"]) if done.stdout.strip() else []


def enable_seq() -> int:
    return int((SCX / "enable_seq").read_text())


class Daemon:
    """Policies of schedcpd, changed over D-Bus. Its scheduler host tells the gap of each swap."""

    def __init__(self, policies: Sequence[str]) -> None:
        self._policies = policies

    def begin(self) -> None:
        self._apply(self._policies[1])

    def swap(self, turn: int) -> Swap:
        self._apply(self._policies[turn % 2])
        for _ in range(100):  # until the history has it
            (record,) = json.loads(call("History", "uss", "1", "deployment", "")[0])["records"]
            if record["data"].get("enable_seq") == enable_seq():
                return {"told_us": float(record["data"]["swap_gap_us"])}
            time.sleep(0.1)
        raise SystemExit(f"the history has nothing of the last swap, but {record}")

    def end(self) -> None:
        self._apply("kernel-default")

    def _apply(self, policy: str) -> None:
        call("Apply", "s", policy)


class Programs:
    """Two programs that each hold a scheduler until SIGINT. One is always running."""

    def __init__(self, programs: Sequence[Sequence[str]]) -> None:
        self._programs = programs

    def begin(self) -> None:
        self._start(self._programs[1])

    def swap(self, turn: int) -> Swap:
        began = time.monotonic_ns()
        self.end()
        self._start(self._programs[turn % 2])
        return {"told_us": (time.monotonic_ns() - began) / 1e3}

    def end(self) -> None:
        self._child.send_signal(signal.SIGINT)
        self._child.wait()

    def _start(self, argv: Sequence[str]) -> None:
        """Returns when the kernel says that its scheduler is enabled."""
        before, quiet, end = enable_seq(), subprocess.DEVNULL, time.monotonic() + LIMIT_S
        self._child = subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet)
        while (SCX / "state").read_text().strip() != "enabled" or enable_seq() == before:
            if self._child.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{argv[0]} enabled no scheduler ({self._child.returncode})")
            time.sleep(0.001)


def count_tasks() -> int:
    """The kernel's word (Documentation/filesystems/proc.rst, loadavg)."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def measure(given: dict[str, Any]) -> dict[str, Any]:
    # The sleeper is an ordinary task; what follows is above everybody, its children are not.
    sleeper = subprocess.Popen(["sleep", "100000"])
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(50))
    probes = Probes(sleeper.pid) if given["probe"] else None
    sides = [
        (
            side["name"],
            Daemon(side["policies"]) if "policies" in side else Programs(side["programs"]),
        )
        for side in given["sides"]
    ]
    found: dict[str, list[Swap]] = {name: [] for name, _ in sides}
    call("Apply", "s", "kernel-default")
    for _ in range(given["rounds"]):
        for name, side in sides:
            side.begin()
            for turn in range(given["swaps"]):
                if probes:
                    probes.forget()
                swap = side.swap(turn)
                found[name].append({**swap, **(probes.seen() if probes else {})})
            side.end()
    sleeper.kill()
    return {"tasks": count_tasks(), "sides": found}


if __name__ == "__main__":
    json.dump(measure(json.load(sys.stdin)), sys.stdout)
