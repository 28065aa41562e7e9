# SPDX-License-Identifier: Apache-2.0
"""What machine is wanted. Two equal specs share one snapshot."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from schedcpd.errors import InvalidArgumentError
from schedcpd.microvm.kernel import GuestKernel


class ThreadMode(StrEnum):
    """How QEMU's TCG runs vCPUs: one host thread each, or all in turn in one thread."""

    MULTI = "multi"
    SINGLE = "single"


class Accelerator(StrEnum):
    AUTO = "auto"  # KVM where a guest really starts with it, else TCG
    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class VmSpec:
    """A machine. vCPUs = sockets x dies x cores x threads (per socket, die and core).

    `numa_nodes` splits memory and vCPUs evenly. `cmdline` is added to the kernel's command line.
    `kernel` None is the cached backports kernel; `image` None is our own image. `qemu_args` are
    passed on as they are (they change the machine, so they change the snapshot).
    """

    sockets: int = 1
    dies: int = 1
    cores: int = 4
    threads: int = 1
    numa_nodes: int = 1
    memory_mib: int = 1024
    cmdline: str = ""
    thread: ThreadMode = ThreadMode.MULTI
    accelerator: Accelerator = Accelerator.AUTO
    kernel: GuestKernel | None = None
    image: Path | None = None
    qemu_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("sockets", "dies", "cores", "threads", "numa_nodes"):
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name}: {getattr(self, name)} is less than 1")
        if self.vcpus > 255:
            raise InvalidArgumentError(f"vCPUs: {self.vcpus} is more than 255")
        if self.vcpus % self.numa_nodes:
            raise InvalidArgumentError(
                f"numa_nodes: {self.numa_nodes} does not divide {self.vcpus} vCPUs evenly"
            )
        if self.memory_mib < 256 or self.memory_mib % self.numa_nodes:
            raise InvalidArgumentError(
                f"memory_mib: {self.memory_mib} must be at least 256 and divide evenly over "
                f"{self.numa_nodes} NUMA nodes"
            )

    @property
    def vcpus(self) -> int:
        return self.sockets * self.dies * self.cores * self.threads

    def fingerprint(self) -> str:
        """Canonical JSON of every field."""
        return json.dumps(asdict(self), sort_keys=True, default=str)
