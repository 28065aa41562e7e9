# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: drives the scheduler host as the daemon would, prints what it saw as JSON.

python3 intent_guest.py SCENARIO   (with hosting.py beside it)
"""

# ruff: noqa: ASYNC221, ASYNC240 - nothing else runs in this loop, so blocking it hurts nobody

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hosting import (
    BPF,
    CPUS,
    Cgroup,
    Host,
    cgroups,
    delta,
    deltas,
    shown,
    summary,
    token_for,
    wait_state,
)

# ---------------------------------------------------------------- scenarios


async def scenario_load() -> dict[str, Any]:
    """Load, a live change of intent, statistics, unload; the host's own resources."""
    async with Host.connected() as host:
        answer: dict[str, Any] = {"hello": await host.call("hello"), "before": shown()}
        with cgroups(a=None) as (group,):
            child = Cgroup("child", group)
            child.spin(1)
            began = time.monotonic()
            answer["status"] = await host.load(intents={group.id: "batch"})
            answer["load_s"] = time.monotonic() - began
            answer["loaded"] = shown()
            answer["inherited"] = await delta(host, group, 1)
            classes = [(await host.call("stats"))["classes"]]
            began = time.monotonic()
            answer["written"] = await host.call(
                "set_intents", set=[[group.id, "latency"]], delete=[]
            )
            answer["write_s"] = time.monotonic() - began
            await asyncio.sleep(0.3)
            classes.append((await host.call("stats"))["classes"])
            await asyncio.sleep(1)
            classes.append((await host.call("stats"))["classes"])
            answer["run_ns"] = [
                {name: c[name]["run_ns"] for name in ("latency", "batch")} for c in classes
            ]
            answer["changed"] = shown()
            pid = answer["status"]["host_pid"]
            status = Path(f"/proc/{pid}/status").read_text()
            answer["rss_kib"] = int(status.split("VmRSS:")[1].split()[0])
            answer["policy"] = os.sched_getscheduler(pid)
            ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            await asyncio.sleep(6)
            later = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            answer["idle_ticks_in_6s"] = sum(map(int, later[11:13])) - sum(map(int, ticks[11:13]))
            child.end()
        answer["unloaded"] = await host.call("unload", reason="the test is over")
        answer["after"] = shown()
        return answer


async def scenario_refusals() -> dict[str, Any]:
    """What a load must not accept; nothing is attached by any of it."""
    async with Host.connected() as host:
        answer: dict[str, Any] = {
            "no_token": await host.refused("load", token=""),
            "wrong_bytes": await host.refused("load", sha256="0" * 64),
            "other_tunables": await host.refused(
                "load",
                tunables={"batch_slice_us": 5000},
                token=await asyncio.to_thread(
                    token_for, (BPF / "intent.bpf.o").read_bytes(), "intent", {}
                ),
            ),
            "relative": await host.refused("load", object="intent.bpf.o"),
            "device": await host.refused("load", object="/dev/zero"),
            "no_scheduler": await host.refused("set_intents", set=[], delete=[]),
            "bad_class": await host.refused("set_intents", set=[[1, "fast"]], delete=[]),
            "bad_param": await host.refused("status", verbose=True),
        }  # fmt: skip
        answer["after"] = shown()
        pin = Path("/sys/fs/bpf/foreign")
        pin.mkdir()
        register = ["bpftool", "struct_ops", "register", str(BPF / "intent.bpf.o"), str(pin)]
        subprocess.run(register, check=True, capture_output=True)
        answer["foreign_shown"] = shown()
        answer["foreign"] = await host.refused("load")
        answer["foreign_after"] = shown()
        for entry in pin.iterdir():
            entry.unlink()
        wait_state("disabled", 10)
        return answer


async def scenario_latency(seconds: float = 6) -> dict[str, Any]:
    """Short tasks beside twice as many hogs as CPUs: as latency, then as batch like the hogs."""
    async with Host.connected() as host:
        with cgroups(server=None, build=None) as (server, build):
            await host.load(intents={server.id: "latency", build.id: "batch"})
            server.sleep_often(2)
            build.spin(2 * CPUS)
            await asyncio.sleep(2)
            first = await deltas(host, [server, build], seconds)
            await host.call("set_intents", set=[[server.id, "background"]], delete=[])
            await asyncio.sleep(1)
            second = await deltas(host, [server, build], seconds)
            answer = {"latency": first[0], "batch": first[1], "as_background": second[0]}
        await host.call("unload", reason="done")
        return {**answer, "cpus": CPUS}


async def scenario_weights(seconds: float = 8) -> dict[str, Any]:
    """1:4 between cgroups; 1:4 one level down; nice 0 and 5 inside one."""
    async with Host.connected() as host:
        await host.load()
        answer: dict[str, Any] = {}
        with cgroups(light=100, heavy=400) as (light, heavy):
            everything = {light.id: "batch", heavy.id: "batch"}
            await host.call("set_intents", set=[[k, v] for k, v in everything.items()], delete=[])
            light.spin(CPUS)
            heavy.spin(2 * CPUS)  # twice the tasks must not mean twice the share
            await asyncio.sleep(1)
            answer["flat"] = [d["usage_us"] for d in await deltas(host, [light, heavy], seconds)]
            (light.path / "cpu.weight").write_text("400")
            (heavy.path / "cpu.weight").write_text("100")
            await asyncio.sleep(1)
            answer["swapped"] = [d["usage_us"] for d in await deltas(host, [light, heavy], seconds)]
        await host.call("unload", reason="done")
        return answer


async def scenario_starvation(seconds: float = 10) -> dict[str, Any]:
    """Latency hogs take all they can; a background task, a pinned one and a normal one live."""
    async with Host.connected() as host:
        with cgroups(hogs=None, low=None, pinned=None, plain=None) as (hogs, low, pinned, plain):
            await host.load(
                intents={hogs.id: "latency", low.id: "background", pinned.id: "background",
                         plain.id: "normal"}
            )  # fmt: skip
            hogs.spin(2 * CPUS)
            low.spin(1)
            plain.spin(1)
            pinned.run("taskset", "-c", "0", "sh", "-c", "while :; do :; done")
            await asyncio.sleep(1)
            names = ("hogs", "background", "pinned", "normal")
            got = await deltas(host, [hogs, low, pinned, plain], seconds)
            answer = dict(zip(names, got, strict=True))
        answer["status"] = await host.call("status")
        await host.call("unload", reason="done")
        return {**answer, "seconds": seconds, "cpus": CPUS}


async def scenario_crowd(seconds: float = 12) -> dict[str, Any]:
    """Many background tasks behind latency hogs: all of them run."""
    async with Host.connected() as host:
        with cgroups(hogs=None, crowd=None) as (hogs, crowd):
            await host.load(intents={hogs.id: "latency", crowd.id: "background"})
            crowd.spin(100)
            hogs.spin(2 * CPUS)
            await asyncio.sleep(3)

            def used() -> list[int]:
                lines = (Path(f"/proc/{c.pid}/stat").read_text() for c in crowd.children)
                stats = [line.rsplit(")", 1)[1].split() for line in lines]
                return [int(s[11]) + int(s[12]) for s in stats]

            def runs() -> list[int]:
                lines = (Path(f"/proc/{c.pid}/sched").read_text() for c in crowd.children)
                return [int(t.split("nr_switches")[1].split(":")[1].split()[0]) for t in lines]

            before = runs()
            got = await deltas(host, [hogs, crowd], seconds)
            after = runs()
            answer = {
                "hogs": got[0],
                "crowd": got[1],
                "never_ran": sum(b == a for a, b in zip(before, after, strict=True)),
                "status": await host.call("status"),
            }
        await host.call("unload", reason="done")
        return {**answer, "seconds": seconds}


async def scenario_limits(seconds: float = 3.0) -> dict[str, Any]:
    """cpu.max of 30 ms in 100 ms: alone on the machine, beside hogs, and taken away again."""

    async def used_cpus(*groups: Cgroup) -> list[float]:
        await asyncio.sleep(1)
        began, before = time.monotonic(), [group.usage_us() for group in groups]
        await asyncio.sleep(seconds)
        spent = (time.monotonic() - began) * 1e6
        return [(g.usage_us() - b) / spent for g, b in zip(groups, before, strict=True)]

    async with Host.connected() as host:
        with cgroups(limited=None, other=None) as (limited, other):
            limit = limited.path / "cpu.max"
            limit.write_text("30000 100000")  # before it is loaded
            await host.load(intents={limited.id: "latency", other.id: "background"})
            limited.spin(CPUS)
            alone = await used_cpus(limited)
            other.spin(CPUS)
            beside = await used_cpus(limited, other)
            limit.write_text("60000 100000")
            raised = await used_cpus(limited)
            limit.write_text("max 100000")
            unlimited = await used_cpus(limited)
            status = await host.call("status")
        await host.call("unload", reason="done")
    return {
        "cpus": CPUS,
        "alone": alone[0],
        "beside": beside,
        "raised": raised[0],
        "unlimited": unlimited[0],
        "attached": status["attached"],
        "events": [name for _, name, _ in host.events],
    }


async def scenario_kill() -> dict[str, Any]:
    """The host is SIGKILLed: the kernel's default within moments, and a new host can load."""
    async with Host.connected() as host:
        status = await host.load()
        os.kill(status["host_pid"], signal.SIGKILL)
        seconds = wait_state("disabled", 10)
        await asyncio.wait_for(host.client.closed.wait(), 5)
    subprocess.run(["systemctl", "reset-failed", "schedcp-scheduler.service"], check=True)
    async with Host.connected() as host:
        again = await host.load()
        subprocess.run(["systemctl", "stop", "schedcp-scheduler.service"], check=True)
        return {"disabled_s": seconds, "again": again["attached"], "stopped": shown()}


async def scenario_sysrq() -> dict[str, Any]:
    async with Host.connected() as host:
        await host.load()
        began = time.monotonic()
        Path("/proc/sysrq-trigger").write_text("S")
        answer = await host.ejected()
        answer["after_s"] = answer.pop("at") - began
        answer["status"] = await host.call("status")
        answer["again"] = (await host.load())["attached"]
        await host.call("unload", reason="done")
        return answer


async def scenario_faults() -> dict[str, Any]:
    """A scheduler that reports an error, one that loses tasks, one whose init fails."""
    answer: dict[str, Any] = {}
    for name, fault in (("error", 2), ("stall", 1)):
        async with Host.connected() as host:
            with cgroups(victim=None) as (victim,):
                await host.load(
                    "faulty", tunables={"fault": fault}, intents={victim.id: "background"}
                )
                victim.spin(1)
                answer[name] = await host.ejected()
    async with Host.connected() as host:
        answer["init"] = await host.refused("load", scheduler="faulty", tunables={"fault": 3})
        answer["status"] = await host.call("status")
    answer["after"] = shown()
    return answer


async def scenario_swap() -> dict[str, Any]:
    """A new load replaces the old scheduler under load; a bad one leaves the old one running."""
    async with Host.connected() as host:
        with cgroups(a=None) as (group,):
            group.spin(CPUS)
            first = await host.load()
            second = await host.load(tunables={"default_class": 1})
            refused = await host.refused("load", sha256="1" * 64)
            still = await host.call("status")
        await host.call("unload", reason="done")
        return {"first": first, "second": second, "refused": refused, "still": still}


async def scenario_retune(seconds: float = 3) -> dict[str, Any]:
    """Live tunables change under load: the same scheduler goes on, and acts on them."""
    async with Host.connected() as host:
        with cgroups(a=None) as (group,):
            group.run("taskset", "-c", "0", "sh", "-c", "while :; do :; done", count=2)
            intents = {group.id: "batch"}

            async def runs_a_second(batch_slice_us: int) -> tuple[dict[str, Any], float, float]:
                name = f"slice-{batch_slice_us}"
                status = await host.load(
                    tunables={"batch_slice_us": batch_slice_us}, intents=intents, deployment_id=name
                )
                at_once = (await host.call("stats", cgroups=[]))["classes"]["batch"]["runs"]
                await asyncio.sleep(seconds)
                later = (await host.call("stats", cgroups=[]))["classes"]["batch"]["runs"]
                return status, at_once, (later - at_once) / seconds

            long, _, slow = await runs_a_second(50_000)
            short, at_once, fast = await runs_a_second(2_000)
            back, _, slow_again = await runs_a_second(50_000)
        await host.call("unload", reason="done")
        return {
            "statuses": [long, short, back],
            "runs_a_second": [slow, fast, slow_again],
            "counted_at_once": at_once,
        }


async def scenario_stress(seconds: float = 60) -> dict[str, Any]:
    """Forks, affinity changes, cgroups that come and go with weights and intents, hotplug."""
    async with Host.connected() as host:
        with cgroups(hogs=None, forks=None, work=None, nest=None) as (hogs, forks, work, nest):
            await host.load(intents={hogs.id: "batch", forks.id: "normal", work.id: "interactive"})
            hogs.spin(CPUS)
            storm = "while :; do for i in 1 2 3 4 5 6 7 8; do /bin/true & done; wait; done"
            forks.run("sh", "-c", storm, count=2)
            work.sleep_often(3, millis=1)
            until = time.monotonic() + seconds
            rounds = 0
            classes = ("latency", "interactive", "normal", "batch", "background")
            while time.monotonic() < until and not host.events:
                churn = Cgroup(f"churn-{rounds}", nest if rounds % 2 else None, 1 + rounds % 10000)
                intent = [[churn.id, classes[rounds % 5]], [work.id, classes[rounds % 3]]]
                await host.call("set_intents", set=intent, delete=[])
                churn.spin(2)
                mask = f"{1 + rounds % (2**CPUS - 1):x}"
                for child in hogs.children[:2] + churn.children[:1]:
                    subprocess.run(["taskset", "-p", mask, str(child.pid)], capture_output=True)
                if rounds % 5 == 3 and CPUS > 1:
                    cpu = Path(f"/sys/devices/system/cpu/cpu{CPUS - 1}/online")
                    cpu.write_text("0")
                    await asyncio.sleep(0.2)
                    cpu.write_text("1")
                (churn.path / "cpu.weight").write_text(str(10000 - rounds % 9999))
                await asyncio.sleep(0.1)
                churn.end()
                await host.call("set_intents", set=[], delete=[churn.id])
                rounds += 1
            status = await host.call("status")
            stats = await host.call("stats")
        final = shown()
        if status["attached"]:
            await host.call("unload", reason="done")
        return {
            "rounds": rounds,
            "status": status,
            "shown": final,
            "events": [data["last_exit"] for _, _, data in host.events],
            "classes": {name: summary(s) for name, s in stats["classes"].items()}
            if status["attached"]
            else {},
        }


def main() -> None:
    scenario = globals()[f"scenario_{sys.argv[1]}"]
    print(json.dumps(asyncio.run(scenario(*map(float, sys.argv[2:])))))


if __name__ == "__main__":
    main()
