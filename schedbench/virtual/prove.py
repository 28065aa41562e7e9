# SPDX-License-Identifier: Apache-2.0
"""The proof for workloads: each writes the same bytes every time, the last time beside a busy host.

The machine's own proof (parallelism, sleep, a long soak) is schedbench/vclock/check.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from schedbench import arms
from schedbench.arms.base import Arm, Told
from schedbench.model import (
    Clock,
    Profile,
    Sample,
    SampleKey,
    SampleState,
    SizeClass,
    Workload,
)
from schedbench.vclock import machine
from schedbench.vclock.check import host_load
from schedbench.vclock.errors import VClockError
from schedbench.vclock.figures import HOST_RATIO
from schedbench.virtual.sample import Kit, take_sample
from schedcpd.microvm.cache import Progress


@dataclass(frozen=True, slots=True)
class Case:
    """One workload under one arm on one machine, with one seed."""

    workload: Workload
    arm: str
    profile: Profile
    size: SizeClass = SizeClass.SMOKE
    seed: int = 1

    @property
    def name(self) -> str:
        rate = 1000 / self.profile.insn_ps
        return f"{self.workload.name}, {self.arm}, {self.profile.name}, {rate:g} instructions/ns"


@dataclass(frozen=True, slots=True)
class Proof:
    """What the runs of a case showed. `plain_s`: plain TCG with the same script, 0 if not run."""

    workload: str
    arm: str
    profile: str
    insn_ps: int
    states: tuple[str, ...]
    reasons: tuple[str, ...]
    digests: tuple[str, ...]
    virtual_s: float  # of the timed part, in the first run
    host_s: tuple[float, ...]  # each run, the loaded one last
    plain_s: float

    @property
    def same(self) -> bool:
        return len(set(self.digests)) == 1 and len(self.digests) > 1

    @property
    def cheap(self) -> bool:
        """Whether a run that had the host to itself kept the bound on cost; True if not asked."""
        return self.plain_s == 0 or min(self.host_s[:-1]) <= HOST_RATIO * self.plain_s

    @property
    def holds(self) -> bool:
        return self.same and self.cheap and set(self.states) == {SampleState.OK.value}


def cases(
    workloads: Sequence[Workload],
    arm_names: Sequence[str],
    profiles: Sequence[Profile],
    size: SizeClass,
) -> list[Case]:
    """Every workload that claims the virtual clock, under every arm, on every machine."""
    return [
        Case(workload, arm, profile, size)
        for workload in workloads
        if Clock.VIRTUAL in workload.clocks
        for arm in arm_names
        for profile in profiles
    ]


class Prover:
    """Runs cases; `progress` gets a line for each run."""

    def __init__(self, kit: Kit, progress: Progress) -> None:
        self._kit, self._progress = kit, progress
        self._arms: dict[str, Arm] = {}

    async def prove(self, case: Case, runs: int, *, plain: bool) -> Proof:
        """`runs` samples, the last one beside a busy host. Raises VClockError for fewer than 2."""
        if runs < 2:
            raise VClockError(f"{runs} run cannot show repetition; at least 2 are needed")
        samples = [await self._once(case, self._kit, f"run {n}") for n in range(1, runs)]
        async with host_load():
            samples.append(await self._once(case, self._kit, f"run {runs}, the host busy"))
        plain_s = 0.0
        if plain:
            kit = replace(self._kit, clock=machine.Clock.PLAIN, plugin=None)
            plain_s = (await self._once(case, kit, "plain TCG")).seconds
        first = samples[0]
        return Proof(
            case.workload.name,
            case.arm,
            case.profile.name,
            case.profile.insn_ps,
            tuple(sample.state.value for sample in samples),
            tuple(dict.fromkeys(sample.reason for sample in samples if sample.reason)),
            tuple(sample.digest for sample in samples),
            first.repeats[0].seconds if first.repeats else 0.0,
            tuple(round(sample.seconds, 1) for sample in samples),
            round(plain_s, 1),
        )

    async def _once(self, case: Case, kit: Kit, label: str) -> Sample:
        self._progress(f"{case.name}: {label}")
        if case.arm not in self._arms:
            self._arms[case.arm] = await arms.load(case.arm, self._progress)
        arm = self._arms[case.arm]
        told = Told(case.workload.parts if arm.told_intents else (), {}, case.seed)
        key = SampleKey(case.workload.name, case.arm, case.seed)
        return await take_sample(
            kit, case.workload, case.size, key, case.profile, arm.script(told),
            progress=self._progress,
        )  # fmt: skip


def row(proof: Proof) -> list[str]:
    """For a table: workload, arm, profile, rate, virtual and host seconds, plain TCG, verdict."""
    words = [] if proof.same else ["other bytes"]
    words += [] if proof.cheap else [f"more than {HOST_RATIO:g} times plain TCG"]
    why = "; ".join([*words, *proof.reasons])
    return [
        proof.workload,
        proof.arm,
        proof.profile,
        f"{1000 / proof.insn_ps:g}",
        f"{proof.virtual_s:.3f}",
        " / ".join(f"{seconds:.1f}" for seconds in proof.host_s),
        f"{proof.plain_s:.1f}" if proof.plain_s else "-",
        ("ok" if proof.holds else "FAIL") + (f": {why}" if why else ""),
    ]
