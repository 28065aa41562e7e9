# SPDX-License-Identifier: Apache-2.0
"""Measures a running schedcpd on the machine it runs on; prints one JSON object.

Run as root where schedcpd.service is active with a scheduler. Times are CLOCK_MONOTONIC; both
sides of the latency are taken for the same cgroups, in the same run: the bare side is this
process' own inotify watch of the same cgroup.events.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

SCX = Path("/sys/kernel/sched_ext")
IN_MODIFY = 2
BENCH = Path("/sys/fs/cgroup/bench.slice")


def use_tree(mount: Path) -> None:
    """Another cgroup2 mount than the usual one."""
    global BENCH
    BENCH = mount / "bench.slice"


# ------------------------------------------------------------ bpf(2), to look into the map

_NR_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_LOOKUP, _NEXT_ID, _FD_BY_ID, _INFO = 1, 12, 14, 15
_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = _libc.syscall(_NR_BPF, command, buffer, 128)
    return result, buffer.raw


def open_map(name: bytes) -> int:
    """A descriptor of the map of this name."""
    number = 0
    while True:
        result, raw = bpf(_NEXT_ID, struct.pack("=I", number))
        if result < 0:
            raise SystemExit(
                f"no BPF map is called {name.decode()}: is a scheduler of ours loaded?"
            )
        number = struct.unpack_from("=I", raw, 4)[0]
        fd, _ = bpf(_FD_BY_ID, struct.pack("=I", number))
        info = ctypes.create_string_buffer(256)
        bpf(_INFO, struct.pack("=IIQ", fd, 256, ctypes.addressof(info)))
        if info.raw[24:40].split(b"\0")[0] == name:  # struct bpf_map_info
            return fd
        os.close(fd)


class Intents:
    """The map `intents`: kernfs id -> class."""

    def __init__(self) -> None:
        self._fd = open_map(b"intents")
        self._key, self._value = ctypes.c_uint64(), ctypes.create_string_buffer(64)

    def get(self, cgroup_id: int) -> int | None:
        self._key.value = cgroup_id
        key, value = ctypes.addressof(self._key), ctypes.addressof(self._value)
        result, _ = bpf(_LOOKUP, struct.pack("=IIQQQ", self._fd, 0, key, value, 0))
        return None if result < 0 else struct.unpack_from("=I", self._value.raw)[0]


# ------------------------------------------------------------ cgroups


@contextlib.contextmanager
def cgroups(count: int, prefix: str) -> Iterator[list[Path]]:
    """Empty cgroups below bench.slice, gone afterwards with whoever lives there."""
    BENCH.mkdir(exist_ok=True)
    made = [BENCH / f"{prefix}{number}.service" for number in range(count)]
    for path in made:
        path.mkdir()
    try:
        yield made
    finally:
        for path in made:
            (path / "cgroup.kill").write_text("1")
        for path in made:
            while "populated 1" in (path / "cgroup.events").read_text():
                time.sleep(0.01)
            path.rmdir()
        while _sleepers:
            _sleepers.pop().wait()


_sleepers: list[subprocess.Popen[bytes]] = []


def sleeper() -> subprocess.Popen[bytes]:
    """A process that does nothing; it ends with the cgroup it is put into."""
    _sleepers.append(subprocess.Popen(["/bin/sleep", "100000"]))
    return _sleepers[-1]


def schedctl(verb: str, path: Path, *more: str) -> None:
    argv = ["schedctl", verb, f"/{path.relative_to(BENCH.parent)}", *more]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def main_pid(unit: str) -> int:
    argv = ["systemctl", "show", "-p", "MainPID", "--value", unit]
    return int(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)


# ------------------------------------------------------------ the figures


def memory_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise SystemExit(f"process {pid} is gone")


def cpu_ns(pid: int) -> int:
    """Time on a CPU of all threads (/proc/PID/task/TID/schedstat)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def idle(pid: int, count: int, seconds: float) -> dict[str, float]:
    """Memory and CPU of the daemon while `count` cgroups exist, each with a sleeping process."""
    with cgroups(count, "idle") as made:
        for path in made:
            (path / "cgroup.procs").write_text(str(sleeper().pid))
        time.sleep(max(15.0, seconds / 3))  # past the looks after populating
        began, used = time.monotonic_ns(), cpu_ns(pid)
        time.sleep(seconds)
        used, passed = cpu_ns(pid) - used, time.monotonic_ns() - began
        rss = memory_kib(pid)
    return {
        "cgroups": count,
        "rss_kib": rss,
        "seconds": passed / 1e9,
        "cpu_percent": 100 * used / passed,
    }


class BareWatch:
    """The least that anybody could need: one inotify watch, one blocked thread."""

    def __init__(self, path: Path) -> None:
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        _libc.inotify_add_watch(self._fd, os.fsencode(path / "cgroup.events"), IN_MODIFY)
        self.woke_ns = 0
        self.thread = threading.Thread(target=self._wait)
        self.thread.start()

    def _wait(self) -> None:
        select.select([self._fd], [], [], 60)
        self.woke_ns = time.monotonic_ns()
        os.close(self._fd)


def latency(intents: Intents, count: int) -> tuple[list[float], list[float]]:
    """(µs to a bare inotify wake-up, µs to the intent in the map) for each of `count` cgroups."""
    bare, full = [], []
    with cgroups(count, "lat") as made:
        time.sleep(5)  # until schedcpd watches them all
        for path in made:
            number = path.stat().st_ino
            process = sleeper()
            watch = BareWatch(path)
            time.sleep(0.2)
            began = time.monotonic_ns()
            (path / "cgroup.procs").write_text(str(process.pid))
            deadline = began + 60 * 10**9
            while intents.get(number) is None:
                if time.monotonic_ns() > deadline:
                    raise SystemExit(f"no intent for {path} within 60 s")
                time.sleep(0.0002)
            full.append((time.monotonic_ns() - began) / 1e3)
            watch.thread.join()
            bare.append((watch.woke_ns - began) / 1e3)
    return bare, full


def change(intents: Intents, count: int) -> dict[str, object]:
    """Pins and unpins a workload while the kernel's state is read as fast as it can be."""
    seq, reads, other = (SCX / "enable_seq").read_text().strip(), 0, 0
    over = threading.Event()

    def sample() -> None:
        nonlocal reads, other
        while not over.is_set():
            other += (SCX / "state").read_text().strip() != "enabled"
            reads += 1
            time.sleep(0.0005)

    took = []
    with cgroups(1, "change") as (path,):
        number = path.stat().st_ino
        (path / "cgroup.procs").write_text(str(sleeper().pid))
        while intents.get(number) is None:
            time.sleep(0.01)
        thread = threading.Thread(target=sample)
        thread.start()
        try:
            for turn in range(count):
                wanted = ("batch", 3) if turn % 2 == 0 else ("latency", 0)
                began = time.monotonic_ns()
                schedctl("pin", path, wanted[0])
                while intents.get(number) != wanted[1]:
                    time.sleep(0.001)
                took.append((time.monotonic_ns() - began) / 1e6)
        finally:
            over.set()
            thread.join()
        schedctl("unpin", path)
    after = (SCX / "enable_seq").read_text().strip()
    return {
        "changes": count,
        "with_schedctl_ms": took,
        "enable_seq": [int(seq), int(after)],
        "state_reads": reads,
        "state_reads_not_enabled": other,
    }


def loop_seconds() -> float:
    """A fixed piece of Python work, to compare this machine with another one."""
    began = time.process_time()
    total = 0
    for number in range(2_000_000):
        total += number & 7
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cgroups", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--changes", type=int, default=6)
    given = parser.parse_args()
    pid, intents = main_pid("schedcpd.service"), Intents()
    bare, full = latency(intents, given.runs)
    found = {
        "loop_seconds": loop_seconds(),
        "bare_us": bare,
        "full_us": full,
        "change": change(intents, given.changes),
        "idle": idle(pid, given.cgroups, given.seconds),
    }
    with contextlib.suppress(OSError):
        BENCH.rmdir()
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
