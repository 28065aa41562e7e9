# SPDX-License-Identifier: Apache-2.0
"""The daemon and the scheduler host as installed, in a running machine, for several test files."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from schedcpd.microvm import MicroVm, VmSpec, boot, resume
from schedcpd.model import IntentClass

from .stage import install

FAULTY = Path(__file__).parent / "guest" / "faulty-policies.yaml"
LIMIT_S = 2400.0
PATIENCE_S = 120.0
STATE = "/sys/kernel/sched_ext/state"
HOME = "/var/lib/schedcp"  # on a disk of its own, so that a test can fill it
# The pace of a real machine would make a file of tests take an hour.
SETTINGS = "deploy: {hold_down_s: 0, max_per_hour: 1000, canary_s: 0}\npolicy: balanced\n"


class Installed:
    """The machine, with what the tests ask of it."""

    def __init__(self, vm: MicroVm) -> None:
        self.vm = vm

    async def sh(self, script: str, *, fails: bool = False, timeout_s: float = 180.0) -> str:
        result = await self.vm.run(["sh", "-c", script], timeout_s=timeout_s)
        assert fails or result.ok, f"{script}: {result.exit_code}\n{result.text}{result.error_text}"
        return result.text

    async def write(self, path: str, text: str) -> None:
        (await self.vm.run(["tee", path], stdin=text.encode())).check()

    async def until(self, script: str, wanted: str, seconds: float = PATIENCE_S) -> None:
        """Until the script prints `wanted` somewhere."""
        loop = asyncio.get_running_loop()
        end, text = loop.time() + seconds, ""
        while loop.time() < end:
            text = await self.sh(script, fails=True)
            if wanted in text:
                return
            await asyncio.sleep(0.5)
        journal = await self.sh("journalctl -b --no-pager -o short | tail -40")
        raise AssertionError(f"{script} never said {wanted!r} but {text!r}\n{journal}")

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.sh("schedctl status --json"))
        return found.get("status", found)

    async def active(self) -> None:
        await self.until("schedctl status", "schedcp_intent")
        assert (await self.sh(f"cat {STATE}")).strip() == "enabled"

    async def seq(self) -> int:
        return int(await self.sh("cat /sys/kernel/sched_ext/enable_seq"))

    async def pid(self, unit: str) -> int:
        return int(await self.sh(f"systemctl show -p MainPID --value {unit}"))

    async def start_unit(self, name: str, command: str = "sleep 1000", options: str = "") -> str:
        """A transient service; returns its cgroup."""
        await self.sh(f"systemd-run --quiet --unit={name} {options} {command}")
        shown = await self.sh(f"systemctl show -p ControlGroup --value {name}")
        return shown.strip()

    async def in_map(self, cgroup: str) -> IntentClass | None:
        """The class that stands in the BPF map for this very cgroup."""
        number = int(await self.sh(f"stat -c %i /sys/fs/cgroup{cgroup}"))
        dumped = json.loads(await self.sh("bpftool -j map dump name intents"))
        for entry in dumped:
            if _number(entry["key"]) == number:
                return next(c for c in IntentClass if c.wire == _number(entry["value"][:4]))
        return None

    async def stands(self, cgroup: str, wanted: IntentClass | None) -> None:
        for _ in range(60):
            found = await self.in_map(cgroup)
            if found is wanted:
                return
            await asyncio.sleep(0.5)
        raise AssertionError(f"{cgroup} is {found}, not {wanted}")

    async def history(self, kind: str) -> str:
        return await self.sh(f"schedctl log --kind {kind} --json")


def _number(value: list[str]) -> int:
    return int.from_bytes(bytes(int(byte, 16) for byte in value), "little")


@contextlib.asynccontextmanager
async def installed(image: VmSpec, folder: Path, *, cold: bool = False) -> AsyncIterator[Installed]:
    """With the schedulers of tests/vm/schedulers beside ours; the daemon is active.

    `cold`: booted, for machines that no snapshot can be made of.
    """
    async with (boot if cold else resume)(image, limit_s=LIMIT_S) as vm:
        await install(vm, folder / "stage", "tests/vm/schedulers")
        machine = Installed(vm)
        await machine.sh("mkdir -p /etc/schedcp/schedcpd.yaml.d")
        await machine.write("/etc/schedcp/schedcpd.yaml.d/test.yaml", SETTINGS)
        await vm.put(FAULTY, "/etc/schedcp/policies.d/90-faulty.yaml")
        await machine.sh(f"mkdir -p {HOME} && mount -t tmpfs -o size=16m,mode=700 none {HOME}")
        await machine.sh("systemctl start schedcpd.service")
        await machine.active()
        yield machine


Start = Callable[[VmSpec, Path], contextlib.AbstractAsyncContextManager[Installed]]


class Machines:
    """One installed machine for a module's tests, and another where that one ended: a guest kernel
    that panicked takes one test with it, not all that follow. `start` makes one.
    """

    def __init__(
        self, image: VmSpec, folders: pytest.TempPathFactory, start: Start = installed
    ) -> None:
        self._image, self._folders, self._start = image, folders, start
        self._stack = contextlib.AsyncExitStack()
        self._now: Installed | None = None

    async def running(self) -> Installed:
        if self._now is None or not self._now.vm.alive:
            await self.close()
            folder = self._folders.mktemp("installed")
            self._now = await self._stack.enter_async_context(self._start(self._image, folder))
        return self._now

    async def close(self) -> None:
        self._now = None
        await self._stack.aclose()
