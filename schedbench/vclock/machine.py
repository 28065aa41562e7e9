# SPDX-License-Identifier: Apache-2.0
"""One guest, from start to power-off: everything in an initramfs, the result over the serial line.

No disk, no network, no host clock, no host randomness: under the virtual clock the same machine and
the same script give the same bytes.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from schedbench.vclock import qemu
from schedbench.vclock.errors import VClockError
from schedcpd.host import process
from schedcpd.microvm.initramfs import Entry, archive

DONE = "vclock: the script has ended"
CMDLINE = (
    "console=ttyS0 quiet panic=-1 oops=panic tsc=reliable nokaslr random.trust_cpu=off "
    "mitigations=off"
)
# Boot-time kernel threads (crypto self-tests) are done by then.
SETTLE_S = 2
INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t debugfs debug /sys/kernel/debug
mount -t tmpfs -o mode=1777 tmp /tmp
mkdir -p /dev/shm /run
mount -t tmpfs -o mode=1777 shm /dev/shm
ip link set lo up
sleep {settle}
{script}
echo "{done}"
poweroff -f
"""


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link in the guest."""

    target: str


Files = dict[str, bytes | Link]  # by path in the guest, without a leading slash


class Clock(StrEnum):
    """What moves the guest's time."""

    VIRTUAL = "virtual"  # the plugin
    PLAIN = "plain"  # the host's clock, one thread: what the plugin's cost is compared with


@dataclass(frozen=True, slots=True)
class Machine:
    """A hardware profile. `insn_ps`: picoseconds an instruction takes; `quantum_ns`: how far the
    vCPUs' clocks may differ."""

    vcpus: int = 4
    insn_ps: int = 1000
    quantum_ns: int = 20_000
    memory_mib: int = 512
    clock: Clock = Clock.VIRTUAL

    def __post_init__(self) -> None:
        if not 1 <= self.vcpus <= 16:
            raise VClockError(f"vcpus: {self.vcpus} is not from 1 to 16")
        if not 1 <= self.insn_ps <= 1_000_000:
            raise VClockError(f"insn_ps: {self.insn_ps} is not from 1 to 1000000")
        if not 1000 <= self.quantum_ns <= 1_000_000:
            raise VClockError(f"quantum_ns: {self.quantum_ns} is not from 1000 to 1000000")


@dataclass(frozen=True, slots=True)
class Result:
    """What one run left: all that the guest wrote, and what it took of the host."""

    serial: bytes
    host_seconds: float

    @property
    def lines(self) -> list[str]:
        """The guest's lines without the kernel's own and without the end mark."""
        text = self.serial.decode("utf-8", "replace").replace("\r", "")
        return [line for line in text.splitlines() if line and line[0] != "[" and line != DONE]


def initramfs(files: Files, script: str) -> bytes:
    """The archive: `files` by path, all executable, and an init that runs `script` with busybox."""
    folders = {"dev", "proc", "sys", "tmp", "bin"}
    for name in files:
        parts = name.split("/")[:-1]
        folders |= {"/".join(parts[: n + 1]) for n in range(len(parts))}
    folders -= files.keys()  # those that are links
    init = INIT.format(settle=SETTLE_S, script=script, done=DONE)
    return archive(
        [
            *(Entry(name, stat.S_IFDIR | 0o755) for name in sorted(folders)),
            Entry("dev/console", stat.S_IFCHR | 0o600, b"5:1"),
            *(_entry(name, files[name]) for name in sorted(files)),
            Entry("init", stat.S_IFREG | 0o755, init.encode()),
        ]
    )


def _entry(name: str, content: bytes | Link) -> Entry:
    if isinstance(content, Link):
        return Entry(name, stat.S_IFLNK | 0o777, content.target.encode())
    return Entry(name, stat.S_IFREG | 0o755, content)


def command_line(
    machine: Machine, binary: Path, plugin: Path | None, vmlinuz: Path, initrd: Path, serial: Path
) -> list[str]:
    """QEMU's argument vector. `plugin` is for the virtual clock only."""
    clock = []
    if machine.clock is Clock.VIRTUAL:
        if plugin is None:
            raise VClockError("the virtual clock needs its plugin")
        clock = [
            "-plugin",
            f"{plugin},insn-ps={machine.insn_ps},quantum-ns={machine.quantum_ns}",
        ]
    return [
        str(binary),
        "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot",
        "-machine", "q35,hpet=off",
        "-accel", "tcg,thread=single,tb-size=256",
        "-cpu", "max,la57=off,-rdrand,-rdseed,-monitor",
        "-smp", str(machine.vcpus), "-m", f"{machine.memory_mib}M",
        "-rtc", "base=2026-01-01T00:00:00,clock=vm", "-seed", "1",
        *clock,
        "-kernel", str(vmlinuz), "-initrd", str(initrd), "-append", CMDLINE,
        "-serial", f"file:{serial}",
    ]  # fmt: skip


async def run(
    machine: Machine,
    *,
    plugin: Path | None,
    vmlinuz: Path,
    files: Files,
    script: str,
    timeout_s: float,
    binary: Path | None = None,
) -> Result:
    """Boots, runs `script`, powers off. `timeout_s` is of the host's time.

    Raises VClockError if QEMU refuses, the guest does not end in time, or the script did not reach
    its end; the message carries the last lines.
    """
    found = qemu.find()
    if machine.clock is Clock.VIRTUAL and not found.accepted and binary is None:
        raise VClockError(
            f"{found.binary} (build id {found.build_id or 'none'}) is not on the list of builds "
            "on which the virtual clock is proved",
            hint="docs/vclock.md says which are, and how to add one",
        )
    with tempfile.TemporaryDirectory(prefix="vclock-") as name:
        folder = Path(name)
        initrd, serial = folder / "initrd", folder / "serial"
        initrd.write_bytes(initramfs(files, script))
        argv = command_line(machine, binary or found.binary, plugin, vmlinuz, initrd, serial)
        ended = await process.run(argv, timeout_s=timeout_s)
        written = serial.read_bytes() if serial.exists() else b""
    result = Result(written, ended.seconds)
    tail = _tail(written, ended.stderr)
    if ended.timed_out:
        raise VClockError(f"the guest did not power off within {timeout_s:.0f} s: {tail}")
    if not ended.ok:
        raise VClockError(f"QEMU failed (exit {ended.exit_code}): {tail}")
    if DONE not in written.decode("utf-8", "replace"):
        raise VClockError(f"the guest powered off before its script had ended: {tail}")
    return result


def _tail(*texts: bytes, lines: int = 12) -> str:
    joined = b"\n".join(texts).decode("utf-8", "replace").replace("\r", "")
    kept: Sequence[str] = [line for line in joined.splitlines() if line.strip()][-lines:]
    return "\n".join(kept) or "it wrote nothing"
