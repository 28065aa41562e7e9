# SPDX-License-Identifier: Apache-2.0
"""Real external schedulers, run through the daemon as a user would. Opt-in: SCHEDCP_EXTERNAL=1.

Built by `tools/build-scx`, which takes a quarter of an hour once. SCHEDCP_EXTERNAL_POLICIES names
the policies to try (default: one of each program). scx_lavd alone is in the kernel's verifier for
more than a minute here.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schedcpd.host import process
from schedcpd.host.scx_programs import PROGRAMS
from schedcpd.microvm import VmSpec, resume

from .installed import LIMIT_S, STATE, Installed, Machines
from .stage import ROOT, install

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        os.environ.get("SCHEDCP_EXTERNAL") != "1",
        reason="opt-in by SCHEDCP_EXTERNAL=1: builds scx schedulers from the crate registry",
    ),
]

POLICIES = os.environ.get("SCHEDCP_EXTERNAL_POLICIES", "bpfland cosmos layered lavd").split()
START_S = 400.0
DONE = "canary over"
SETTINGS = f"""
policy: balanced
deploy: {{hold_down_s: 0, max_per_hour: 1000, canary_s: 2, setbacks_per_hour: 1000}}
external: {{enabled: true, start_timeout_s: {START_S:.0f}}}
"""


@contextlib.asynccontextmanager
async def with_programs(image: VmSpec, folder: Path) -> AsyncIterator[Installed]:
    """The daemon active on `balanced`, external schedulers switched on, and their programs."""
    built = await process.run([ROOT / "tools/build-scx"], timeout_s=3600)
    binaries = built.check("building scx schedulers").text.strip()
    async with resume(image, limit_s=LIMIT_S) as vm:
        await install(vm, folder / "stage")
        await vm.put(binaries, "/usr/local/bin")
        installed = Installed(vm)
        await installed.sh("chown -R root:root /usr/local/bin && chmod 755 /usr/local/bin/scx_*")
        await installed.sh("mkdir -p /etc/schedcp/schedcpd.yaml.d")
        await vm.run(["tee", "/etc/schedcp/schedcpd.yaml.d/test.yaml"], stdin=SETTINGS.encode())
        await installed.sh("systemctl start schedcpd.service")
        await installed.active()
        yield installed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machines(
    vm_image: VmSpec, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Machines]:
    found = Machines(vm_image, tmp_path_factory, with_programs)
    yield found
    await found.close()


@pytest_asyncio.fixture(loop_scope="module")
async def machine(machines: Machines) -> Installed:
    return await machines.running()


async def shown(machine: Installed, policy: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await machine.sh(f"schedctl policy show {policy} --json"))
    return found["policy"]


async def trusted(machine: Installed) -> None:
    """`balanced` runs, and its canary is over: it is what is gone back to."""
    await machine.active()
    await machine.until(f"schedctl status | grep -q 'on trial' || echo {DONE}", DONE)


@pytest.mark.parametrize("policy", POLICIES)
async def test_an_external_scheduler_runs_and_its_end_is_seen(
    machine: Installed, policy: str
) -> None:
    told = await shown(machine, policy)
    assert (told["unavailable"], told["standing"]) == ("", "trial")
    program = told["scheduler"]
    await trusted(machine)
    before = await machine.seq()
    await machine.sh(f"schedctl apply {policy}", timeout_s=START_S + 60)
    status = await machine.status()
    assert (status["state"], status["policy"]) == ("active", policy)
    assert (await machine.sh(f"cat {STATE}")).strip() == "enabled"
    assert PROGRAMS[program].is_ops(
        (await machine.sh("cat /sys/kernel/sched_ext/root/ops")).strip()
    )
    assert await machine.seq() > before
    explained = await machine.sh("schedctl explain")
    assert "not verified by schedcp" in explained
    pid = await machine.sh(f"pgrep -x {program[:15]}")
    assert (await machine.sh(f"readlink /proc/{pid.strip()}/exe")).strip() == told["program"]
    assert "schedcp-scheduler.service" in await machine.sh(f"cat /proc/{pid.strip()}/cgroup")
    # A crash: out of the kernel, into quarantine, and back to what ran well before.
    await machine.sh(f"kill -ABRT {pid.strip()}")
    await machine.until("schedctl log --kind outcome --json", "crashed by SIGABRT")
    await machine.active()
    # An operator's kill of the program: the kernel's own, until an operator's word.
    await machine.sh(f"schedctl apply {policy}", timeout_s=START_S + 60)
    await machine.sh(f"kill -9 $(pgrep -x {program[:15]})")
    await machine.until("schedctl status", "killed by SIGKILL")
    assert (await machine.sh(f"cat {STATE}")).strip() == "disabled"
    await machine.sh("schedctl apply balanced")
    await machine.active()


async def test_it_outlives_the_daemon_and_not_its_host(machine: Installed) -> None:
    policy = POLICIES[0]
    program = (await shown(machine, policy))["scheduler"]
    await trusted(machine)
    await machine.sh(f"schedctl apply {policy}", timeout_s=START_S + 60)
    seq, before = await machine.seq(), await machine.status()
    daemon = await machine.pid("schedcpd")
    await machine.sh(f"kill -9 {daemon}")
    await machine.until("systemctl show -p MainPID -p SubState schedcpd", "running")
    await machine.until("schedctl status", "active")
    after = await machine.status()
    assert (after["policy"], after["deployment_id"]) == (policy, before["deployment_id"])
    assert await machine.seq() == seq
    await machine.sh(f"kill -9 {await machine.pid('schedcp-scheduler')}")
    await machine.until(f"cat {STATE}", "disabled")
    assert await machine.sh(f"pgrep -x {program} || true") == ""
    await machine.until("schedctl status", "scheduler host ended")
    await machine.sh("schedctl apply balanced")
    await machine.active()


async def test_the_kill_switch_does_not_wait_for_one_that_loads(machine: Installed) -> None:
    """scx_lavd is in the verifier for a minute here; others are killed while they run."""
    policy = POLICIES[-1]
    program = (await shown(machine, policy))["scheduler"]
    await trusted(machine)
    await machine.sh(f"systemd-run --quiet --unit=applying schedctl apply {policy}")
    await machine.until(f"pgrep -x {program}", "\n")
    await machine.sh("schedctl kill", timeout_s=60)
    assert (await machine.sh(f"cat {STATE}")).strip() == "disabled"
    assert await machine.sh(f"pgrep -x {program} || true") == ""
    assert (await machine.status())["state"] == "killed"
    await machine.sh("schedctl resume")
    await machine.active()
