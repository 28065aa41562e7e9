# SPDX-License-Identifier: Apache-2.0
"""Behaviour under the virtual clock: the same evidence whatever the host does, and a hard end.

The runs are short here. `SCHEDCP_CLOCK=virtual` has tests/vm/test_gate.py make its verdicts by this
clock, whole, and of all that `SCHEDCP_CORPUS` asks for.
"""

from __future__ import annotations

import asyncio

import pytest

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
    found = asyncio.run(guest_of("auto", "", quiet))
    if found.clock is not VerdictClock.VIRTUAL:
        pytest.skip("this QEMU is refused, as it should be, or the clock was never built here")
    return found


async def judged(guest: Guest, sample: Sample) -> Report:
    return await BehaviourCheck().run(await compiled(sample, corpus.tools()), guest)
