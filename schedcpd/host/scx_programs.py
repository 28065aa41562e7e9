# SPDX-License-Identifier: Apache-2.0
"""External schedulers: the `scx_*` programs that may be run, and with which arguments.

A program that is not named here is never started, and no argument comes from anywhere else. The
modes and their arguments are those of scx_loader (config.rs); a mode that a program is not told
apart by has no arguments. `ops` is what the program is called in /sys/kernel/sched_ext/root/ops;
programs built with scx_utils append `_` and their version there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MODE = "mode"  # the one tunable of an external scheduler
MODES = ("auto", "gaming", "powersave", "lowlatency", "server")


@dataclass(frozen=True, slots=True)
class ScxProgram:
    """One program. `modes`: mode -> its fixed arguments."""

    name: str
    modes: Mapping[str, tuple[str, ...]]

    @property
    def ops(self) -> str:
        return self.name.removeprefix("scx_")

    def is_ops(self, found: str) -> bool:
        """Whether a scheduler of that name is one that this program loads."""
        return found == self.ops or found.startswith(f"{self.ops}_")


def _program(name: str, **modes: str) -> ScxProgram:
    """Arguments are separated by blanks; none of them holds one."""
    split = {mode: tuple(modes.get(mode, "").split()) for mode in MODES}
    return ScxProgram(name, MappingProxyType(split))


# scx_layered does nothing without a specification. This one needs no knowledge of the machine:
# what asked for less (nice above 0) gets few CPUs and long slices, everybody else shares the rest.
_LAYERS = [
    {
        "name": "background",
        "comment": "nice above 0",
        "matches": [[{"NiceAbove": 0}]],
        "kind": {"Grouped": {"util_range": [0.8, 0.9], "slice_us": 20000, "weight": 50}},
    },
    {
        "name": "normal",
        "comment": "everything else",
        "matches": [[]],
        "kind": {"Open": {"slice_us": 5000, "weight": 100}},
    },
]
_LAYERED = ScxProgram(
    "scx_layered",
    MappingProxyType({"auto": (json.dumps(_LAYERS, separators=(",", ":")),)}),
)

# Boosting the holders of futexes needs /proc/kallsyms, which the scheduler host's unit cannot see
# (ProtectKernelTunables=): with it scx_lavd would not start there.
_LAVD = "--no-futex-boost"
_PINNED = f"--pinned-slice-us 500 {_LAVD}"

PROGRAMS: Mapping[str, ScxProgram] = MappingProxyType(
    {
        program.name: program
        for program in (
            _program("scx_beerland"),
            _program(
                "scx_bpfland",
                auto="-m auto",
                gaming="-m all",
                lowlatency="-m performance -w",
                powersave="-s 20000 -m powersave -I 100 -t 100",
                server="-s 20000 -S",
            ),
            _program(
                "scx_cake",
                auto="--profile default",
                gaming="--profile gaming",
                lowlatency="--profile esports",
                powersave="--profile battery",
                server="--profile gaming",
            ),
            _program(
                "scx_cosmos",
                gaming="-s 700",
                lowlatency="-s 700 -m performance -w",
                powersave="-m powersave",
            ),
            _program("scx_flash"),
            _program("scx_flow"),
            _program(
                "scx_lavd",
                auto=f"--autopilot {_PINNED}",
                gaming=f"--performance {_PINNED}",
                lowlatency=f"--performance {_PINNED}",
                powersave=f"--powersave {_PINNED}",
                server="--performance --slice-min-us 3000 --slice-max-us 10000 "
                f"--pinned-slice-us 3000 {_LAVD}",
            ),
            _LAYERED,
            _program(
                "scx_p2dq",
                auto="--sched-mode default",
                gaming="--task-slice true -f --sched-mode performance",
                lowlatency="-y -f --task-slice true",
                powersave="--sched-mode efficiency",
                server="--keep-running",
            ),
            _program("scx_pandemonium"),
            _program("scx_rustland"),
            _program("scx_rusty"),
            _program(
                "scx_tickless",
                gaming="-f 5000 -s 5000",
                lowlatency="-f 5000 -s 1000",
                powersave="-f 50",
                server="-f 100",
            ),
        )
    }
)
