# SPDX-License-Identifier: Apache-2.0
"""The gate on a real kernel: bad schedulers are refused for the right reason, good ones pass."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from schedcpd.host.manifest import Manifest
from schedcpd.microvm import VmSpec
from schedcpd.microvm.cache import cache_dir, stderr_progress
from schedcpd.model import Candidate, CandidateKind, CheckStatus, VerdictOrigin
from schedcpd.verdicts import CORES, VmGuest
from schedcpd.verify.check import Subject
from schedcpd.verify.child import ChildMaker
from schedcpd.verify.gate import Gate
from schedcpd.verify.report import report
from schedcpd.verify.store import VerdictStore
from schedcpd.verify.verifier import Verifier

TOP = Path(__file__).parents[2]
BAD = TOP / "tests" / "bad_schedulers"
GOOD = TOP / "tests" / "good_schedulers"


@dataclass(frozen=True)
class Sample:
    name: str
    caught_by: str
    reasons: frozenset[str]  # one of them

    @classmethod
    def of(cls, source: Path) -> Sample:
        text = source.read_text(encoding="utf-8")
        notes = dict(re.findall(r"^ \* (class|caught-by|reason): (.+)$", text, re.MULTILINE))
        assert "class" in notes, f"{source} does not name its class"
        if source.parent == BAD:
            assert {"caught-by", "reason"} <= notes.keys(), f"{source} lacks caught-by or reason"
        name = source.name.removesuffix(".bpf.c")
        return cls(
            name, notes.get("caught-by", ""), frozenset(notes.get("reason", "").split(" or "))
        )


def samples(directory: Path) -> list[Sample]:
    return [Sample.of(path) for path in sorted(directory.glob("*.bpf.c"))]


def manifest(name: str) -> Manifest:
    return Manifest(name, name, "One of the corpus.", (), (), {}, "")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the compiled corpus."""
    out = tmp_path_factory.mktemp("corpus")
    header = subprocess.run(
        [TOP / "tools/kernel", "--vmlinux-h"], capture_output=True, text=True, check=True
    ).stdout.strip()
    make = ["make", "--silent", "-C", "tests/bad_schedulers"]
    binds = ["--no-net", "--ro", f"{header}:/mnt/vmlinux.h", "--out", str(out)]
    done = subprocess.run(
        [TOP / "tools/builder", "run", *binds, "--", *make, "VMLINUX_H=/mnt/vmlinux.h", "OUT=/out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def guest() -> VmGuest:
    return VmGuest(VmSpec(cores=CORES), stderr_progress())


def subject(corpus: Path, sample: Sample) -> Subject:
    return Subject.read(corpus / f"{sample.name}.bpf.o", manifest(sample.name), {})


@pytest.mark.parametrize("sample", samples(BAD), ids=lambda sample: sample.name)
async def test_a_bad_scheduler_is_refused(corpus: Path, guest: VmGuest, sample: Sample) -> None:
    verdict = await Verifier(guest).verify(subject(corpus, sample))
    assert not verdict.passed, report(verdict)
    failed = next(c for c in verdict.checks if c.status is CheckStatus.FAILED)
    assert failed.name == sample.caught_by, report(verdict)
    assert failed.reason in sample.reasons, report(verdict)
    assert failed.sentence
    assert failed.name == "object" or failed.reason == "behaviour.frozen" or failed.evidence


@pytest.mark.parametrize("sample", samples(GOOD), ids=lambda sample: sample.name)
async def test_a_good_scheduler_passes(corpus: Path, guest: VmGuest, sample: Sample) -> None:
    verdict = await Verifier(guest).verify(subject(corpus, sample))
    assert verdict.passed, report(verdict)


async def test_the_gate_makes_a_verdict_in_a_child_and_keeps_it(
    corpus: Path, guest: VmGuest, tmp_path: Path
) -> None:
    path = tmp_path / "fifo.bpf.o"
    path.write_bytes((corpus / "fifo.bpf.o").read_bytes())
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
