# SPDX-License-Identifier: Apache-2.0
"""Finds what sources are compiled with on this machine: its own clang, or the builder chroot."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from schedcpd.microvm.cache import Progress, cache_dir
from schedcpd.microvm.kernel import cached_kernel, vmlinux
from schedcpd.verify.source.sandbox import Sandbox
from schedcpd.verify.source.toolchain import Toolchain, dump_vmlinux_h, find_root

RUNNING = Path("/sys/kernel/btf/vmlinux")
ROOT_VARIABLE = "SCHEDCP_TOOLCHAIN"


def roots() -> tuple[Path, ...]:
    """Trees that may have a toolchain: the one named by $SCHEDCP_TOOLCHAIN, /, the builders."""
    named = os.environ.get(ROOT_VARIABLE)
    if named:
        return (Path(named),)
    builders = [p for p in cache_dir().glob("builder-*") if (p / ".ready").exists()]
    builders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return (Path("/"), *builders)


async def toolchain(headers: Sequence[Path], progress: Progress) -> Toolchain:
    """The toolchain, with the types of the micro-VM's kernel, else of the running one.

    UnsupportedError: packages are missing; MicroVmError: the kernel cannot be unpacked.
    """
    sandbox = Sandbox(find_root(roots()))
    kernel = cached_kernel()
    release = kernel.release if kernel is not None else os.uname().release
    header = cache_dir() / "kernel" / release / "vmlinux.h"
    if not header.exists():
        progress(f"verify: writing vmlinux.h of kernel {release}")
        source = RUNNING if kernel is None else await vmlinux(kernel)
        await dump_vmlinux_h(sandbox, source, header)
    return Toolchain(sandbox, header, tuple(path.resolve() for path in headers))
