# SPDX-License-Identifier: Apache-2.0
"""The gate on a real kernel: bad schedulers are refused for the right reason, good ones pass.

A chosen few of the corpus; `make corpus` runs all of it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from schedcpd.microvm import VmSpec
from schedcpd.microvm.cache import cache_dir, stderr_progress
from schedcpd.model import Candidate, CandidateKind, VerdictOrigin
from schedcpd.verdicts import CORES, VmGuest
from schedcpd.verify.child import ChildMaker
from schedcpd.verify.gate import Gate
from schedcpd.verify.report import report
from schedcpd.verify.source.toolchain import Toolchain
from schedcpd.verify.store import VerdictStore
from schedcpd.verify.verifier import Verifier
from tests import corpus
from tests.corpus import BAD, GOOD, Sample, compiled, first_failure, samples

EVERYTHING = "SCHEDCP_CORPUS"  # =all: `make corpus`
# One of each way to be caught by the machine; the others take a quarter of an hour more.
BAD_BY_DEFAULT = frozenset(
    {"null_deref", "init_fails", "nested_loop", "lost_task", "strict_weight", "kthread_last"}
    | {"all_on_first", "cgroup_exit_error", "late_loss", "inserts_again", "free_on_first"}
)
GOOD_BY_DEFAULT = frozenset({"vtime", "central", "cgroup_flat"})


def chosen(directory: Path, default: frozenset[str]) -> list[Sample]:
    """Those that only a machine tells apart: the others are in tests/toolchain."""
    found = samples(directory)
    assert default <= {sample.name for sample in found}
    if directory == BAD:
        found = [s for s in found if s.as_object in ("load", "behaviour")]
    everything = os.environ.get(EVERYTHING) == "all"
    return [sample for sample in found if everything or sample.name in default]


@pytest.fixture(scope="session")
def tools() -> Toolchain:
    return corpus.tools()


@pytest.fixture(scope="session")
def guest() -> VmGuest:
    return VmGuest(VmSpec(cores=CORES), stderr_progress())


@pytest.mark.parametrize("sample", chosen(BAD, BAD_BY_DEFAULT), ids=lambda sample: sample.name)
async def test_a_bad_scheduler_is_refused(tools: Toolchain, guest: VmGuest, sample: Sample) -> None:
    verdict = await Verifier(guest).verify(await compiled(sample, tools))
    assert not verdict.passed, report(verdict)
    failed = first_failure(verdict.checks)
    assert failed is not None
    assert failed.name == sample.as_object, report(verdict)
    assert failed.reason in sample.object_reasons, report(verdict)
    assert failed.sentence
    assert failed.reason == "behaviour.frozen" or failed.evidence


@pytest.mark.parametrize("sample", chosen(GOOD, GOOD_BY_DEFAULT), ids=lambda sample: sample.name)
async def test_a_good_scheduler_passes(tools: Toolchain, guest: VmGuest, sample: Sample) -> None:
    verdict = await Verifier(guest).verify(await compiled(sample, tools))
    assert verdict.passed, report(verdict)


async def test_the_gate_makes_a_verdict_in_a_child_and_keeps_it(
    tools: Toolchain, guest: VmGuest, tmp_path: Path
) -> None:
    path = tmp_path / "fifo.bpf.o"
    path.write_bytes((await compiled(Sample.of(GOOD / "fifo.bpf.c"), tools)).data)
    path.with_name("fifo.manifest.yaml").write_text(
        "name: fifo\nops: fifo\ndescription: One of the corpus.\n"
    )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    candidate = Candidate(
        CandidateKind.RECONFIGURE, "fifo", "fifo", str(path), sha256, {}, "for a test"
    )
    kernel = (await guest.identity()).kernel
    store = VerdictStore(tmp_path / "shipped", tmp_path / "local")
    gate = Gate(store, ChildMaker(), require_local_verdict=True)
    verdict = await gate.admit(candidate, kernel)
    assert verdict.passed
    assert (verdict.origin, verdict.kernel) == (VerdictOrigin.LOCAL, kernel)
    assert store.find("fifo", sha256, kernel) == verdict


async def test_every_shipped_scheduler_has_its_verdict(guest: VmGuest) -> None:
    """`make verdicts` made them; nothing else goes into the package."""
    store = VerdictStore(cache_dir() / "verdicts", cache_dir() / "verdicts")
    objects = sorted((cache_dir() / "bpf" / "current").glob("*.bpf.o"))
    assert objects, "make bpf"
    kernel = (await guest.identity()).kernel
    for path in objects:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        verdict = store.find(path.name.removesuffix(".bpf.o"), sha256, kernel)
        assert verdict is not None, f"{path.name} has no verdict: make verdicts"
        assert verdict.passed, report(verdict)
        assert verdict.origin is VerdictOrigin.SHIPPED
