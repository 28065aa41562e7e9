# SPDX-License-Identifier: Apache-2.0
"""The canary on a real kernel: what makes tails twice as long, or serves nobody, is taken back.

Opt-in by SCHEDCP_CANARY=1: two minutes, on a machine with nothing else to do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schedcpd.microvm import VmSpec

from .installed import STATE, Installed, installed

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        os.environ.get("SCHEDCP_CANARY") != "1",
        reason="opt-in by SCHEDCP_CANARY=1: two minutes, on a machine with nothing else to do",
    ),
]

# Applies a policy and says when schedulers were enabled and gone, above everybody: when, whether,
# which in order. Ends some seconds after the policy's own was gone.
SWAPS = f"""
import os, subprocess, sys, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
policy, seconds = sys.argv[1], float(sys.argv[2])
begin, last, first, gone = time.monotonic(), None, None, 0
subprocess.Popen(["schedctl", "apply", policy])
while time.monotonic() < (gone + 6 if gone else begin + seconds):
    with open("{STATE}") as state, open("/sys/kernel/sched_ext/enable_seq") as seq:
        now = (state.read().strip() == "enabled", int(seq.read()))
    first = now[1] if first is None else first
    if now != last:
        print(time.monotonic() - begin, *now, flush=True)
    if not now[0] and now[1] > first:
        gone = gone or time.monotonic()
    last = now
    time.sleep(0.002)
"""
URGENT = "chrt -f 10"  # for commands beside hogs
HOGS = f"sh -c 'for i in {' '.join('x' * 24)}; do (while :; do :; done) & done; wait'"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(
    vm_image: VmSpec, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installed]:
    async with installed(vm_image, tmp_path_factory.mktemp("installed")) as running:
        yield running


async def on_trial(machine: Installed, policy: str, seconds: int) -> list[tuple[float, bool, int]]:
    """Applies it and watches: (seconds, enabled, enable_seq) at each change."""
    argv = ["python3", "-c", SWAPS, policy, str(seconds)]
    told = (await machine.vm.run(argv, timeout_s=120)).check().text
    looks = [line.split() for line in told.splitlines() if line[0].isdigit()]
    return [(float(at), enabled == "True", int(seq)) for at, enabled, seq in looks]


def life(seen: list[tuple[float, bool, int]]) -> tuple[float, float]:
    """When the first scheduler that came was enabled, and when it was gone."""
    began = next(at for at, enabled, seq in seen if enabled and seq > seen[0][2])
    return began, next(at for at, enabled, _ in seen if at > began and not enabled)


async def canary(machine: Installed, seconds: int) -> None:
    path = "/etc/schedcp/schedcpd.yaml.d/zz-canary.yaml"
    text = f"deploy: {{canary_s: {seconds}}}"
    await machine.sh(f"echo '{text}' > {path} && systemctl reload schedcpd")


async def test_a_tail_that_doubles_in_the_canary_is_rolled_back(machine: Installed) -> None:
    await canary(machine, 16)
    await machine.sh("systemctl stop hogs", fails=True)  # of a run before
    await machine.sh("schedctl apply steady")
    assert "on trial for 16 s" in (await machine.status())["state_reason"]
    await machine.start_unit("hogs", HOGS)
    await machine.until(f"{URGENT} schedctl log --kind deployment", "steady passed its canary")
    await asyncio.sleep(6)  # what runs unchallenged is looked at every five seconds
    seen = await on_trial(machine, "rotting", 45)  # from 10 s on its slices are twice as long
    await machine.sh("systemctl stop hogs")
    history = await machine.history("outcome")
    assert "rotting was taken back: p99 run delay of normal" in history, seen
    after = await machine.status()
    assert (after["policy"], after["policy_source"]) == ("steady", "fallback")
    began, ended = life(seen)
    late = ended - began - 10
    print(f"taken back {late:.1f} s after it crossed: {seen}; {after['state_reason']}")
    assert -1 < late < 5, seen


async def test_a_scheduler_that_serves_nobody_is_ended_by_the_daemon(machine: Installed) -> None:
    """Neither the daemon nor the host is its to starve; the kernel would wait half a minute."""
    await canary(machine, 16)
    await machine.sh("schedctl resume && schedctl apply balanced")
    await machine.active()
    seen = await on_trial(machine, "starving", 30)
    began, ended = life(seen)
    print(f"ended {ended - began - 3:.1f} s after it began to starve everybody: {seen}")
    assert ended - began < 3 + 8, seen
    assert "tasks wait for a CPU" in await machine.history("outcome")
    await canary(machine, 0)
    await machine.sh("schedctl resume && schedctl apply balanced")
    await machine.active()
