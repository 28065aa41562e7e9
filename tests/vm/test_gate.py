# SPDX-License-Identifier: Apache-2.0
"""The gate on a real kernel: bad schedulers are refused for the right reason, good ones pass.

A chosen few of the corpus; `make corpus` runs all of it. SCHEDCP_CLOCK=virtual takes the virtual
clock instead of the host's.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from schedcpd.guests import CORES, guest_of
from schedcpd.microvm.cache import cache_dir, stderr_progress
from schedcpd.model import Candidate, CandidateKind, Verdict, VerdictOrigin
from schedcpd.verify.child import Children
from schedcpd.verify.door import WorkshopMaker
from schedcpd.verify.gate import Gate
from schedcpd.verify.guest import Guest
from schedcpd.verify.report import report
from schedcpd.verify.source.toolchain import Toolchain
from schedcpd.verify.store import VerdictStore
from schedcpd.verify.verifier import Verifier
from tests import corpus
from tests.corpus import BAD, GOOD, Sample, compiled, first_failure, samples

EVERYTHING = "SCHEDCP_CORPUS"  # =all: `make corpus`
CLOCK = "SCHEDCP_CLOCK"  # wall or virtual
TOGETHER = max(1, (os.cpu_count() or 1) // CORES)  # machines, each of which keeps CORES CPUs busy
# One of each way to be caught by the machine; the others take a quarter of an hour more.
BAD_BY_DEFAULT = frozenset(
    {"null_deref", "init_fails", "nested_loop", "lost_task", "strict_weight", "kthread_last"}
    | {"all_on_first", "cgroup_exit_error", "late_loss", "inserts_again", "free_on_first"}
    | {"offline_error"}
)
GOOD_BY_DEFAULT = frozenset({"central", "cgroup_flat"})  # and fifo, in a child


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


class Verdicts:
    """Verdicts on samples, `TOGETHER` at a time and ahead of the tests that wait for them."""

    def __init__(self, tools: Toolchain, guest: Guest, wanted: list[Sample]) -> None:
        self._tools, self._guest = tools, guest
        self._pool = ThreadPoolExecutor(TOGETHER)
        self._made = {sample.name: self._submit(sample) for sample in wanted}

    def of(self, sample: Sample) -> Verdict:
        """The verdict, made anew for a test that is run once more."""
        made = self._made.pop(sample.name, None) or self._submit(sample)
        return made.result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def beside(self, work: Callable[[], Coroutine[Any, Any, Verdict]]) -> Future[Verdict]:
        """Another verdict that is made in its turn."""
        return self._pool.submit(lambda: asyncio.run(work()))

    def _submit(self, sample: Sample) -> Future[Verdict]:
        return self.beside(lambda: self._make(sample))

    async def _make(self, sample: Sample) -> Verdict:
        return await Verifier(self._guest).verify(await compiled(sample, self._tools))


@pytest.fixture(scope="session")
def guest() -> Guest:
    return asyncio.run(guest_of(os.environ.get(CLOCK, "wall"), "", stderr_progress()))


@pytest.fixture(scope="module")
def verdicts(tools: Toolchain, guest: Guest, request: pytest.FixtureRequest) -> Iterator[Verdicts]:
    asyncio.run(guest.identity())  # builds what must be built, once
    wanted = [
        item.callspec.params["sample"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == Path(__file__)
        and "sample" in item.fixturenames
    ]
    made = Verdicts(tools, guest, wanted)
    yield made
    made.close()


def test_the_gate_makes_a_verdict_in_a_child_and_keeps_it(
    tools: Toolchain, guest: Guest, verdicts: Verdicts, tmp_path: Path
) -> None:
    """First, so that it is made among the others: it ends when they do."""
    path = tmp_path / "fifo.bpf.o"
    path.write_bytes(asyncio.run(compiled(Sample.of(GOOD / "fifo.bpf.c"), tools)).data)
    path.with_name("fifo.manifest.yaml").write_text(
        "name: fifo\nops: fifo\ndescription: One of the corpus.\n"
    )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    candidate = Candidate(
        CandidateKind.RECONFIGURE, "fifo", "fifo", str(path), sha256, {}, "for a test"
    )
    kernel = asyncio.run(guest.identity()).kernel
    store = VerdictStore(tmp_path / "shipped", tmp_path / "local")
    gate = Gate(store, WorkshopMaker(Children()), require_local_verdict=True)
    verdict = verdicts.beside(lambda: gate.admit(candidate, kernel)).result()
    assert verdict.passed
    assert (verdict.origin, verdict.kernel) == (VerdictOrigin.LOCAL, kernel)
    assert store.find("fifo", sha256, kernel) == verdict


@pytest.mark.parametrize("sample", chosen(BAD, BAD_BY_DEFAULT), ids=lambda sample: sample.name)
def test_a_bad_scheduler_is_refused(verdicts: Verdicts, sample: Sample) -> None:
    verdict = verdicts.of(sample)
    assert not verdict.passed, report(verdict)
    failed = first_failure(verdict.checks)
    assert failed is not None
    assert failed.name == sample.as_object, report(verdict)
    assert failed.reason in sample.object_reasons, report(verdict)
    assert failed.sentence
    assert failed.reason == "behaviour.frozen" or failed.evidence


@pytest.mark.parametrize("sample", chosen(GOOD, GOOD_BY_DEFAULT), ids=lambda sample: sample.name)
def test_a_good_scheduler_passes(verdicts: Verdicts, sample: Sample) -> None:
    verdict = verdicts.of(sample)
    assert verdict.passed, report(verdict)


async def test_every_shipped_scheduler_has_its_verdict(guest: Guest) -> None:
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
