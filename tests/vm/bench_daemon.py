# SPDX-License-Identifier: Apache-2.0
"""The daemon's figures, both sides of each: `tools/bench-daemon`.

In the micro-VM: everything real, slowed down by emulation where there is no KVM. On the virtual
clock (docs/vclock.md): the same, on a machine that takes --insn-ps picoseconds for an instruction,
however slow the emulation is. On this machine: the daemon's own share at full speed (see
bench_native). --json prints every sample.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from schedcpd.microvm import MicroVm, VmSpec, boot, resume

from . import bench_native
from .guest.bench_guest import loop_seconds
from .stage import built, install
from .virtual import unproved, virtual_spec

GUEST = Path(__file__).parent / "guest" / "bench_guest.py"
GOALS = {"rss_mib": 40.0, "cpu_percent": 0.1, "latency_ms": 50.0}
WAIT = (
    "systemctl start schedcpd.service && for i in $(seq 180); do "
    "grep -q enabled /sys/kernel/sched_ext/state && exit 0; sleep 1; done; exit 1"
)


async def in_vm(given: argparse.Namespace) -> dict[str, Any]:
    async with resume(VmSpec(), limit_s=3000) as vm:
        return await measured_in(vm, given)


async def on_virtual_clock(given: argparse.Namespace) -> dict[str, Any]:
    if why := unproved():
        raise SystemExit(f"{why}: docs/vclock.md")
    async with boot(await virtual_spec(given.insn_ps, print), limit_s=3000) as vm:
        return await measured_in(vm, given)


async def measured_in(vm: MicroVm, given: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        await install(vm, Path(folder) / "stage")
    await vm.put(GUEST, "/root/bench_guest.py")
    await vm.run(["mkdir", "-p", "/etc/schedcp/schedcpd.yaml.d"])
    await vm.run(["tee", "/etc/schedcp/schedcpd.yaml.d/bench.yaml"], stdin=b"policy: balanced\n")
    (await vm.run(["sh", "-c", WAIT], timeout_s=300)).check()
    argv = ["python3", "/root/bench_guest.py", "--cgroups", str(given.cgroups)]
    argv += ["--seconds", str(given.seconds), "--runs", str(given.runs)]
    argv += ["--changes", str(given.changes)]
    found: dict[str, Any] = json.loads((await vm.run(argv, timeout_s=2400)).check().text)
    found["accelerator"] = vm.accelerator.value
    found["slowdown"] = found["loop_seconds"] / loop_seconds()
    return found


async def on_this_machine(given: argparse.Namespace) -> dict[str, Any]:
    objects = Path(await asyncio.to_thread(built, "bpf/schedulers"))
    with tempfile.TemporaryDirectory(prefix="schedcp-bench-") as base:
        return await bench_native.measure(
            Path(base), objects, runs=given.runs, count=given.cgroups, seconds=given.seconds
        )


def spread(samples: list[float]) -> str:
    """Median and the range of the middle 80 %, of µs, in ms."""
    tenths = statistics.quantiles(samples, n=10)
    return (
        f"{statistics.median(samples) / 1e3:8.2f} ms   "
        f"(p10 {tenths[0] / 1e3:.2f}, p90 {tenths[-1] / 1e3:.2f}, "
        f"max {max(samples) / 1e3:.2f}, n={len(samples)})"
    )


def table(where: str, found: dict[str, Any]) -> str:
    idle = found["idle"]
    mib, count = idle["rss_kib"] / 1024, f"{idle['cgroups']:.0f} cgroups"
    ratio = statistics.median(found["full_us"]) / statistics.median(found["bare_us"])
    slow = f" (the machine is {found['slowdown']:.0f} times slower)" if "slowdown" in found else ""
    lines = [
        where,
        f"  resident memory, idle, {count}   {mib:8.1f} MiB"
        f"  (goal: at most {GOALS['rss_mib']:.0f})",
        f"  CPU, idle, {count}               {idle['cpu_percent']:8.3f} %"
        f"    over {idle['seconds']:.0f} s (goal: at most {GOALS['cpu_percent']}){slow}",
        f"  populated to bare inotify wake-up   {spread(found['bare_us'])}",
        f"  populated to the intent written     {spread(found['full_us'])}"
        f" (goal: median at most {GOALS['latency_ms']:.0f})",
        f"  ratio of the medians                {ratio:8.1f}",
    ]
    change = found.get("change")
    if change:
        first, last = change["enable_seq"]
        lines += [
            f"  intent changes, live                {change['changes']:8d}"
            f"       enable_seq {first} before, {last} after",
            f"  state read during them              {change['state_reads']:8d}"
            f" times, not enabled: {change['state_reads_not_enabled']}",
            f"  schedctl pin to the map             "
            f"{spread([ms * 1e3 for ms in change['with_schedctl_ms']])}",
        ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/bench-daemon", description=__doc__)
    parser.add_argument("--only", choices=("native", "vm", "virtual"), help="one place alone")
    parser.add_argument(
        "--insn-ps", type=int, default=250, help="an instruction on the virtual clock (250)"
    )
    parser.add_argument("--cgroups", type=int, default=200, help="idle cgroups (200)")
    parser.add_argument("--seconds", type=float, default=60, help="of idleness measured (60)")
    parser.add_argument("--runs", type=int, default=40, help="latencies measured (40)")
    parser.add_argument("--changes", type=int, default=6, help="live changes of an intent (6)")
    parser.add_argument("--json", action="store_true", help="every sample, as JSON")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for place, measure in (
        ("native", on_this_machine),
        ("vm", in_vm),
        ("virtual", on_virtual_clock),
    ):
        if given.only in (None, place):
            found[place] = asyncio.run(measure(given))
    if given.json:
        json.dump(found, sys.stdout)
        return 0
    if "native" in found:
        print(table("On this machine, the kernel's part stood in for:", found["native"]))
    if "vm" in found:
        print(table(f"In the micro-VM ({found['vm']['accelerator']}), all real:", found["vm"]))
    if "virtual" in found:
        where = f"on the virtual clock, {given.insn_ps} ps an instruction"
        print(table(f"In the micro-VM {where}, all real:", found["virtual"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
