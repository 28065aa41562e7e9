# SPDX-License-Identifier: Apache-2.0
"""A small initramfs: busybox, the disk's drivers, and a switch to the real root.

Format "newc" of cpio: Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass

from schedcpd.errors import MicroVmError
from schedcpd.microvm.kernel import GuestKernel

# What stands between the kernel and its root file system and the agent's port, in the order of
# loading. Each is taken only if this kernel has it as a module.
DRIVERS = (
    "virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
    "virtio_blk", "virtio_console",
    "crc16", "mbcache", "jbd2", "ext4",
)  # fmt: skip

INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules.order); do
    $b insmod /$module || echo "initramfs: $module failed"
done
n=0
while [ ! -b /dev/vda ]; do
    n=$((n + 1))
    if [ $n -gt 200 ]; then echo "initramfs: no /dev/vda"; $b poweroff -f; fi
    $b usleep 50000
done
$b mount -t ext4 /dev/vda /root || { echo "initramfs: cannot mount /dev/vda"; $b poweroff -f; }
$b mkdir -p /root/boot
$b cp /config-* /root/boot/
$b umount /dev
exec $b switch_root /root /sbin/init
"""

# Answers on the console and powers off: proves that an accelerator starts a guest.
PROBE_MARK = "schedcp-probe-alive"
PROBE_INIT = f"""#!/bin/busybox sh
/bin/busybox echo {PROBE_MARK} > /dev/console
/bin/busybox poweroff -f
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive. `data` is content; for a character device, "major:minor"."""

    path: str
    mode: int
    data: bytes = b""


def archive(entries: list[Entry]) -> bytes:
    """A newc cpio archive, the same bytes for the same entries."""
    out = bytearray()
    for inode, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        device, data = (0, 0), entry.data
        if stat.S_ISCHR(entry.mode):
            major, minor = entry.data.split(b":")
            device, data = (int(major), int(minor)), b""
        name = entry.path.encode() + b"\0"
        fields = (
            inode, entry.mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0,
        )  # fmt: skip
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % 4)
        out += data
        out += bytes(-len(out) % 4)
    return bytes(out)


def _base(init: str, busybox: bytes) -> list[Entry]:
    folders = [Entry(name, stat.S_IFDIR | 0o755) for name in ("bin", "dev", "root")]
    return [
        *folders,
        Entry("dev/console", stat.S_IFCHR | 0o600, b"5:1"),
        Entry("bin/busybox", stat.S_IFREG | 0o755, busybox),
        Entry("init", stat.S_IFREG | 0o755, init.encode()),
    ]


def boot_archive(kernel: GuestKernel, busybox: bytes) -> bytes:
    """The initramfs that boots the image with this kernel.

    Raises MicroVmError if the kernel has no driver for the disk at all.
    """
    entries, order = _base(INIT, busybox), []
    for name in DRIVERS:
        module = None if name in kernel.built_in else kernel.module(name)
        if module is not None:
            order.append(f"{name}.ko")
            entries.append(Entry(f"{name}.ko", stat.S_IFREG | 0o644, module))
    if "virtio_blk" not in kernel.built_in and "virtio_blk.ko" not in order:
        raise MicroVmError(f"kernel {kernel.release} has no virtio_blk driver")
    # libbpf looks for it there, for programs with __kconfig variables (as scx's own schedulers).
    entries.append(Entry(f"config-{kernel.release}", stat.S_IFREG | 0o644, kernel.config))
    entries.append(Entry("modules.order", stat.S_IFREG | 0o644, "\n".join(order).encode()))
    return archive(entries)


def probe_archive(busybox: bytes) -> bytes:
    return archive(_base(PROBE_INIT, busybox))
