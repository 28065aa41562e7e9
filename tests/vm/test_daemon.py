# SPDX-License-Identifier: Apache-2.0
"""The daemon and the scheduler host as installed, on a real kernel with real units.

One machine for the file, since starting costs a minute under emulation: each test begins and ends
with the daemon active.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schedcpd.microvm import VmSpec
from schedcpd.model import ACT_RESTART, IntentClass

from .installed import HOME, STATE, Installed, Machines

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Reads the state as fast as it can and says how often it was not `enabled`.
SAMPLER = f"""
import time
end, reads, other = time.monotonic() + %s, 0, 0
while time.monotonic() < end:
    with open("{STATE}") as f:
        other += f.read().strip() != "enabled"
    reads += 1
    time.sleep(0.001)
print(reads, other)
"""


# Of a swap, with the signal; each takes half a minute. SCHEDCP_FAULTS=all: more of them.
MOMENTS = [("gap", 9)]
if os.environ.get("SCHEDCP_FAULTS") == "all":
    MOMENTS += [("recorded", 9), ("enabled", 9), ("gap", 15)]
IN_A_SWAP = Path(__file__).parent / "guest" / "in_a_swap.py"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machines(
    vm_image: VmSpec, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Machines]:
    found = Machines(vm_image, tmp_path_factory)
    yield found
    await found.close()


@pytest_asyncio.fixture(loop_scope="module")
async def machine(machines: Machines) -> Installed:
    return await machines.running()


async def test_an_intent_stands_in_the_map_and_changes_live(machine: Installed) -> None:
    await machine.sh("systemctl start nginx")
    nginx = "/system.slice/nginx.service"
    await machine.stands(nginx, IntentClass.LATENCY)
    seq = await machine.seq()
    sampler = asyncio.create_task(machine.vm.run(["python3", "-c", SAMPLER % 12], timeout_s=120))
    await machine.sh("schedctl pin nginx.service background")
    await machine.stands(nginx, IntentClass.BACKGROUND)
    await machine.sh("schedctl unpin nginx.service")
    await machine.stands(nginx, IntentClass.LATENCY)
    reads, other = (int(n) for n in (await sampler).check().text.split())
    assert reads > 100
    assert other == 0, f"{other} of {reads} looks found no scheduler"
    assert await machine.seq() == seq
    await machine.sh("systemctl stop nginx")
    await machine.until("schedctl list", "schedcpd")
    assert "nginx" not in await machine.sh("schedctl list")


async def test_a_pinned_slice_is_inherited(machine: Installed) -> None:
    cgroup = await machine.start_unit("inheriting", options="--slice=pinned.slice")
    await machine.sh("schedctl pin pinned.slice batch")
    await machine.stands(cgroup, IntentClass.BATCH)
    explained = json.loads(await machine.sh("schedctl explain inheriting.service --json"))
    assert explained["explain"]["intent"]["source"] == "inherited"
    await machine.sh("schedctl unpin pinned.slice && systemctl stop inheriting")


async def test_a_program_after_exec_and_in_a_session_is_seen(machine: Installed) -> None:
    await machine.sh("cp /bin/sleep /usr/local/bin/cc1")
    cgroup = await machine.start_unit("compiling", "/usr/local/bin/cc1 1000")
    await machine.stands(cgroup, IntentClass.BATCH)
    await machine.sh("systemctl stop compiling")


async def test_the_daemons_death_leaves_the_scheduler_and_it_is_adopted(
    machine: Installed,
) -> None:
    before = await machine.status()
    seq, host = await machine.seq(), await machine.pid("schedcp-scheduler")
    daemon = await machine.pid("schedcpd")
    sampler = asyncio.create_task(machine.vm.run(["python3", "-c", SAMPLER % 20], timeout_s=120))
    await machine.sh(f"kill -9 {daemon}")
    await machine.until("systemctl show -p MainPID -p SubState schedcpd", "running")
    assert await machine.pid("schedcpd") != daemon
    await machine.active()
    reads, other = (int(n) for n in (await sampler).check().text.split())
    assert (reads > 100, other) == (True, 0)
    after = await machine.status()
    assert await machine.seq() == seq
    assert await machine.pid("schedcp-scheduler") == host
    assert after["deployment_id"] == before["deployment_id"]
    await machine.sh("systemctl start nginx")
    await machine.stands("/system.slice/nginx.service", IntentClass.LATENCY)
    await machine.sh("systemctl stop nginx")


async def test_the_hosts_death_is_an_operators_stop(machine: Installed) -> None:
    await machine.sh(f"kill -9 {await machine.pid('schedcp-scheduler')}")
    await machine.until("schedctl status", "scheduler host ended")
    assert (await machine.sh(f"cat {STATE}")).strip() == "disabled"
    assert (await machine.status())["state"] == "default"
    await asyncio.sleep(5)
    assert (await machine.sh(f"cat {STATE}")).strip() == "disabled"  # nobody loads it again
    assert '"lost"' in await machine.history("outcome")
    await machine.sh("schedctl resume")
    await machine.active()


async def test_the_kill_switch_and_the_kernels_own(machine: Installed) -> None:
    await machine.sh("schedctl kill")
    assert (await machine.sh(f"cat {STATE}")).strip() == "disabled"
    assert (await machine.status())["state"] == "killed"
    await machine.sh("systemctl restart schedcpd")
    assert (await machine.status())["state"] == "killed"
    await machine.sh("schedctl resume")
    await machine.active()
    await machine.sh("echo S > /proc/sysrq-trigger")
    await machine.until("schedctl status", "SysRq-S")
    assert (await machine.status())["state"] == "killed"
    assert '"SYSRQ"' in await machine.history("outcome")
    await machine.sh("schedctl resume")
    await machine.active()


async def test_a_bad_configuration_on_sighup_changes_nothing(machine: Installed) -> None:
    path = "/etc/schedcp/schedcpd.yaml.d/zz-bad.yaml"
    daemon, seq = await machine.pid("schedcpd"), await machine.seq()
    await machine.sh(f"printf 'policy: balanced\\nobserve: {{sample_s: often}}\\n' > {path}")
    await machine.sh("systemctl reload schedcpd")
    await machine.until("journalctl -u schedcpd -o cat --no-pager", f"{path}:2: observe.sample_s")
    await machine.sh(f"rm {path} && systemctl reload schedcpd")
    await machine.until("journalctl -u schedcpd -o cat --no-pager", "were read again")
    assert (await machine.pid("schedcpd"), await machine.seq()) == (daemon, seq)
    await machine.active()


async def test_a_foreign_scheduler_is_left_alone(machine: Installed) -> None:
    await machine.sh("schedctl apply kernel-default")
    register = "bpftool struct_ops register /usr/share/schedcp/bpf/intent.bpf.o /sys/fs/bpf/foreign"
    await machine.sh(f"mkdir -p /sys/fs/bpf/foreign && {register}")
    await machine.until("schedctl status", "foreign")
    seq = await machine.seq()
    refused = await machine.vm.run(["schedctl", "apply", "balanced"], timeout_s=60)
    assert refused.exit_code == 1
    assert "never evicted" in refused.error_text
    assert await machine.seq() == seq
    await machine.sh("rm -r /sys/fs/bpf/foreign")
    await machine.until("schedctl status", "default")
    await machine.sh("schedctl apply balanced")
    await machine.active()


async def test_the_repository_remembers_what_ran(machine: Installed) -> None:
    async def asked(command: str) -> Any:
        return json.loads(await machine.sh(f"schedctl policy {command} --json"))

    await machine.sh("systemctl start nginx")
    shown = (await asked("show balanced"))["policy"]
    assert (shown["standing"], shown["current"], shown["origin"]) == ("in-force", True, "shipped")
    assert any(verdict["passed"] and verdict["covers"] for verdict in shown["verdicts"])
    await machine.sh("schedctl apply server && schedctl apply balanced")
    (trial, *_) = (await asked("history server"))["history"]["trials"]
    assert (trial["kind"], trial["sha256"]) == (
        "replaced",
        (await asked("show server"))["policy"]["sha256"],
    )
    assert trial["kernel"] == (await machine.sh("uname -r")).strip()
    assert "nginx" in {workload["executable"] for workload in trial["workloads"]}
    (first, *_) = (await asked("search --workload nginx.service --intent latency"))["found"]
    assert first["neighbours"][0]["executable"] == "nginx" and first["score"] > 0
    (words, *_) = (await asked("search requests first"))["found"]
    assert words["name"] == "server"
    await machine.sh("schedctl policy retire server --reason 'a test'")
    await machine.sh("systemctl restart schedcpd.service")
    await machine.active()
    shown = (await asked("show server"))["policy"]
    assert shown["not_chosen"].endswith("a test") and shown["standing"] == "retired"
    await machine.sh("schedctl policy promote server")
    await machine.sh("schedctl policy lint /usr/share/schedcp/policies.d/*.yaml")


async def test_what_is_handed_in_is_examined_by_another_user(machine: Installed) -> None:
    """tests/vm/test_verify_service.py has a compiler; here it is said that there is none."""

    async def verify(path: str) -> tuple[int, str]:
        done = await machine.vm.run(["schedctl", "verify", "--daemon", path], timeout_s=120)
        return done.exit_code, done.text + done.error_text

    code, said = await verify("/usr/share/schedcp/policies.d/10-intent.yaml")
    assert code == 0, said
    await machine.write("/root/wrong.yaml", "version: 1\npolicies: [{name: X}]\n")
    code, said = await verify("/root/wrong.yaml")
    assert (code, "[policy." in said) == (1, True), said
    await machine.write("/root/mine.bpf.c", "int x;\n")
    code, said = await verify("/root/mine.bpf.c")
    assert (code, "clang" in said and "cannot be compiled here" in said) == (5, True), said
    service = await machine.pid("schedcp-verify")
    assert (await machine.sh(f"stat -c %U /proc/{service}")).strip() == "schedcp-verify"


async def test_the_bus_may_restart(machine: Installed) -> None:
    seq = await machine.seq()
    await machine.sh("systemctl restart dbus", fails=True)
    await machine.until("schedctl status", "schedcp_intent")
    assert await machine.seq() == seq


async def test_an_ejection_leads_back_is_recorded_and_not_retried(machine: Installed) -> None:
    await machine.sh("schedctl apply balanced")
    await machine.active()
    await machine.sh("schedctl apply failing")
    assert (await machine.status())["scheduler"] == "schedcp_faulty"
    # Its fault is set off by a task of the class background.
    await machine.start_unit("trigger", "sh -c 'while :; do sleep 0.01; done'")
    await machine.sh("schedctl pin trigger.service background")
    await machine.until("schedctl status", "schedcp_intent")
    after = await machine.status()
    assert (after["policy"], after["policy_source"]) == ("balanced", "fallback")
    outcomes = await machine.history("outcome")
    assert "is not wanted here" in outcomes
    assert '"ejected"' in outcomes
    explained = await machine.sh("schedctl explain --json")
    assert "is not wanted here" in explained
    seq = await machine.seq()
    await asyncio.sleep(5)
    assert await machine.seq() == seq
    await machine.sh("schedctl unpin trigger.service && systemctl stop trigger")
    # A scheduler whose init fails never becomes enabled; what ran before it comes back.
    refused = await machine.vm.run(["schedctl", "apply", "stillborn"], timeout_s=120)
    assert refused.exit_code == 1
    assert (await machine.status())["policy"] == "balanced"
    assert '"failed"' in await machine.history("outcome")
    await machine.active()


async def consistent(machine: Installed) -> None:
    """What the daemon says runs is what the kernel runs, and it stays so."""
    await machine.until("schedctl status", "active")
    await asyncio.sleep(2)
    said = await machine.status()
    ops = await machine.sh("cat /sys/kernel/sched_ext/root/ops")
    assert (said["state"], said["scheduler"]) == ("active", ops.strip())
    wanted = {"steady": "schedcp_aging", "balanced": "schedcp_intent"}
    assert wanted[said["policy"]] == said["scheduler"]


@pytest.mark.parametrize(("moment", "number"), MOMENTS)
async def test_the_daemon_dies_in_a_swap(machine: Installed, moment: str, number: int) -> None:
    daemon, host = await machine.pid("schedcpd"), await machine.pid("schedcp-scheduler")
    await machine.vm.put(IN_A_SWAP, "/root/in_a_swap.py")
    await machine.sh(f"python3 /root/in_a_swap.py steady {moment} {number} {daemon}")
    if number == 15:
        await machine.until("systemctl show -p SubState schedcpd", "dead")
        await machine.sh("systemctl start schedcpd")
    await machine.until("systemctl show -p MainPID -p SubState schedcpd", "running")
    assert await machine.pid("schedcpd") != daemon
    await consistent(machine)
    assert await machine.pid("schedcp-scheduler") == host
    await machine.sh("schedctl apply balanced")
    await consistent(machine)


async def test_a_cpu_that_goes_or_comes_leaves_the_same_scheduler(machine: Installed) -> None:
    """The kernel ends a scheduler without ops for that, and says that it may start again."""
    await machine.sh("schedctl apply steady")
    for online in ("0", "1"):
        seq, before = await machine.seq(), await machine.status()
        setbacks = json.loads(await machine.sh(f"cat {HOME}/deploy.json"))["setbacks_unix_s"]
        await machine.sh(f"echo {online} > /sys/devices/system/cpu/cpu3/online")
        await machine.until("cat /sys/kernel/sched_ext/enable_seq", str(seq + 1))
        await consistent(machine)
        after = await machine.status()
        assert after["policy"] == "steady"
        assert after["deployment_id"] != before["deployment_id"]
        record = json.loads(await machine.sh(f"cat {HOME}/deploy.json"))
        assert record["setbacks_unix_s"] == setbacks
        exits = json.loads(await machine.history("outcome"))["records"][0]["data"]["exit"]
        assert exits["kind_name"] == "UNREG_KERN" and exits["code"] & ACT_RESTART, exits
    await machine.sh("schedctl apply balanced")
    await consistent(machine)


async def test_of_two_changes_at_once_one_is_made(machine: Installed) -> None:
    changes = "schedctl apply steady & schedctl apply balanced; echo $? >&3; wait $!; echo $? >&3"
    script = f"exec 3>&1 >/dev/null; {changes}"
    done = await machine.vm.run(["sh", "-c", script], timeout_s=180)
    codes = [int(code) for code in done.text.split()]
    assert 0 in codes, done.error_text
    if codes != [0, 0]:
        assert "another change of the scheduler is being made" in done.error_text
    await consistent(machine)
    await machine.sh("schedctl apply balanced")
    await consistent(machine)


async def test_a_full_disk_stops_swaps_but_not_the_kill_switch(machine: Installed) -> None:
    daemon, seq = await machine.pid("schedcpd"), await machine.seq()
    for size in ("64k", "1"):
        full = await machine.sh(f"dd if=/dev/zero bs={size} 2>&1 >>{HOME}/filler", fails=True)
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


async def test_damaged_records_are_set_aside(machine: Installed) -> None:
    """All of them at once: what ran has no record any more, is ended and begun anew."""
    files = ("deploy.json", "pins.json", "history.sqlite", "policies.sqlite")
    # A journal that is whole would mend what it belongs to.
    damaged = (*files, "history.sqlite-wal", "policies.sqlite-wal")
    damage = " && ".join(f"head -c 3000 /dev/urandom >{HOME}/{name}" for name in damaged)
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
