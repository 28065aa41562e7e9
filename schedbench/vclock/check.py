# SPDX-License-Identifier: Apache-2.0
"""The proof: the clock's promises, shown on this machine.

Each configuration runs the same script several times, the last time beside busy loops on the host,
and once under plain TCG for the cost. Every byte of the serial line counts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from schedbench import scxload
from schedbench.vclock import build, figures
from schedbench.vclock.errors import VClockError
from schedbench.vclock.machine import Clock, Machine, Result, run
from schedcpd.host import process
from schedcpd.microvm.cache import Progress
from schedcpd.microvm.kernel import backports_kernel, vmlinux

DEFAULT = "default"  # the kernel's own scheduler
LOOPS_PER_CPU = 1
TIMEOUT_S = 3600.0
PROOF = """
for n in 1 2 4 8; do vbench par $n 40; done
for n in 1 2 4; do [ $n -gt {vcpus} ] || vbench pinned $n 40; done
vbench longtail {shorts} 20 80 last
vbench longtail {shorts} 20 80 first
vbench sleep 300
vbench wake 50 1000
vbench pingpong 500 0 0
vbench pingpong 500 0 1
vbench rate 20
"""
ATTACH = """
scxload --background /tmp /scheduler.bpf.o
echo "scheduler=$(cat /sys/kernel/sched_ext/state) name=$(cat /sys/kernel/sched_ext/root/ops)"
"""
DETACHED = """
echo "scheduler=$(cat /sys/kernel/sched_ext/state) at the end"
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration. `soak_s`: virtual seconds of mixed load besides the proof's workloads."""

    machine: Machine
    scheduler: str = DEFAULT
    soak_s: int = 0

    @property
    def name(self) -> str:
        rate = 1000 / self.machine.insn_ps
        return f"{self.machine.vcpus} vCPUs, {rate:g} instructions/ns, {self.scheduler}"

    @property
    def slug(self) -> str:
        """The name, fit for a file's."""
        return self.name.replace("/", " per ")

    @property
    def script(self) -> str:
        """What the guest's shell runs. A third of the vCPUs' time is the shorts' share."""
        text = ATTACH if self.scheduler != DEFAULT else ""
        text += PROOF.format(vcpus=self.machine.vcpus, shorts=4 * max(self.machine.vcpus - 1, 1))
        if self.soak_s:
            text += f"vbench soak {self.soak_s} {4 * self.machine.vcpus}\n"
        return text + (DETACHED if self.scheduler != DEFAULT else "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one case showed."""

    case: Case
    lines: list[str]
    verdicts: list[figures.Verdict]
    host_seconds: list[float]  # each run, the loaded one last
    plain_seconds: float

    @property
    def holds(self) -> bool:
        return all(verdict.holds for verdict in self.verdicts)


@asynccontextmanager
async def host_load() -> AsyncIterator[None]:
    """Busy loops beside what runs inside the block."""
    count = LOOPS_PER_CPU * (os.cpu_count() or 1)
    loops = [await process.start(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        yield
    finally:
        await asyncio.gather(*(process.stop(loop, grace_s=0) for loop in loops))


class Prover:
    """Runs cases. `progress` gets a line for each run; `keep` a copy of every serial line."""

    def __init__(self, progress: Progress, keep: Path | None = None) -> None:
        self._progress, self._keep = progress, keep

    async def prove(self, case: Case, runs: int, *, plain: bool = True) -> Outcome:
        """Runs the case `runs` times (the last one beside a busy host) and judges it.

        Raises VClockError if a guest fails or the scheduler is not attached from start to end.
        """
        kernel = await vmlinux(await backports_kernel(self._progress))
        plugin = await build.plugin(self._progress)
        files = await build.guest_programs(self._progress)
        if case.scheduler != DEFAULT:
            files |= await build.scheduler_loader(self._progress)
            found = await scxload.scheduler_object(case.scheduler)
            files["scheduler.bpf.o"] = found.read_bytes()

        async def once(machine: Machine, label: str) -> Result:
            self._progress(f"{case.name}: {label}")
            result = await run(
                machine, plugin=plugin, vmlinux=kernel, files=files, script=case.script,
                timeout_s=TIMEOUT_S,
            )  # fmt: skip
            if self._keep is not None:
                self._keep.mkdir(parents=True, exist_ok=True)
                (self._keep / f"{case.slug}, {label}.txt").write_bytes(result.serial)
            self._check_scheduler(case, result)
            return result

        results = [await once(case.machine, f"run {n}") for n in range(1, runs)]
        async with host_load():
            results.append(await once(case.machine, f"run {runs}, the host busy"))
        read = figures.parse(results[0].lines)
        verdicts = [figures.same_bytes([result.serial for result in results])]
        verdicts += figures.judge(read, case.machine.vcpus)
        seconds = [result.host_seconds for result in results]
        plain_s = 0.0
        if plain:
            plain_machine = replace(case.machine, clock=Clock.PLAIN)
            plain_s = (await once(plain_machine, "plain TCG")).host_seconds
            verdicts.append(figures.host_cost(seconds[:-1], plain_s))
        return Outcome(case, results[0].lines, verdicts, seconds, plain_s)

    @staticmethod
    def _check_scheduler(case: Case, result: Result) -> None:
        if case.scheduler == DEFAULT:
            return
        states = [line for line in result.lines if line.startswith("scheduler=")]
        if len(states) != 2 or not all(line.startswith("scheduler=enabled") for line in states):
            raise VClockError(
                f"{case.scheduler} was not attached from start to end: "
                + "; ".join(result.lines[:6])
            )


def table(outcome: Outcome) -> str:
    """The outcome as lines a person can read."""
    lines = [outcome.case.name]
    lines += [f"    {line}" for line in outcome.lines]
    for verdict in outcome.verdicts:
        mark = "ok  " if verdict.holds else "FAIL"
        lines.append(f"  {mark} {verdict.promise}: {verdict.found}")
    seconds = ", ".join(f"{value:.1f}" for value in outcome.host_seconds)
    lines.append(f"  host seconds: {seconds} (the last beside busy loops)")
    return "\n".join(lines)
