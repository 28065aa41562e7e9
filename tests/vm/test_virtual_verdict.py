# SPDX-License-Identifier: Apache-2.0
"""Behaviour under the virtual clock: the same evidence whatever the host does, and a hard end.

The runs are short here, and a good scheduler's are opt-in by SCHEDCP_CLOCK=virtual, which also has
tests/vm/test_gate.py make its verdicts by this clock, whole, and of all that SCHEDCP_CORPUS asks
for. `make verdicts` makes those of the shipped schedulers by it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from schedbench.vclock import qemu
from schedbench.vclock.check import host_load
from schedcpd.guests import guest_of
from schedcpd.model import VerdictClock
from schedcpd.verify.check import Report
from schedcpd.verify.checks import behaviour
from schedcpd.verify.checks.behaviour import BehaviourCheck
from schedcpd.verify.guest import Guest
from tests import corpus
from tests.corpus import BAD, GOOD, Sample, compiled


def quiet(_: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def guest() -> Guest:
    if not qemu.find().accepted:
        pytest.skip("this QEMU is refused, as it should be")
    return asyncio.run(guest_of(VerdictClock.VIRTUAL, "", quiet))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("CONTROL_S", 1.0), ("RUN_S", 1.0), ("ELSEWHERE_S", 1.0)):
        monkeypatch.setattr(behaviour, name, seconds)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(BAD / "all_on_first.bpf.c", id="bad"),
        pytest.param(
            GOOD / "fifo.bpf.c",
            id="good",
            marks=pytest.mark.skipif(
                os.environ.get("SCHEDCP_CLOCK") != "virtual",
                reason="opt-in by SCHEDCP_CLOCK=virtual: a minute",
            ),
        ),
    ],
)
def test_a_busy_host_changes_no_byte_of_the_evidence(guest: Guest, path: Path) -> None:
    sample = Sample.of(path)
    subject = asyncio.run(compiled(sample, corpus.tools()))

    async def beside_loops() -> Report:
        async with host_load():
            return await BehaviourCheck().run(subject, guest)

    first = asyncio.run(BehaviourCheck().run(subject, guest))
    assert first.evidence
    assert {finding.reason for finding in first.findings} <= sample.object_reasons
    assert bool(first.findings) is (path.parent == BAD)
    assert asyncio.run(beside_loops()) == first


async def test_a_guest_that_never_ends_is_ended_by_its_own_time(guest: Guest) -> None:
    spin = ["python3", "-c", "print('it began', flush=True)\nwhile True: pass"]
    run = await guest.run(spin, files={}, timeout_s=1)
    assert (run.exit_code, run.stdout, run.died) == (None, "it began\n", False)
    assert "of the guest's time" in run.end
