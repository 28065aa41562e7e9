# SPDX-License-Identifier: Apache-2.0
"""What the gate lets through: the three rules of schedcpd/verify/gate.py."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from schedcpd.errors import MicroVmError, VerifyError
from schedcpd.host.program_file import ProgramFinder, Programs
from schedcpd.model import (
    Candidate,
    CandidateKind,
    CheckStatus,
    KernelBuild,
    Verdict,
    VerdictOrigin,
)
from schedcpd.verify.gate import Gate
from schedcpd.verify.store import VerdictStore
from schedcpd.verify.verdict import file_name, verdict_to_json

from .verdict_samples import BYTES, KERNEL, OTHER_KERNEL, SHA, TUNABLES, candidate, verdict


@dataclass
class Maker:
    """Stands for the child process: answers with a verdict that the test prepared."""

    why_not: str = ""
    answer: Verdict | MicroVmError = field(default_factory=verdict)
    made: int = 0

    async def unavailable(self, kernel: KernelBuild) -> str:
        return self.why_not

    async def make(self, candidate: Candidate, kernel: KernelBuild) -> Verdict:
        self.made += 1
        await asyncio.sleep(0.01)
        if isinstance(self.answer, MicroVmError):
            raise self.answer
        return self.answer


@dataclass
class Bench:
    directory: Path

    def __post_init__(self) -> None:
        self.object = self.directory / "toy.bpf.o"
        self.object.write_bytes(BYTES)
        self.shipped = self.directory / "shipped"
        self.shipped.mkdir()
        self.store = VerdictStore(self.shipped, self.directory / "local")
        self.maker = Maker()

    def gate(self, require_local: bool = False) -> Gate:
        return Gate(self.store, self.maker, require_local_verdict=require_local)

    def ship(self, made: Verdict) -> None:
        path = self.shipped / file_name(made.scheduler, SHA, made.kernel.build_id)
        path.write_text(verdict_to_json(made))
        path.chmod(0o644)

    def candidate(self, **changed: object) -> Candidate:
        return candidate(self.object, **changed)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


SHIPPED_ELSEWHERE = verdict(kernel=OTHER_KERNEL, origin=VerdictOrigin.SHIPPED)


@pytest.mark.parametrize("require_local", [True, False])
async def test_an_exact_verdict_decides_without_a_vm(bench: Bench, require_local: bool) -> None:
    bench.ship(verdict(origin=VerdictOrigin.SHIPPED))
    admitted = await bench.gate(require_local).admit(bench.candidate(), KERNEL)
    assert admitted == verdict(origin=VerdictOrigin.SHIPPED)
    assert bench.maker.made == 0


async def test_a_failed_exact_verdict_refuses_and_is_not_tried_again(bench: Bench) -> None:
    bench.store.save(verdict("behaviour"))
    bench.ship(SHIPPED_ELSEWHERE)
    with pytest.raises(VerifyError, match=r"behaviour\.bad") as error:
        await bench.gate().admit(bench.candidate(), KERNEL)
    assert error.value.hint == "mend it"
    assert bench.maker.made == 0


async def test_none_for_this_kernel_is_made_once_and_kept(bench: Bench) -> None:
    bench.ship(SHIPPED_ELSEWHERE)
    gate = bench.gate()
    both = await asyncio.gather(*(gate.admit(bench.candidate(), KERNEL) for _ in range(2)))
    assert both == [verdict(), verdict()]
    assert bench.maker.made == 1
    assert bench.store.find("toy", SHA, KERNEL) == verdict()


async def test_a_verdict_made_now_may_refuse(bench: Bench) -> None:
    bench.ship(SHIPPED_ELSEWHERE)
    bench.maker.answer = verdict("load")
    with pytest.raises(VerifyError, match=r"load\.bad"):
        await bench.gate().admit(bench.candidate(), KERNEL)


async def test_trouble_with_the_vm_is_no_verdict(bench: Bench) -> None:
    bench.ship(SHIPPED_ELSEWHERE)
    bench.maker.answer = MicroVmError("QEMU did not start")
    with pytest.raises(VerifyError, match="QEMU did not start"):
        await bench.gate().admit(bench.candidate(), KERNEL)
    assert bench.store.find("toy", SHA, KERNEL) is None


async def test_a_maker_of_another_kernel_or_other_bytes_is_not_believed(bench: Bench) -> None:
    for answer in (verdict(kernel=OTHER_KERNEL), verdict(object_sha256="0" * 64)):
        bench.maker.answer = answer
        with pytest.raises(VerifyError):
            await bench.gate().admit(bench.candidate(), KERNEL)
        assert bench.store.find_any_kernel("toy", SHA) == ()


async def test_without_a_vm_policy_decides(bench: Bench) -> None:
    bench.maker.why_not = "QEMU is not installed"
    bench.ship(SHIPPED_ELSEWHERE)
    admission = await bench.gate(False).explain(bench.candidate(), KERNEL)
    assert admission.verdict.origin is VerdictOrigin.SHIPPED
    assert "QEMU is not installed" in admission.sentence
    assert OTHER_KERNEL.release in admission.sentence
    with pytest.raises(VerifyError, match="QEMU is not installed") as error:
        await bench.gate(True).admit(bench.candidate(), KERNEL)
    assert "require_local_verdict" in error.value.hint


@pytest.mark.parametrize(
    "other",
    [
        verdict("behaviour", kernel=OTHER_KERNEL, origin=VerdictOrigin.SHIPPED),
        verdict(kernel=OTHER_KERNEL, origin=VerdictOrigin.LOCAL),
    ],
)
async def test_only_a_passing_shipped_verdict_stands_for_another_kernel(
    bench: Bench, other: Verdict
) -> None:
    bench.maker.why_not = "no VM"
    bench.ship(other)
    with pytest.raises(VerifyError, match="no verdict for any kernel"):
        await bench.gate(False).admit(bench.candidate(), KERNEL)


@pytest.mark.parametrize("shipped_for", [KERNEL, OTHER_KERNEL])
async def test_tunables_outside_what_a_verdict_covers_are_refused(
    bench: Bench, shipped_for: KernelBuild
) -> None:
    bench.maker.why_not = "no VM"
    bench.ship(verdict(kernel=shipped_for, origin=VerdictOrigin.SHIPPED))
    inside = bench.candidate(tunables={**TUNABLES, "slice_us": 100})
    assert (await bench.gate().admit(inside, KERNEL)).passed
    outside = bench.candidate(tunables={**TUNABLES, "slice_us": 99})
    with pytest.raises(VerifyError, match="slice_us"):
        await bench.gate().admit(outside, KERNEL)


async def test_other_bytes_than_the_candidates_are_refused(bench: Bench) -> None:
    bench.ship(verdict())
    bench.object.write_bytes(BYTES + b"!")
    with pytest.raises(VerifyError, match="changed"):
        await bench.gate().admit(bench.candidate(), KERNEL)
    bench.object.unlink()
    with pytest.raises(VerifyError, match="Cannot read"):
        await bench.gate().admit(bench.candidate(), KERNEL)


class External:
    """A program on the disk, and the gate with the administrator's word on it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "bin" / "scx_rusty"
        self.path.parent.mkdir()
        shutil.copy(os.path.realpath("/bin/sh"), self.path)
        self.path.chmod(0o755)
        self.directory = directory

    def gate(self, *, allowed: bool) -> Gate:
        programs = Programs(allowed, ProgramFinder((self.path.parent,), os.getuid()))
        store = VerdictStore(self.directory, self.directory)
        return Gate(store, Maker(), require_local_verdict=True, programs=programs)

    def candidate(self) -> Candidate:
        sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        kind, path = CandidateKind.EXTERNAL, str(self.path)
        return Candidate(kind, "theirs", "scx_rusty", path, sha256, {"mode": "auto"}, "asked")


async def test_an_external_scheduler_is_let_through_unverified_and_says_so(tmp_path: Path) -> None:
    there = External(tmp_path)
    admission = await there.gate(allowed=True).explain(there.candidate(), KERNEL)
    verdict = admission.verdict
    assert (verdict.passed, verdict.origin) == (False, VerdictOrigin.EXTERNAL)
    assert verdict.id == verdict.content_id
    assert verdict.object_sha256 == there.candidate().object_sha256
    (check,) = verdict.checks
    assert (check.status, check.reason) == (CheckStatus.SKIPPED, "external.not-verified")
    for said in (check.sentence, admission.sentence):
        assert "not verified by schedcp: run because the administrator installed" in said


async def test_without_the_administrators_word_it_is_refused(tmp_path: Path) -> None:
    there = External(tmp_path)
    with pytest.raises(VerifyError, match="switched off"):
        await there.gate(allowed=False).admit(there.candidate(), KERNEL)


async def test_a_program_that_changed_or_went_is_refused(tmp_path: Path) -> None:
    there = External(tmp_path)
    candidate, gate = there.candidate(), there.gate(allowed=True)
    with there.path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(VerifyError, match="now, the candidate is for") as refused:
        await gate.admit(candidate, KERNEL)
    assert "reload" in refused.value.hint
    there.path.chmod(0o777)
    with pytest.raises(VerifyError, match="others than root"):
        await gate.admit(candidate, KERNEL)
    there.path.unlink()
    with pytest.raises(VerifyError, match="not installed"):
        await gate.admit(candidate, KERNEL)
