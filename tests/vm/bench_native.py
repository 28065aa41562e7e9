# SPDX-License-Identifier: Apache-2.0
"""The daemon's own share of the figures, at this machine's own speed.

The daemon is the real one, on a private bus, with real cgroups and real inotify. Only what this
machine's kernel may lack is stood in for: /sys/kernel/sched_ext by files, and the scheduler host
by a server on the same socket with the same protocol. The time ends when the request that would
write the BPF map has been read by that server. Needs root and a cgroup2 mount.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from schedcpd.host.jsonline import Json, JsonLineServer, Method
from schedcpd.host.kernel import read_kernel_build
from tests.bus.private_bus import PrivateBus

from .guest.bench_guest import BareWatch, cgroups, cpu_ns, memory_kib, sleeper, use_tree
from .stage import ROOT, stage_verdicts

CONFIG = """\
cgroup_root: {cgroups}
state_dir: {base}/state
run_dir: {base}/run
bpf_dir: {base}/bpf
policy_dirs: [{tree}/policies.d]
verdict_dirs: [{base}/usr/share/schedcp/verdicts, {base}/state/verdicts]
policy: balanced
agent: {{enabled: false}}
"""
NOTES = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0" + bytes(range(20))


def cgroup2_mount() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    return None


class StandIn:
    """The scheduler host's protocol over files that look like /sys/kernel/sched_ext."""

    def __init__(self, root: Path) -> None:
        self._scx = root / "sys/kernel/sched_ext"
        self._status: dict[str, Any] = {"attached": False, "host_pid": os.getpid()}
        self.told: dict[int, int] = {}  # cgroup id -> when (ns)
        self._scx.mkdir(parents=True)
        (self._scx / "state").write_text("disabled\n")
        for name, text in (
            ("sys/kernel/btf/vmlinux", b"\0"),
            ("sys/kernel/notes", NOTES),
            ("proc/sys/kernel/osrelease", b"7.3.4-standin\n"),
            ("proc/sys/kernel/version", b"#1 stand-in\n"),
            ("proc/sys/kernel/random/boot_id", b"this-boot\n"),
        ):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        needs = frozenset
        load = {"scheduler", "object", "sha256", "tunables", "intents", "deployment_id", "token"}
        self.server = JsonLineServer(
            {
                "hello": Method(self._hello),
                "status": Method(self._get_status),
                "load": Method(self._load, needs(load)),
                "unload": Method(self._unload, needs({"reason"})),
                "set_intents": Method(self._set, needs({"set", "delete"})),
                "stats": Method(self._stats, needs({"cgroups"})),
            }
        )

    @property
    def attached(self) -> bool:
        return bool(self._status["attached"])

    async def _hello(self, _: Json) -> Json:
        return {"version": "stand-in", "protocol": 1, "kernel": {}}

    async def _get_status(self, _: Json) -> Json:
        return self._status

    async def _load(self, params: Json) -> Json:
        (self._scx / "root").mkdir(exist_ok=True)
        (self._scx / "root/ops").write_text("stand_in\n")
        (self._scx / "enable_seq").write_text("1\n")
        (self._scx / "state").write_text("enabled\n")
        self._status = {
            "attached": True,
            "scheduler": params["scheduler"],
            "ops_name": "stand_in",
            "object_sha256": params["sha256"],
            "tunables": params["tunables"],
            "deployment_id": params["deployment_id"],
            "enable_seq": 1,
            "host_pid": os.getpid(),
        }
        return self._status

    async def _unload(self, _: Json) -> Json:
        (self._scx / "state").write_text("disabled\n")
        self._status = {"attached": False, "host_pid": os.getpid()}
        return self._status

    async def _set(self, params: Json) -> Json:
        now = time.monotonic_ns()
        for cgroup_id, _class in params["set"]:
            self.told.setdefault(cgroup_id, now)
        return {"written": len(params["set"])}

    async def _stats(self, _: Json) -> Json:
        return {"classes": {}, "cgroups": {}}


async def latency(told: dict[int, int], runs: int) -> tuple[list[float], list[float]]:
    """As in bench_guest: (bare, full) in µs."""
    bare, full = [], []
    with cgroups(runs, "lat") as made:
        await asyncio.sleep(2)
        for path in made:
            number, process = path.stat().st_ino, sleeper()
            watch = BareWatch(path)
            await asyncio.sleep(0.05)
            began = time.monotonic_ns()
            (path / "cgroup.procs").write_text(str(process.pid))
            for _ in range(5000):
                if number in told:
                    break
                await asyncio.sleep(0.002)
            full.append((told[number] - began) / 1e3)
            watch.thread.join()
            bare.append((watch.woke_ns - began) / 1e3)
    return bare, full


async def idle(pid: int, count: int, seconds: float) -> dict[str, float]:
    with cgroups(count, "idle") as made:
        for path in made:
            (path / "cgroup.procs").write_text(str(sleeper().pid))
        await asyncio.sleep(15)
        began, used = time.monotonic_ns(), cpu_ns(pid)
        await asyncio.sleep(seconds)
        used, passed = cpu_ns(pid) - used, time.monotonic_ns() - began
        return {
            "cgroups": count,
            "rss_kib": memory_kib(pid),
            "seconds": passed / 1e9,
            "cpu_percent": 100 * used / passed,
        }


async def measure(
    base: Path, objects: Path, *, runs: int, count: int, seconds: float
) -> dict[str, Any]:
    """Everything, with the daemon as a child. `objects`: compiled schedulers."""
    mount = cgroup2_mount()
    if mount is None or os.geteuid() != 0:
        raise SystemExit("needs root and a cgroup2 mount")
    use_tree(mount)
    root = base / "root"
    stand_in = StandIn(root)
    (base / "run").mkdir()
    (base / "bpf").symlink_to(objects)
    stage_verdicts(base, read_kernel_build(root), objects)
    # On a hybrid machine the file that tells cgroup v2 from v1 is there, if empty.
    config = base / "schedcpd.yaml"
    config.write_text(CONFIG.format(cgroups=mount, base=base, tree=ROOT))
    bus = PrivateBus(base)
    bus.start()
    await stand_in.server.start(base / "run/scheduler.sock")
    argv = [sys.executable, "-m", "tests.vm.bench_child", config, bus.address, root]
    child = await asyncio.create_subprocess_exec(
        *map(str, argv), cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        for _ in range(600):
            if stand_in.attached:
                break
            await asyncio.sleep(0.1)
        else:
            raise SystemExit("the daemon did not deploy within 60 s")
        await asyncio.sleep(2)
        bare, full = await latency(stand_in.told, runs)
        return {
            "bare_us": bare,
            "full_us": full,
            "idle": await idle(child.pid, count, seconds),
        }
    finally:
        child.terminate()
        await asyncio.wait_for(child.wait(), 20)
        await stand_in.server.close()
        bus.stop()
