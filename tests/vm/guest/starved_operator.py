# SPDX-License-Identifier: Apache-2.0
"""An operator on a machine whose scheduler serves nobody any more. Run as root; prints JSON.

    starved_operator.py POLICY COMMAND...

Applies the policy beside twice as many busy loops as there are CPUs, waits until an ordinary task
that would like to run for an instant has not run for `SILENT_S`, then runs the command at real-time
priority, as this script is itself. Seconds are counted from the command's start.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

SCX = Path("/sys/kernel/sched_ext")
SILENT_S = 2.0
PATIENCE_S = 30.0
PRIORITY = 50


class Witness:
    """An ordinary task that wakes twenty times a second and says so."""

    def __init__(self) -> None:
        self._seen = mmap.mmap(-1, 8)
        self.pid = ordinary(self._live)

    def _live(self) -> None:
        while True:
            self._seen[:8] = struct.pack("=d", time.monotonic())
            time.sleep(0.05)

    @property
    def silent_s(self) -> float:
        return float(time.monotonic() - struct.unpack("=d", self._seen[:8])[0])


def ordinary(work) -> int:  # type: ignore[no-untyped-def]
    """A child with the priority of any program."""
    pid = os.fork()
    if pid == 0:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        work()
    return pid


def spin() -> None:
    while True:
        pass


def read(name: str) -> str:
    try:
        return (SCX / name).read_text().strip()
    except OSError:
        return ""


def wait(what: str, seconds: float, true) -> float:  # type: ignore[no-untyped-def]
    """Seconds until `true()`."""
    began = time.monotonic()
    while not true():
        if time.monotonic() > began + seconds:
            raise SystemExit(f"{what}: not within {seconds:g} s, state {read('state')}")
        time.sleep(0.01)
    return round(time.monotonic() - began, 2)


def told(policy: str, command: list[str]) -> dict[str, object]:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    witness = Witness()
    pids = [witness.pid]
    try:
        subprocess.run(["schedctl", "apply", policy], check=True, stdout=subprocess.DEVNULL)
        ops = read("root/ops")
        pids += [ordinary(spin) for _ in range(2 * (os.cpu_count() or 1))]
        starved_s = wait("starving", PATIENCE_S, lambda: witness.silent_s > SILENT_S)
        assert read("root/ops") == ops, "it was ended before the operator came"
        began = time.monotonic()
        asked = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        gone_s = wait("its end", PATIENCE_S, lambda: read("root/ops") != ops)
        silent = witness.silent_s
        out, err = asked.communicate()
        done_s = round(time.monotonic() - began, 2)
        served_s = wait("serving again", PATIENCE_S, lambda: witness.silent_s < SILENT_S / 4)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    return {
        "starved_s": starved_s,
        "gone_s": gone_s,
        "silent_s": silent,
        "done_s": done_s,
        "served_s": served_s,
        "code": asked.returncode,
        "out": out,
        "err": err,
        "state": read("state"),
        "ops": read("root/ops"),
    }


if __name__ == "__main__":
    print(json.dumps(told(sys.argv[1], sys.argv[2:])))
