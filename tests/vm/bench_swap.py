# SPDX-License-Identifier: Apache-2.0
"""Swaps of schedulers, ours beside stop-then-start: `tools/bench-swap`. --json prints every swap.

In the micro-VM, on a real kernel. schedcpd swaps two of its policies; the same two schedulers are
swapped as scx_loader does it (crates/scx_loader/src/main.rs: SIGINT to the program, wait for its
end, start the other one), each held by a small C program; and two scx_* programs likewise, where
tools/build-scx has built them. Rounds of all sides alternate. How a swap is timed is said in
guest/swap_guest.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from schedbench import scxload
from schedcpd.host.scx_programs import PROGRAMS
from schedcpd.microvm import MicroVm, VmSpec, boot, resume
from schedcpd.microvm.cache import cache_dir
from schedcpd.microvm.spec import ThreadMode

from .installed import SETTINGS, Installed
from .stage import install
from .virtual import unproved, virtual_spec

GUEST = Path(__file__).parent / "guest" / "swap_guest.py"
LOADER = "/usr/local/bin/scxload"
POLICIES = {"balanced": "intent", "bulk": "throughput"}  # and their schedulers
OURS, THEIRS = "schedcpd", "stop, then start: the same two"
EXTERNAL = ("scx_bpfland", "scx_cosmos")
LIMIT_S = 3000.0
COLUMNS = {
    "fair_us": "a task is in the fair class",
    "bypass_us": "no BPF scheduler decides",
    "told_us": "by whoever swaps",
}


@asynccontextmanager
async def machine(given: argparse.Namespace) -> AsyncIterator[MicroVm]:
    if given.clock == "wall":
        # With a thread for each vCPU, QEMU 10.0 runs a breakpoint that the kernel had in scx_tick
        # for an instant: twice in two runs the guest panicked at one of the enables.
        async with resume(VmSpec(thread=ThreadMode.SINGLE), limit_s=LIMIT_S) as vm:
            yield vm
        return
    if why := unproved():
        raise SystemExit(f"{why}: docs/vclock.md")
    async with boot(await virtual_spec(given.insn_ps, print_aside), limit_s=LIMIT_S) as vm:
        yield vm


def print_aside(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def sides(external: Sequence[str]) -> list[dict[str, Any]]:
    objects = [f"/usr/share/schedcp/bpf/{scheduler}.bpf.o" for scheduler in POLICIES.values()]
    found: list[dict[str, Any]] = [
        {"name": OURS, "policies": list(POLICIES)},
        {"name": THEIRS, "programs": [[LOADER, path] for path in objects]},
    ]
    if external:
        programs = [[f"/usr/local/bin/{name}", *PROGRAMS[name].modes["auto"]] for name in external]
        name = "stop, then start: " + ", ".join(external)
        found.append({"name": name, "programs": programs})
    return found


def built_external() -> tuple[str, ...]:
    """The programs to compare with, () while one of them is not built."""
    folder = cache_dir() / "scx/bin"
    return EXTERNAL if all((folder / name).exists() for name in EXTERNAL) else ()


async def measured(given: argparse.Namespace) -> dict[str, Any]:
    external = () if given.no_external else built_external()
    loader = await scxload.program(print_aside)
    async with machine(given) as vm:
        with tempfile.TemporaryDirectory() as folder:
            await install(vm, Path(folder) / "stage")
        await vm.put(loader, LOADER)
        for name in external:
            await vm.put(cache_dir() / "scx/bin" / name, f"/usr/local/bin/{name}")
        await vm.put(GUEST, "/root/swap_guest.py")
        running = Installed(vm)
        await running.sh("chmod 755 /usr/local/bin/scx*; mkdir -p /etc/schedcp/schedcpd.yaml.d")
        await running.write("/etc/schedcp/schedcpd.yaml.d/bench.yaml", SETTINGS)
        await running.sh("systemctl start schedcpd.service", timeout_s=600)
        await running.active()
        wanted = {
            "sides": sides(external),
            "rounds": given.rounds,
            "swaps": given.swaps,
            "probe": not given.no_probes,
        }
        done = await vm.run(
            ["python3", "/root/swap_guest.py"], stdin=json.dumps(wanted).encode(), timeout_s=LIMIT_S
        )
        found: dict[str, Any] = json.loads(done.check().text)
        found["kernel"] = (await running.sh("uname -r")).strip()
        return {**found, "accelerator": vm.accelerator.value, "load": os.getloadavg()[0]}


def spread(samples: Sequence[float]) -> str:
    """Median and the range of the middle 80 %, of µs."""
    tenths = statistics.quantiles(samples, n=10)
    return f"{statistics.median(samples):,.0f} ({tenths[0]:,.0f} to {tenths[-1]:,.0f})"


def table(found: dict[str, Any]) -> str:
    """Markdown: a line for each side, then how many times longer than schedcpd's each takes."""
    all_sides = found["sides"]
    columns = [key for key in COLUMNS if key in all_sides[OURS][0]]
    lines = ["| µs, median (middle 80 %) | swaps | " + " | ".join(COLUMNS[c] for c in columns)]
    lines[0] += " |\n|---|---|" + "---|" * len(columns)
    for name, swaps in all_sides.items():
        cells = [spread([swap[column] for swap in swaps]) for column in columns]
        lines.append(f"| {name} | {len(swaps)} | " + " | ".join(cells) + " |")
    for name, swaps in all_sides.items():
        if name == OURS:
            continue
        ratios = [
            statistics.median(swap[column] for swap in swaps)
            / statistics.median(swap[column] for swap in all_sides[OURS])
            for column in columns
        ]
        cells = [f"{ratio:.1f} times" for ratio in ratios]
        lines.append(f"| {name}, beside {OURS} | | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/bench-swap", description=__doc__)
    parser.add_argument("--clock", choices=("wall", "virtual"), default="wall")
    parser.add_argument(
        "--insn-ps", type=int, default=250, help="an instruction on the virtual clock (250)"
    )
    parser.add_argument("--rounds", type=int, default=4, help="of every side in turn (4)")
    parser.add_argument("--swaps", type=int, default=5, help="of one side in a round (5)")
    parser.add_argument("--no-external", action="store_true", help="without scx_* programs")
    parser.add_argument("--no-probes", action="store_true", help="to see what the probes cost")
    parser.add_argument("--json", action="store_true", help="every swap, as JSON")
    given = parser.parse_args()
    found = asyncio.run(measured(given))
    if given.json:
        json.dump(found, sys.stdout)
        return 0
    print(f"kernel {found['kernel']}, {found['tasks']} tasks, {given.clock} clock", end=", ")
    print(f"{found['accelerator']}, load {found['load']:.1f} on the host\n")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
