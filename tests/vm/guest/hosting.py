# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest, for the scenarios: the scheduler host's client, cgroups, readings.

The schedcpd tree is on PYTHONPATH, the objects are in /opt/bpf.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from schedcpd.deploy.token import TokenMinter
from schedcpd.deploy.token_key import KEY_PATH, load_or_create_key
from schedcpd.errors import SchedcpError, SchedulerHostError
from schedcpd.host.jsonline import JsonLineClient
from schedcpd.host.kernel import read_kernel_build
from schedcpd.host.manifest import check_tunables, load_manifest
from schedcpd.model import Tunable, Verdict, VerdictOrigin

BPF = Path("/opt/bpf")
SOCKET = Path("/run/schedcp/scheduler.sock")
SCX = Path("/sys/kernel/sched_ext")
CGROUPS = Path("/sys/fs/cgroup")
CPUS = os.cpu_count() or 1


def token_for(data: bytes, scheduler: str, tunables: Mapping[str, Tunable]) -> str:
    verdict = Verdict(
        id="", passed=True, scheduler=scheduler, object_sha256=hashlib.sha256(data).hexdigest(),
        tunables=dict(tunables), kernel=read_kernel_build(), vm_image="", checks=(),
        made_unix_s=0, origin=VerdictOrigin.LOCAL, schedcp_version="0",
    )  # fmt: skip
    object.__setattr__(verdict, "id", verdict.content_id)
    return TokenMinter(load_or_create_key(KEY_PATH)).mint(verdict, kernel=read_kernel_build())


class Host:
    """A client of the scheduler host that remembers the events it got."""

    def __init__(self, client: JsonLineClient) -> None:
        self.client = client
        self.events: list[tuple[float, str, Mapping[str, Any]]] = []
        self.came = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls) -> AsyncIterator[Host]:
        box: list[Host] = []
        client = await JsonLineClient.connect(
            SOCKET,
            unreachable=SchedulerHostError,
            on_event=lambda name, data: box[0]._event(name, data),
            timeout_s=30,
        )
        box.append(cls(client))
        try:
            yield box[0]
        finally:
            await client.close()

    def _event(self, name: str, data: Mapping[str, Any]) -> None:
        self.events.append((time.monotonic(), name, data))
        self.came.set()

    async def call(self, method: str, **params: Any) -> Mapping[str, Any]:
        return await self.client.call(method, params, timeout_s=90)

    async def load(
        self,
        scheduler: str = "intent",
        *,
        intents: Mapping[int, str] | None = None,
        tunables: Mapping[str, Tunable] | None = None,
        **overrides: Any,
    ) -> Mapping[str, Any]:
        path = BPF / f"{scheduler}.bpf.o"
        data = path.read_bytes()
        manifest, problems = load_manifest(BPF / f"{scheduler}.manifest.yaml")
        assert manifest is not None, problems
        chosen = check_tunables(manifest, tunables or {})
        params: dict[str, Any] = {
            "scheduler": scheduler,
            "object": str(path),
            "sha256": hashlib.sha256(data).hexdigest(),
            "tunables": chosen,
            "intents": [[key, value] for key, value in (intents or {}).items()],
            "deployment_id": "d-1",
            "token": await asyncio.to_thread(token_for, data, scheduler, chosen),
        }
        return await self.call("load", **{**params, **overrides})

    async def refused(self, method: str, **params: Any) -> dict[str, str]:
        try:
            if method == "load":
                await self.load(**params)
            else:
                await self.call(method, **params)
        except SchedcpError as e:
            return {"code": e.code, "message": e.message}
        return {"code": "", "message": "was not refused"}

    async def ejected(self, timeout_s: float = 60) -> dict[str, Any]:
        await asyncio.wait_for(self.came.wait(), timeout_s)
        at, name, data = self.events[0]
        return {"event": name, "at": at, **(data["last_exit"] or {}), "attached": data["attached"]}


class Cgroup:
    """A cgroup of our own with processes in it."""

    def __init__(self, name: str, parent: Cgroup | None = None, weight: int | None = None) -> None:
        above = parent.path if parent else CGROUPS
        (above / "cgroup.subtree_control").write_text("+cpu")
        self.path = above / name
        self.path.mkdir()
        self.id = self.path.stat().st_ino
        self.children: list[subprocess.Popen[bytes]] = []
        if weight is not None:
            (self.path / "cpu.weight").write_text(str(weight))

    def run(self, *argv: str, count: int = 1) -> None:
        for _ in range(count):
            self.children.append(
                subprocess.Popen(
                    ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh", *argv],
                    stdin=subprocess.DEVNULL,
                )
            )
        self._wait_for_all(60)

    def _wait_for_all(self, timeout_s: float) -> None:
        """Until every child has moved in: who does so after end() would be killed by nobody."""
        until = time.monotonic() + timeout_s
        while missing := {child.pid for child in self.children} - self._pids():
            if time.monotonic() > until:
                raise TimeoutError(f"{len(missing)} processes are not in {self.path}")
            time.sleep(0.01)

    def _pids(self) -> set[int]:
        return {int(pid) for pid in (self.path / "cgroup.procs").read_text().split()}

    def spin(self, count: int) -> None:
        self.run("sh", "-c", "while :; do :; done", count=count)

    def sleep_often(self, count: int, millis: float = 5.0) -> None:
        """Tasks that want a CPU for an instant, about 1000/millis times a second."""
        code = f"import time\nwhile True: time.sleep({millis / 1000})"
        self.run("python3", "-c", code, count=count)

    def usage_us(self) -> int:
        lines = (self.path / "cpu.stat").read_text().splitlines()
        return int(dict(line.split() for line in lines)["usage_usec"])

    def end(self) -> None:
        (self.path / "cgroup.kill").write_text("1")
        for child in self.children:
            child.wait()
        until = time.monotonic() + 10  # others' children are reaped by init
        while "populated 1" in (self.path / "cgroup.events").read_text():
            if time.monotonic() > until:
                raise TimeoutError(f"{self.path} still has processes")
            time.sleep(0.01)
        self.path.rmdir()


@contextlib.contextmanager
def cgroups(**kinds: Any) -> Iterator[list[Cgroup]]:
    made = [Cgroup(f"test-{name}", weight=weight) for name, weight in kinds.items()]
    try:
        yield made
    finally:
        for group in reversed(made):
            group.end()


def scx(name: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (SCX / name).read_text().strip()
    return ""


def shown() -> dict[str, Any]:
    return {
        "state": scx("state"),
        "ops": scx("root/ops"),
        "enable_seq": int(scx("enable_seq") or 0),
    }


def wait_state(wanted: str, timeout_s: float) -> float:
    """Seconds until the kernel's state is `wanted`."""
    began = time.monotonic()
    while scx("state") != wanted:
        if time.monotonic() - began > timeout_s:
            raise TimeoutError(f"state is {scx('state')}, not {wanted}")
        time.sleep(0.005)
    return time.monotonic() - began


def percentile_ns(hist: list[int], p: float) -> int:
    """Upper end of the histogram's bucket in which the percentile lies."""
    left = p * sum(hist)
    for bucket, count in enumerate(hist):
        left -= count
        if left <= 0 and count:
            return 2 ** (bucket + 1)
    return 0


def summary(stats: Mapping[str, Any]) -> dict[str, Any]:
    hist = stats["delay_hist"]
    return {
        **{key: stats[key] for key in ("runs", "preemptions", "run_ns", "delay_ns")},
        "hist_sum": sum(hist),
        "p50_us": percentile_ns(hist, 0.5) / 1000,
        "p99_us": percentile_ns(hist, 0.99) / 1000,
        "max_us": percentile_ns(hist, 1.0) / 1000,
    }


async def delta(host: Host, group: Cgroup, seconds: float) -> dict[str, Any]:
    return (await deltas(host, [group], seconds))[0]


async def deltas(host: Host, groups: list[Cgroup], seconds: float) -> list[dict[str, Any]]:
    """What each cgroup got in the next `seconds`."""
    ids = [group.id for group in groups]
    before = (await host.call("stats", cgroups=ids))["cgroups"]
    used = [group.usage_us() for group in groups]
    await asyncio.sleep(seconds)
    after = (await host.call("stats", cgroups=ids))["cgroups"]
    answers = []
    for group, usage in zip(groups, used, strict=True):
        old, new = before[str(group.id)], after[str(group.id)]
        difference = {
            key: [b - a for a, b in zip(old[key], new[key], strict=True)]
            if key == "delay_hist"
            else new[key] - old[key]
            for key in new
        }
        answers.append({**summary(difference), "usage_us": group.usage_us() - usage})
    return answers
