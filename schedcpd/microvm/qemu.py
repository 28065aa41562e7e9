# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line, and which accelerator really starts a guest here."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import MicroVmError
from schedcpd.host import process
from schedcpd.microvm.cache import cache_dir, content_key
from schedcpd.microvm.guest.agent import PORT_NAME
from schedcpd.microvm.initramfs import PROBE_MARK
from schedcpd.microvm.spec import Accelerator, VmSpec

BINARY = "qemu-system-x86_64"
MIN_MAJOR = 10
MEMORY = "accelerator.json"
PAYLOAD_BYTES = 2 << 30  # size of the read-only disk that carries files in; sparse
CMDLINE = (
    "console=ttyS0 rw quiet systemd.show_status=no panic=-1 oops=panic tsc=reliable "
    "random.trust_cpu=on mitigations=off"
)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything one QEMU process is started with, besides the spec."""

    vmlinuz: Path
    initrd: Path
    disk: Path  # qcow2 overlay, written to
    payload: Path
    console: Path
    agent_fd: int
    qmp_fd: int
    incoming: bool
    interactive: bool = False  # the serial console on this terminal


def cpu_model(accelerator: Accelerator) -> str:
    """The guest's CPU. Five-level paging only costs time under TCG."""
    return "host,migratable=on" if accelerator is Accelerator.KVM else "max,la57=off"


def accelerator_args(spec: VmSpec, accelerator: Accelerator) -> list[str]:
    if accelerator is Accelerator.KVM:
        return ["-accel", "kvm"]
    return ["-accel", f"tcg,thread={spec.thread.value}"]


def topology_args(spec: VmSpec) -> list[str]:
    """-smp, -m and -numa of a spec."""
    args = [
        "-smp",
        f"{spec.vcpus},sockets={spec.sockets},dies={spec.dies},cores={spec.cores},"
        f"threads={spec.threads}",
        "-m",
        f"{spec.memory_mib}M",
    ]
    if spec.numa_nodes > 1:
        cpus, mib = spec.vcpus // spec.numa_nodes, spec.memory_mib // spec.numa_nodes
        for node in range(spec.numa_nodes):
            args += [
                "-object",
                f"memory-backend-ram,id=node{node},size={mib}M",
                "-numa",
                f"node,nodeid={node},cpus={node * cpus}-{(node + 1) * cpus - 1},memdev=node{node}",
            ]
    return args


def command_line(spec: VmSpec, accelerator: Accelerator, parts: Parts) -> list[str]:
    """The argument vector of one machine: no network, no display, no defaults."""
    if parts.interactive:
        console = ["-serial", "mon:stdio"]
    else:
        console = [
            "-chardev",
            f"file,id=console,path={parts.console}",
            "-serial",
            "chardev:console",
        ]
    return [
        # Whoever dies without cleaning up takes the VM along.
        "setpriv", "--pdeathsig", "KILL", "--", BINARY,
        "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny",
        "-machine", "q35,hpet=off",
        *accelerator_args(spec, accelerator),
        "-cpu", cpu_model(accelerator),
        *topology_args(spec),
        "-kernel", str(parts.vmlinuz),
        "-initrd", str(parts.initrd),
        "-append", f"{CMDLINE} {spec.cmdline}".strip(),
        "-drive", f"if=none,id=root,format=qcow2,cache=unsafe,file={parts.disk}",
        "-device", "virtio-blk-pci,drive=root",
        "-drive", f"if=none,id=payload,format=raw,read-only=on,file={parts.payload}",
        "-device", "virtio-blk-pci,drive=payload",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=agent,fd={parts.agent_fd}",
        "-device", f"virtserialport,chardev=agent,name={PORT_NAME}",
        *console,
        "-chardev", f"socket,id=qmp,fd={parts.qmp_fd}",
        "-mon", "chardev=qmp,mode=control",
        *(["-incoming", "defer"] if parts.incoming else []),
        *spec.qemu_args,
    ]  # fmt: skip


async def version() -> str:
    """QEMU's version line. Raises MicroVmError if it is absent or too old."""
    if shutil.which(BINARY) is None:
        raise MicroVmError(
            f"{BINARY} is not installed", hint="apt install qemu-system-x86 qemu-utils"
        )
    text = (await process.run([BINARY, "--version"], timeout_s=20)).check().text
    match = re.search(r"version (\d+)\.", text)
    if match is None or int(match[1]) < MIN_MAJOR:
        raise MicroVmError(
            f"{text.splitlines()[0]} is too old: {MIN_MAJOR} or newer is needed (7.2's "
            "multi-threaded TCG panics guests)",
            hint="on Debian 12, install qemu-system-x86 from bookworm-backports",
        )
    return text.splitlines()[0]


async def choose_accelerator(vmlinuz: Path, probe_initrd: Path) -> Accelerator:
    """KVM if a guest really starts with it here, else TCG. Tried once a boot, then remembered.

    `/dev/kvm` may exist and still not work (nested virtualisation off), so only a guest that
    answers counts.
    """
    key = content_key(await version(), platform.release(), _boot_id(), str(os.geteuid()))
    known = remembered_accelerator()
    if known.get("key") == key:
        return Accelerator(known["accelerator"])
    chosen, why = Accelerator.TCG, "no access to /dev/kvm"
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        argv = [
            BINARY, "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none",
            "-no-reboot", "-accel", "kvm", "-cpu", "host", "-smp", "2", "-m", "256M",
            "-serial", "stdio", "-kernel", str(vmlinuz), "-initrd", str(probe_initrd),
            "-append", "console=ttyS0 quiet panic=-1",
        ]  # fmt: skip
        result = await process.run(argv, timeout_s=20)
        if PROBE_MARK in result.text:
            chosen, why = Accelerator.KVM, "a guest started"
        else:
            why = "no guest started: " + (result.error_text.splitlines() or ["no output"])[-1]
    memory = cache_dir() / MEMORY
    scratch = memory.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps({"key": key, "accelerator": chosen.value, "kvm": why}))
    scratch.rename(memory)
    return chosen


def remembered_accelerator() -> dict[str, str]:
    """The last try: `accelerator`, and `kvm`, what became of KVM. Empty if there was none."""
    memory = cache_dir() / MEMORY
    if not memory.exists():
        return {}
    known: dict[str, str] = json.loads(memory.read_text(encoding="utf-8"))
    return known


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
