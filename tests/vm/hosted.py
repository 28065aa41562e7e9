# SPDX-License-Identifier: Apache-2.0
"""The scheduler host in a micro-VM without the daemon: for the tests that try schedulers.

What runs in the guest is guest/intent_guest.py and guest/family_guest.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from schedcpd.microvm import MicroVm, VmSpec, build, resume

TOP = Path(__file__).parents[2]
HOST = """#!/bin/sh
exec env PYTHONPATH=/opt/schedcp PYTHONDONTWRITEBYTECODE=1 \\
    python3 -m schedcpd.deploy.scheduler_host "$@"
"""
SETUP = """set -e
chmod 755 /usr/libexec/schedcp/scheduler-host
mkdir -p /run/schedcp /var/lib/schedcp
systemctl daemon-reload
systemctl start schedcp-scheduler.socket
"""

FAMILY = sorted(path.name for path in (TOP / "bpf/schedulers").iterdir())


def _built(*argv: str) -> Path:
    command = [str(TOP / "tools/build-bpf"), *argv]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, timeout=600)
    return Path(done.stdout.strip())


def _payload(folder: Path) -> Path:
    """What the guest needs, with guest paths, as a tar file."""
    target = folder / "payload.tar"
    with tarfile.open(target, "w") as tar:
        for path in sorted((TOP / "schedcpd").rglob("*.py")):
            tar.add(path, f"opt/schedcp/{path.relative_to(TOP)}")
        for name in ("hosting.py", "intent_guest.py", "family_guest.py"):
            tar.add(TOP / "tests/vm/guest" / name, f"opt/schedcp/{name}")
        for unit in ("schedcp-scheduler.service", "schedcp-scheduler.socket"):
            tar.add(TOP / "systemd" / unit, f"etc/systemd/system/{unit}")
        for built in (_built(), _built("tests/vm/schedulers")):
            for path in sorted(built.glob("*.*")):
                tar.add(path, f"opt/bpf/{path.name}")
        script = tarfile.TarInfo("usr/libexec/schedcp/scheduler-host")
        script.size = len(HOST)
        tar.addfile(script, io.BytesIO(HOST.encode()))
    return target


@contextlib.asynccontextmanager
async def hosted(spec: VmSpec, scratch: Path) -> AsyncIterator[MicroVm]:
    """A resumed machine with the scheduler host, its socket listening, and every scheduler."""
    payload = await asyncio.to_thread(_payload, scratch)
    await build(spec)
    async with resume(spec, limit_s=1800) as vm:
        await vm.put(payload, "/root/payload.tar")
        (await vm.run(["tar", "-xf", "/root/payload.tar", "-C", "/"], timeout_s=60)).check()
        (await vm.run(["sh", "-c", SETUP], timeout_s=60)).check()
        yield vm


async def scenario(
    vm: MicroVm, *argv: str, timeout_s: float = 180, program: str = "intent_guest.py"
) -> dict[str, Any]:
    result = await vm.run(
        ["python3", f"/opt/schedcp/{program}", *argv],
        timeout_s=timeout_s,
        env={"PYTHONPATH": "/opt/schedcp", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    answer = json.loads(result.check().text)
    assert isinstance(answer, dict)
    return answer


async def serves_a_mixed_load(guest: MicroVm, scheduler: str) -> dict[str, Any]:
    """Loads one of the family and asserts what a user may expect of each. Returns what was seen."""
    seen = await scenario(guest, scheduler, program="family_guest.py")
    assert seen["status"]["attached"]
    assert seen["loaded"]["state"] == "enabled"
    assert seen["loaded"]["ops"] == seen["status"]["ops_name"] == f"schedcp_{scheduler}"
    assert seen["under_load"]["attached"]
    assert seen["events"] == []
    one, other = seen["used_us"]
    capacity_us = seen["seconds"] * 1e6 * seen["cpus"]
    assert one + other > 0.5 * capacity_us, seen  # it conserves work
    jain = (one + other) ** 2 / (2 * (one**2 + other**2))
    assert jain > 0.95, seen  # cgroups of equal weight and load; 0.9 is twice as much for one
    assert seen["sleepers"]["hist_sum"] == seen["sleepers"]["runs"] > 20, seen
    assert seen["forked"] == 0
    assert seen["after"]["state"] == "disabled"
    assert seen["last_exit"] is None  # it ended because it was told to
    return seen
