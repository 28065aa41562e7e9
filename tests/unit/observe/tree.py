# SPDX-License-Identifier: Apache-2.0
"""A cgroup tree of plain files and a /proc of plain numbers, for real inotify to watch."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path


class FakeTree:
    """Makes, fills, empties and removes cgroups below `root`, each step at once like the kernel."""

    def __init__(self, base: Path) -> None:
        self.root, self._staging = base / "cgroup", base / "staging"
        self.root.mkdir()
        self._staging.mkdir()
        (self.root / "cgroup.controllers").write_text("cpu memory\n")
        (self.root / "cgroup.procs").write_text("2\n")

    def path(self, cgroup: str) -> Path:
        return self.root / cgroup.strip("/")

    def make(self, cgroup: str, pids: tuple[int, ...] = (), usage_us: int = 0) -> None:
        """A directory with its files appears in one step, as in kernfs."""
        new = self._staging / "new"
        new.mkdir()
        (new / "cgroup.events").write_text(f"populated {int(bool(pids))}\nfrozen 0\n")
        (new / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        (new / "cpu.stat").write_text(f"usage_usec {usage_us}\nuser_usec 0\n")
        (new / "cpu.weight").write_text("100\n")
        (new / "cpu.pressure").write_text(
            "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        )
        new.rename(self.path(cgroup))

    def fill(self, cgroup: str, *pids: int) -> None:
        (self.path(cgroup) / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        self.populated(cgroup, bool(pids))

    def populated(self, cgroup: str, value: bool) -> None:
        with (self.path(cgroup) / "cgroup.events").open("r+") as events:  # no moment of emptiness
            events.write(f"populated {int(value)}\nfrozen 0\n")

    def use_cpu(self, cgroup: str, usage_us: int) -> None:
        (self.path(cgroup) / "cpu.stat").write_text(f"usage_usec {usage_us}\nuser_usec 0\n")

    def remove(self, cgroup: str) -> None:
        """Disappears in one step."""
        gone = self._staging / "gone"
        self.path(cgroup).rename(gone)
        shutil.rmtree(gone)


@dataclass
class FakeProcesses:
    """pid -> (executable, comm, uid)."""

    table: dict[int, tuple[str, str, int]] = field(default_factory=dict)
    cgroups: dict[int, str] = field(default_factory=dict)

    def executable(self, pid: int) -> str | None:
        return self.table[pid][0] if pid in self.table else None

    def comm(self, pid: int) -> str | None:
        return self.table[pid][1] if pid in self.table else None

    def uid(self, pid: int) -> int | None:
        return self.table[pid][2] if pid in self.table else None

    def cgroup(self, pid: int) -> str | None:
        return self.cgroups.get(pid)


@dataclass
class FakeClock:
    """Moves only by hand."""

    ns: int = 1_000_000_000
    unix: float = 1_700_000_000.0

    def monotonic_ns(self) -> int:
        return self.ns

    def unix_s(self) -> float:
        return self.unix

    def pass_s(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)
        self.unix += seconds
