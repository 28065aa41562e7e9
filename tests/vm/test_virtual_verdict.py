# SPDX-License-Identifier: Apache-2.0
"""Behaviour under the virtual clock: the same bytes whatever the host does, and a hard end.

By default the runs are short. `SCHEDCP_CLOCK=virtual` has tests/vm/test_gate.py make its verdicts
by this clock, whole and of all that `SCHEDCP_CORPUS` asks for.
"""

from __future__ import annotations

import asyncio

import pytest

from schedbench.vclock.check import host_load
from schedcpd.guests import guest_of
from schedcpd.verify.check import CheckResult, Subject, run_check
from schedcpd.verify.checks import behaviour
from schedcpd.verify.checks.behaviour import BehaviourCheck
from schedcpd.verify.guest import Guest, GuestRun
from tests import corpus
from tests.corpus import BAD, GOOD, Sample


def quiet(_: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def guest() -> Guest:
    found = asyncio.run(guest_of("auto", "", quiet))
    if found.clock != "virtual":
        pytest.skip("this QEMU is not on the list, and is refused, as it should be")
    return found
