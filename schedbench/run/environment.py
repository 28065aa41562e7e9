# SPDX-License-Identifier: Apache-2.0
"""What a result is bound to: kernel, image and emulator by their bytes; and the host's facts."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from schedbench.model import Clock, Environment, Profile, SizeClass
from schedbench.records import write_whole
from schedbench.vclock import qemu as vclock_qemu
from schedcpd.microvm import qemu
from schedcpd.microvm.cache import cache_dir
from schedcpd.microvm.kernel import GuestKernel

CHUNK = 1 << 22
TOP = Path(__file__).parents[1]
# What shapes a sample's bytes or times, beside what is hashed elsewhere (a workload's own drivers).
SHAPING = (
    "guestfiles.py", "guest/await", "guest/harness.sh", "guest/part", "guest/scxload.c",
    "drivers/driver.h", "drivers/mark.c", "drivers/sampler.c",
)  # fmt: skip
SHAPING_BY_CLOCK: Mapping[Clock, tuple[str, ...]] = {
    Clock.WALL: ("run/wall.py",),
    Clock.VIRTUAL: (
        "virtual/sample.py", "vclock/build.py", "vclock/machine.py", "vclock/rootfs.py",
        "vclock/plugin/accepted.h", "vclock/plugin/vclock.c",
    ),
}  # fmt: skip


def sha256(path: Path) -> str:
    """The hash of a file's bytes; remembered in the cache while size and time stay."""
    memory = cache_dir() / "schedbench" / "hashes.json"
    known: dict[str, str] = json.loads(memory.read_text("utf-8")) if memory.exists() else {}
    stat = path.stat()
    key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    if key not in known:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        known = {k: v for k, v in known.items() if Path(k.rsplit(" ", 2)[0]).exists()}
        known[key] = digest.hexdigest()
        write_whole(memory, json.dumps(known, indent=1).encode())
    return known[key]


def instrument(clock: Clock) -> str:
    """One hash over the sources that shape a sample under this clock."""
    digest = hashlib.sha256()
    for name in (*SHAPING, *SHAPING_BY_CLOCK[clock]):
        digest.update(f"{name}\0{hashlib.sha256((TOP / name).read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


async def environment(
    clock: Clock,
    profile: Profile,
    size: SizeClass,
    kernel: GuestKernel,
    image: Path,
    accelerator: str,
) -> Environment:
    """The record of it. Hashing the image takes seconds, the first time."""
    build = vclock_qemu.find()
    return Environment(
        clock=clock,
        profile=profile.name,
        size=size,
        kernel=f"{kernel.release} sha256:{sha256(kernel.vmlinuz)}",
        image=f"sha256:{sha256(image)}",
        qemu=f"{await qemu.version()} build-id:{build.build_id or 'none'}",
        accelerator=accelerator,
        instrument=instrument(clock),
    )


def host_facts() -> Mapping[str, object]:
    """What may differ between runs that are put together, but a reader wants to know."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": memory >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }
