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
    "console=ttyS0 loglevel={loglevel} panic=-1 oops=panic tsc=reliable nokaslr "
    "random.trust_cpu=off mitigations=off cryptomgr.notests"
)
QUIET, WARNINGS = 4, 5  # the kernel's log levels below these go to the console
EXIT_LIMIT = 4  # of QEMU, by the plugin
ALONG = ("setpriv", "--pdeathsig", "KILL", "--")
# Boot-time kernel threads (crypto self-tests) are done by then.
SETTLE_S = 2
INIT = """#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
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
    ICOUNT = "icount"  # QEMU's own: one clock that counts the instructions of all vCPUs
    PLAIN = "plain"  # the host's clock, one thread: what the plugin's cost is compared with


ICOUNT_SHIFTS = {1000 << shift: shift for shift in range(10)}  # insn_ps to -icount's shift


class End(StrEnum):
    """How a run ended."""

    DONE = "the script ran to its end"
    EARLY = "the guest powered off, or panicked, before its script had ended"
    VIRTUAL_LIMIT = "the limit of virtual time was reached"
    HOST_LIMIT = "the limit of host time was reached"
    QEMU = "QEMU failed"


@dataclass(frozen=True, slots=True)
class Machine:
    """A hardware profile. `insn_ps`: picoseconds an instruction takes; `quantum_ns`: how far the
    vCPUs' clocks may differ. `sockets` and `threads` (per core) are what a scheduler is told, for
    where it places tasks: an instruction costs the same everywhere."""

    vcpus: int = 4
    insn_ps: int = 1000
    quantum_ns: int = 20_000
    memory_mib: int = 512
    clock: Clock = Clock.VIRTUAL
    loglevel: int = QUIET
    sockets: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.vcpus <= 16:
            raise VClockError(f"vcpus: {self.vcpus} is not from 1 to 16")
        if min(self.sockets, self.threads) < 1 or self.vcpus % (self.sockets * self.threads):
            raise VClockError(
                f"vcpus: {self.vcpus} cannot be {self.sockets} sockets of cores with "
                f"{self.threads} threads"
            )
        if not 1 <= self.insn_ps <= 1_000_000:
            raise VClockError(f"insn_ps: {self.insn_ps} is not from 1 to 1000000")
        if not 1000 <= self.quantum_ns <= 1_000_000:
            raise VClockError(f"quantum_ns: {self.quantum_ns} is not from 1000 to 1000000")
        if self.clock is Clock.ICOUNT and self.insn_ps not in ICOUNT_SHIFTS:
            known = ", ".join(map(str, ICOUNT_SHIFTS))
            raise VClockError(f"insn_ps: {self.insn_ps} is not one of -icount's: {known}")

    @property
    def smp(self) -> str:
        """What -smp is told."""
        if self.sockets == self.threads == 1:
            return str(self.vcpus)
        cores = self.vcpus // (self.sockets * self.threads)
        return f"{self.vcpus},sockets={self.sockets},cores={cores},threads={self.threads}"


@dataclass(frozen=True, slots=True)
class Result:
    """What one run left: all that the guest wrote, and what it took of the host."""

    serial: bytes
    host_seconds: float
    end: End = End.DONE
    tail: str = ""  # the last lines of the guest and of QEMU, for a message
    second: bytes = b""  # what it wrote to a second serial line, if it had one

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
    machine: Machine,
    binary: Path,
    plugin: Path | None,
    vmlinux: Path,
    initrd: Path,
    serial: Path,
    limit_virtual_s: float | None = None,
    second: Path | None = None,
) -> list[str]:
    """QEMU's argument vector. `plugin` is for the virtual clock only, and so is the limit."""
    clock = []
    if machine.clock is Clock.VIRTUAL:
        if plugin is None:
            raise VClockError("the virtual clock needs its plugin")
        options = f"insn-ps={machine.insn_ps},quantum-ns={machine.quantum_ns}"
        if limit_virtual_s is not None:
            options += f",limit-ms={max(1, round(limit_virtual_s * 1000))}"
        clock = ["-plugin", f"{plugin},{options}"]
    elif machine.clock is Clock.ICOUNT:
        clock = ["-icount", f"shift={ICOUNT_SHIFTS[machine.insn_ps]},sleep=off"]
    return [
        str(binary),
        "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot",
        "-machine", "q35,hpet=off",
        "-accel", "tcg,thread=single,tb-size=256",
        "-cpu", "max,la57=off,-rdrand,-rdseed,-monitor",
        "-smp", machine.smp, "-m", f"{machine.memory_mib}M",
        "-rtc", "base=2026-01-01T00:00:00,clock=vm", "-seed", "1",
        *clock,
        "-kernel", str(vmlinux), "-initrd", str(initrd),
        "-append", CMDLINE.format(loglevel=machine.loglevel),
        "-serial", f"file:{serial}",
        *(["-serial", f"file:{second}"] if second is not None else []),
    ]  # fmt: skip


async def attempt(
    machine: Machine,
    *,
    plugin: Path | None,
    vmlinux: Path,
    files: Files,
    script: str,
    timeout_s: float,
    limit_virtual_s: float | None = None,
    binary: Path | None = None,
    two_lines: bool = False,
) -> Result:
    """Boots, runs `script`, powers off. `timeout_s` is of the host's time; `vmlinux` the kernel's
    ELF, since to unpack a compressed one would take as long as the rest of the boot. `two_lines`
    gives the guest a second serial line (/dev/ttyS1), which the kernel does not write to.

    Raises VClockError where the machine's clock cannot be had; how the guest fared is in the
    result.
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
        initrd, serial, second = folder / "initrd", folder / "serial", folder / "second"
        initrd.write_bytes(initramfs(files, script))
        argv = command_line(
            machine, binary or found.binary, plugin, vmlinux, initrd, serial, limit_virtual_s,
            second if two_lines else None,
        )  # fmt: skip
        # Whoever dies without cleaning up takes QEMU along.
        ended = await process.run([*ALONG, *argv], timeout_s=timeout_s)
        written = serial.read_bytes() if serial.exists() else b""
        also = second.read_bytes() if second.exists() else b""
    if ended.timed_out:
        end = End.HOST_LIMIT
    elif ended.exit_code == EXIT_LIMIT:
        end = End.VIRTUAL_LIMIT
    elif not ended.ok:
        end = End.QEMU
    else:
        end = End.DONE if DONE in written.decode("utf-8", "replace") else End.EARLY
    return Result(written, ended.seconds, end, _tail(written, ended.stderr), also)


async def run(
    machine: Machine,
    *,
    plugin: Path | None,
    vmlinux: Path,
    files: Files,
    script: str,
    timeout_s: float,
    binary: Path | None = None,
) -> Result:
    """`attempt`, for a script that must run to its end. Raises VClockError with the last lines."""
    result = await attempt(
        machine, plugin=plugin, vmlinux=vmlinux, files=files, script=script, timeout_s=timeout_s,
        binary=binary,
    )  # fmt: skip
    if result.end is not End.DONE:
        raise VClockError(f"{result.end} ({result.host_seconds:.0f} s): {result.tail}")
    return result


def _tail(*texts: bytes, lines: int = 12) -> str:
    joined = b"\n".join(texts).decode("utf-8", "replace").replace("\r", "")
    kept: Sequence[str] = [line for line in joined.splitlines() if line.strip()][-lines:]
    return "\n".join(kept) or "it wrote nothing"
