# SPDX-License-Identifier: Apache-2.0
"""The canary on a real kernel: what makes tails twice as long, or serves nobody, is taken back.

Opt-in by SCHEDCP_CANARY=1: some minutes. On the virtual clock where it is to be had, so that other
work of the host is not seen; else, or with SCHEDCP_CANARY=wall, on a machine that should have
nothing else to do. All times are the guest's.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from schedcpd.microvm import VmSpec

from .installed import HOME, STATE, Installed, installed
from .virtual import unproved, virtual_spec

CLOCK = os.environ.get("SCHEDCP_CANARY", "")
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        CLOCK not in ("1", "wall"),
        reason="opt-in by SCHEDCP_CANARY=1: some minutes; =wall: not on the virtual clock",
    ),
]

INSN_PS = 4000  # as the profiles of schedbench: about what TCG does on an idle host
PATIENCE_S = 900.0  # of the host, for what the guest limits by its own clock

# Applies a policy, above everybody; says as JSON when its scheduler came, when it was gone and
# when another one was there, in seconds. It waits 120 s for the first and argv[2] for the second.
LIFE = f"""
import json, os, subprocess, sys, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
def look():
    with open("{STATE}") as state, open("/sys/kernel/sched_ext/enable_seq") as seq:
        return state.read().strip() == "enabled", int(seq.read())
policy, limits = sys.argv[1], [120, float(sys.argv[2]), 30]
(_, first), last, times = look(), time.monotonic(), []
apply = subprocess.Popen(["schedctl", "apply", policy], stdout=subprocess.DEVNULL)
while len(times) < 3 and time.monotonic() < last + limits[len(times)]:
    enabled, seq = look()
    if enabled != (len(times) == 1) and seq > first:
        last = time.monotonic()
        times.append(last)
    time.sleep(0.02)
print(json.dumps({{"apply": apply.wait(), "times": times}}))
"""
# Until what runs is promoted; then for as long as what runs unchallenged is looked at twice.
PROMOTED = f"""
import json, os, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
end = time.monotonic() + 120
while not json.load(open("{HOME}/deploy.json"))["current"]["promoted"]:
    assert time.monotonic() < end, "it was not promoted"
    time.sleep(0.5)
time.sleep(11)
"""
OPERATOR = (Path(__file__).parent / "guest" / "starved_operator.py").read_text()
HOGS = f"sh -c 'for i in {' '.join('x' * 24)}; do (while :; do :; done) & done; wait'"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(
    vm_image: VmSpec, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installed]:
    virtual = CLOCK == "1" and not unproved()
    spec = await virtual_spec(INSN_PS, print) if virtual else vm_image
    folder = tmp_path_factory.mktemp("installed")
    async with installed(spec, folder, cold=virtual) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Life:
    """Of a scheduler: when it came, was gone, and when the one before was back."""

    came: float
    gone: float
    back: float


async def lived(machine: Installed, policy: str, seconds: int) -> Life:
    """Applies a policy that is to be taken back within so many seconds."""
    done = await machine.vm.run(["python3", "-c", LIFE, policy, str(seconds)], timeout_s=PATIENCE_S)
    seen = json.loads(done.check().text)
    assert seen["apply"] == 0, done.error_text
    if len(seen["times"]) != 3:
        for command in ("schedctl log --limit 8", "schedctl explain --json", "journalctl -n 60"):
            print(await machine.sh(f"{command} | cat", timeout_s=PATIENCE_S))
        raise AssertionError(f"{policy} was not taken back in time: {seen}")
    return Life(*seen["times"])


async def canary(machine: Installed, seconds: int) -> None:
    path = "/etc/schedcp/schedcpd.yaml.d/zz-canary.yaml"
    text = f"deploy: {{canary_s: {seconds}}}"
    await machine.sh(f"echo '{text}' > {path} && systemctl reload schedcpd")


async def test_a_tail_that_doubles_in_the_canary_is_rolled_back(machine: Installed) -> None:
    await canary(machine, 16)
    await machine.sh("systemctl stop hogs", fails=True)  # of a run before
    await machine.sh("schedctl apply steady && schedctl resume")
    assert "on trial for 16 s" in (await machine.status())["state_reason"]
    await machine.start_unit("hogs", HOGS)
    (await machine.vm.run(["python3", "-c", PROMOTED], timeout_s=PATIENCE_S)).check()
    life = await lived(machine, "rotting", 30)  # from 10 s on its slices are twice as long
    await machine.sh("systemctl stop hogs", timeout_s=PATIENCE_S)
    assert "rotting was taken back: p99 run delay of normal" in await machine.history("outcome")
    after = await machine.status()
    assert (after["policy"], after["policy_source"]) == ("steady", "fallback")
    late = life.gone - life.came - 10
    print(f"taken back {late:.2f} s after its tail doubled: {life}; {after['state_reason']}")
    assert -1 < late < 5, after["state_reason"]


async def test_a_scheduler_that_serves_nobody_is_ended_by_the_daemon(machine: Installed) -> None:
    """Neither the daemon nor the host is its to starve; the kernel would wait half a minute."""
    await canary(machine, 16)
    await machine.sh("systemctl stop hog", fails=True)  # of a run before
    await machine.sh("schedctl apply balanced && schedctl resume")
    await machine.active()
    # Who sleeps is given an idle CPU by the kernel: only whose slice ends is the scheduler's.
    await machine.start_unit("hog", "sh -c 'while :; do :; done'")
    # Once its own trial is over it is what there is to go back to.
    (await machine.vm.run(["python3", "-c", PROMOTED], timeout_s=PATIENCE_S)).check()
    life = await lived(machine, "starving", 25)
    await machine.sh("systemctl stop hog")
    late = life.gone - life.came - 3
    print(f"ended {late:.2f} s after it began to starve everybody: {life}")
    assert -1 < late < 8
    assert "tasks wait for a CPU" in await machine.history("outcome")
    await canary(machine, 0)
    await machine.sh("schedctl apply balanced && schedctl resume")
    await machine.active()


@pytest.mark.parametrize(
    ("command", "left"),
    [(["schedctl", "kill"], ""), (["schedctl", "apply", "balanced"], "schedcp_intent")],
)
async def test_an_operator_is_heard_where_nobody_is_served(
    machine: Installed, command: list[str], left: str
) -> None:
    """Without a trial nobody else ends it: the word goes by the bus, the daemon and the host."""
    await canary(machine, 0)
    await machine.sh("schedctl apply balanced && schedctl resume")
    await machine.active()
    argv = ["python3", "-c", OPERATOR, "starving", *command]
    seen = json.loads((await machine.vm.run(argv, timeout_s=PATIENCE_S)).check().text)
    print(seen)
    assert seen["code"] == 0, seen
    assert seen["gone_s"] < 10 and seen["served_s"] < 1, seen
    assert seen["ops"].startswith(left) and bool(seen["ops"]) == bool(left), seen
    await machine.sh("schedctl resume; schedctl apply balanced")
