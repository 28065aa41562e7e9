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
from typing import Any

import pytest
import pytest_asyncio

from schedcpd.microvm import VmSpec
from schedcpd.model import IntentClass

from .installed import STATE, Installed, installed

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = pytest.mark.skipif(
    os.environ.get("SCHEDCP_CANARY") != "1",
    reason="opt-in by SCHEDCP_CANARY=1: two minutes, on a machine with nothing else to do",
)
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

    async def verify(name: str, text: str) -> tuple[int, str]:
        await machine.write(f"/root/{name}", text)
        argv = ["schedctl", "verify", "--daemon", f"/root/{name}"]
        done = await machine.vm.run(argv, timeout_s=120)
        return done.exit_code, done.text + done.error_text

    assert (await verify("none.yaml", "version: 1\nrules: []\n"))[0] == 0
    code, said = await verify("wrong.yaml", "version: 1\npolicies: [{name: X}]\n")
    assert (code, "[policy." in said) == (1, True), said
    code, said = await verify("mine.bpf.c", "int x;\n")
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


@CANARY
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


@CANARY
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
