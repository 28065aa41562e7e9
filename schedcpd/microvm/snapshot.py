# SPDX-License-Identifier: Apache-2.0
"""From a spec to a machine: kernel, image, initramfs, accelerator; and its snapshot, made once.

A snapshot is a saved state of the booted, idle machine (QEMU's `mapped-ram` migration to a file)
and the disk as it was then. Any number of machines resume from it at once, each with an overlay of
its own. Internal qcow2 snapshots (`savevm`) would have to be copied for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from schedcpd.errors import MicroVmError
from schedcpd.microvm import image, initramfs, kernel, qemu
from schedcpd.microvm.cache import Progress, acquire, cache_dir, content_key, made_whole, prune
from schedcpd.microvm.machine import Machine
from schedcpd.microvm.spec import Accelerator, VmSpec
from schedcpd.microvm.vm import MicroVm

KEEP = 6  # snapshots, about 300 MB each
BOOT_LIMIT_S = 900.0
# Fills the page cache with what a resumed machine is asked for first.
WARM_UP = """
systemctl is-system-running --wait
systemctl start polkit.service
busctl list >/dev/null
python3 -c 'import asyncio, dbus_next.aio, json, sqlite3, structlog, systemd.journal, yaml'
for tool in bpftool stress-ng wrk gcc make tar dd systemd-run journalctl; do
    cat "$(command -v $tool)" >/dev/null
done
journalctl -n 1 >/dev/null
systemd-run --quiet --wait --slice=warm.slice true
bpftool prog list >/dev/null
sync
sleep 2
"""


async def prepare(spec: VmSpec, progress: Progress) -> Machine:
    """The machine of a spec that boots; fetches and builds what is missing."""
    await qemu.version()
    guest_kernel = spec.kernel or await kernel.backports_kernel(progress)
    built = await image.build_image(progress)
    disk = spec.image or built.disk
    folder = cache_dir() / "initramfs"
    initrd = _stored(folder, initramfs.boot_archive(guest_kernel, built.busybox))
    probe = _stored(folder, initramfs.probe_archive(built.busybox))
    accelerator = spec.accelerator
    if accelerator is Accelerator.AUTO:
        accelerator = await qemu.choose_accelerator(guest_kernel.vmlinuz, probe)
    return Machine(spec, accelerator, guest_kernel.vmlinuz, initrd, disk, "raw")


def _stored(folder: Path, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{content_key(data)}.cpio"
    if not path.exists():
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_bytes(data)
        scratch.rename(path)
    return path


async def snapshot_key(machine: Machine) -> str:
    """Hash of everything a saved state depends on."""
    nothing = Path("/")
    parts = qemu.Parts(
        machine.vmlinuz, machine.initrd, nothing, nothing, nothing, 0, 0, incoming=False
    )
    argv = qemu.command_line(machine.spec, machine.accelerator, parts)
    host_cpu = platform.release() if machine.accelerator is Accelerator.KVM else ""
    disk, vmlinuz = machine.backing.stat(), machine.vmlinuz.stat()
    return content_key(
        repr(argv), await qemu.version(), host_cpu, WARM_UP, str(machine.backing),
        f"{disk.st_size} {disk.st_mtime_ns} {vmlinuz.st_size} {vmlinuz.st_mtime_ns}",
    )  # fmt: skip


@contextlib.asynccontextmanager
async def snapshot_of(machine: Machine, progress: Progress) -> AsyncIterator[Machine]:
    """The machine that resumes from the snapshot, which is made first if there is none.

    The snapshot is not removed while the context lasts.
    """
    parent = cache_dir() / "snapshot"
    parent.mkdir(exist_ok=True)
    key = await snapshot_key(machine)
    target, lock = parent / key, parent / f"{key}.lock"
    held = await asyncio.to_thread(acquire, lock, shared=True)
    try:
        if not (target / "state").exists():
            assert held is not None
            os.close(held)
            held = await asyncio.to_thread(acquire, lock)
            if not (target / "state").exists():
                await _make(machine, target, progress)
                prune(parent, KEEP)
            assert held is not None
            os.close(held)
            held = await asyncio.to_thread(acquire, lock, shared=True)
        os.utime(target)
        yield replace(
            machine,
            backing=target / "disk.qcow2",
            backing_format="qcow2",
            state=target / "state",
        )
    finally:
        if held is not None:
            os.close(held)


async def _make(machine: Machine, target: Path, progress: Progress) -> None:
    how = machine.accelerator.value.upper()
    progress(f"snapshot: booting under {how} (about a minute without KVM)")
    with made_whole(target) as scratch:
        async with MicroVm.start(machine, limit_s=BOOT_LIMIT_S, disk=scratch / "disk.qcow2") as vm:
            progress(f"snapshot: the guest answered after {vm.ready_seconds:.0f} s")
            warm = await vm.run(["sh", "-c", WARM_UP], timeout_s=300)
            state = (warm.text.splitlines() or [""])[0]
            if state != "running":
                failed = (await vm.run(["systemctl", "--failed", "--no-legend"])).text
                raise MicroVmError(f"the guest's systemd is {state or 'silent'}: {failed.strip()}")
            if not warm.ok:
                raise MicroVmError(f"warming the guest up failed: {warm.error_text[-1000:]}")
            await vm.save(scratch / "state")
        size = (scratch / "state").stat().st_blocks * 512 >> 20
    progress(f"snapshot: {target.name} saved ({size} MiB)")
