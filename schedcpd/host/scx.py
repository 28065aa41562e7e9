# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of sched_ext (kernel Documentation/scheduler/sched-ext.rst)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from schedcpd.host.cgroupfs import read_small
from schedcpd.model import ScxState


@dataclass(frozen=True, slots=True)
class ScxSnapshot:
    """One look at /sys/kernel/sched_ext. `ops` is "" while nothing is attached."""

    state: ScxState
    ops: str = ""
    enable_seq: int = 0

    @property
    def loaded(self) -> bool:
        return self.state in (ScxState.ENABLED, ScxState.ENABLING)


class Scx(Protocol):
    """The kernel's view of sched_ext."""

    def snapshot(self) -> ScxSnapshot: ...

    def unsupported(self) -> str:
        """One sentence that says why no scheduler can be loaded here, "" when one can."""

    def kernel(self) -> str:
        """`uname -r`."""

    def boot_id(self) -> str:
        """Changes with every boot (/proc/sys/kernel/random/boot_id)."""


class SysScx:
    """Reads below `root`, which is "/" outside tests."""

    def __init__(self, root: Path | str = "/") -> None:
        self._root = str(root).rstrip("/")

    def _read(self, path: str) -> str | None:
        text = read_small(self._root + path, 4096)
        return None if text is None else text.strip()

    def snapshot(self) -> ScxSnapshot:
        text = self._read("/sys/kernel/sched_ext/state")
        if text is None:
            return ScxSnapshot(ScxState.ABSENT)
        try:
            state = ScxState(text)
        except ValueError:  # a state newer than us: something is going on, so hands off
            state = ScxState.ENABLING
        # root/ exists only while a scheduler is attached; 7.x may append a build suffix.
        ops = self._read("/sys/kernel/sched_ext/root/ops") or ""
        sequence = self._read("/sys/kernel/sched_ext/enable_seq") or "0"
        return ScxSnapshot(state, ops, int(sequence) if sequence.isdigit() else 0)

    def unsupported(self) -> str:
        if not Path(self._root + "/sys/kernel/sched_ext/state").exists():
            return (
                f"kernel {self.kernel()} has no sched_ext "
                "(needs 6.12 or later with CONFIG_SCHED_CLASS_EXT=y)"
            )
        if not Path(self._root + "/sys/kernel/btf/vmlinux").exists():
            return f"kernel {self.kernel()} has no BTF (needs CONFIG_DEBUG_INFO_BTF=y)"
        return ""

    def kernel(self) -> str:
        return os.uname().release

    def boot_id(self) -> str:
        return self._read("/proc/sys/kernel/random/boot_id") or ""
