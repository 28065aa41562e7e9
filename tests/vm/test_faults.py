# SPDX-License-Identifier: Apache-2.0
"""Faults of deployment on a real kernel: killed in a swap, a full disk, damaged records.

docs/deploy.md has the table. One machine for the file; each test begins and ends with the daemon
active and the policy `balanced`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schedcpd.microvm import VmSpec

from .installed import STATE, Installed, installed

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOME = "/var/lib/schedcp"
# Applies a policy and sends the daemon a signal at a moment of the swap, above everybody.
IN_A_SWAP = f"""
import json, os, subprocess, sys, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
policy, moment, number, daemon = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
read = lambda path: open(path).read().strip()
before = read("/sys/kernel/sched_ext/enable_seq")
moments = {{
    "recorded": lambda: json.loads(read("{HOME}/deploy.json"))["pending"] is not None,
    "gap": lambda: read("{STATE}") != "enabled",
    "enabled": lambda: read("/sys/kernel/sched_ext/enable_seq") != before,
}}
quiet = subprocess.DEVNULL
subprocess.Popen(["schedctl", "apply", policy], stdin=quiet, stdout=quiet, stderr=quiet)
end = time.monotonic() + 60
while not moments[moment]():
    assert time.monotonic() < end, "there was no such moment"
    time.sleep(0.001)
os.kill(daemon, number)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(
    vm_image: VmSpec, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installed]:
    async with installed(vm_image, tmp_path_factory.mktemp("installed")) as running:
        yield running


async def consistent(machine: Installed) -> None:
    """What the daemon says runs is what the kernel runs, and it stays so."""
    for _ in range(2):
        await machine.until("schedctl status", "active")
        await asyncio.sleep(2)
    said = await machine.status()
    ops = await machine.sh("cat /sys/kernel/sched_ext/root/ops")
    assert (said["state"], said["scheduler"]) == ("active", ops.strip())
    wanted = {"steady": "schedcp_aging", "balanced": "schedcp_intent"}
    assert wanted[said["policy"]] == said["scheduler"]


@pytest.mark.parametrize(
    ("moment", "number"), [("recorded", 9), ("gap", 9), ("enabled", 9), ("gap", 15)]
)
async def test_the_daemon_dies_in_a_swap(machine: Installed, moment: str, number: int) -> None:
    daemon, host = await machine.pid("schedcpd"), await machine.pid("schedcp-scheduler")
    argv = ["python3", "-c", IN_A_SWAP, "steady", moment, str(number), str(daemon)]
    (await machine.vm.run(argv, timeout_s=120)).check()
    if number == 15:
        await machine.until("systemctl show -p SubState schedcpd", "dead")
        await machine.sh("systemctl start schedcpd")
    await machine.until("systemctl show -p MainPID -p SubState schedcpd", "running")
    assert await machine.pid("schedcpd") != daemon
    await consistent(machine)
    assert await machine.pid("schedcp-scheduler") == host
    await machine.sh("schedctl apply balanced")
    await consistent(machine)


async def test_a_full_disk_stops_swaps_but_not_the_kill_switch(machine: Installed) -> None:
    await machine.sh(
        f"systemctl stop schedcpd && cp -a {HOME} /root/kept"
        f" && mount -t tmpfs -o size=16m,mode=700 none {HOME} && cp -a /root/kept/. {HOME}/"
        " && systemctl start schedcpd"
    )
    await machine.active()
    daemon, seq = await machine.pid("schedcpd"), await machine.seq()
    for size in ("64k", "1"):
        full = await machine.sh(f"dd if=/dev/zero bs={size} >>{HOME}/filler 2>&1", fails=True)
        assert "No space left" in full
    refused = await machine.vm.run(["schedctl", "apply", "steady"], timeout_s=60)
    assert refused.exit_code == 1
    assert "cannot record the change" in refused.error_text
    assert "No space left" in refused.error_text
    assert await machine.seq() == seq
    await machine.active()
    await machine.sh("schedctl kill")
    assert (await machine.sh(f"cat {STATE}")).strip() == "disabled"
    assert (await machine.status())["state"] == "killed"
    await machine.sh(f"rm {HOME}/filler && schedctl resume")
    await consistent(machine)
    assert await machine.pid("schedcpd") == daemon
    await machine.sh(f"systemctl stop schedcpd && umount {HOME} && systemctl start schedcpd")
    await machine.sh("schedctl resume")
    await consistent(machine)


async def test_damaged_records_are_set_aside(machine: Installed) -> None:
    """All of them at once: what ran has no record any more, is ended and begun anew."""
    files = ("deploy.json", "pins.json", "history.sqlite", "policies.sqlite")
    damage = " && ".join(f"head -c 3000 /dev/urandom >{HOME}/{name}" for name in files)
    seq = await machine.seq()
    await machine.sh(f"systemctl kill -s KILL schedcpd; {damage}")
    await machine.until("systemctl show -p MainPID -p SubState schedcpd", "running")
    await machine.until("schedctl status", "active")
    await consistent(machine)
    assert await machine.seq() > seq
    journal = await machine.sh("journalctl -u schedcpd -o cat --no-pager")
    for name in files:
        assert await machine.sh(f"ls -d {HOME}/{name}.corrupt*"), name
        assert f"{HOME}/{name} was damaged" in journal, name
    assert "no record accounts for" in journal
    await machine.sh(f"rm {HOME}/*.corrupt*")
