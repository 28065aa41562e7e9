# SPDX-License-Identifier: Apache-2.0
"""The compiler, the headers and the kernel's types that a source is read with."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import UnsupportedError
from schedcpd.verify.source.sandbox import MIB, Limits, Sandbox

NEEDED = {
    "clang": "usr/bin/clang",
    "llvm": "usr/bin/llvm-strip",
    "python3-clang": "usr/lib/python3/dist-packages/clang/cindex.py",
    "libbpf-dev": "usr/include/bpf/bpf_helpers.h",
    "bpftool": "usr/sbin/bpftool",
}
INCLUDE = "/include"  # in the sandbox: 0, 1, … and `kernel`, which has vmlinux.h
_KFUNC = re.compile(r"^extern .*?(\w+)\(.*__ksym;$", re.MULTILINE)
_DUMP = Limits(cpu_s=30, file=32 * MIB, output=32 * MIB)


def missing(root: Path) -> tuple[str, ...]:
    """Debian packages that the tree at `root` lacks for this."""
    found = [package for package, file in NEEDED.items() if not (root / file).exists()]
    helpers = root / NEEDED["libbpf-dev"]
    if helpers.exists() and "#define bpf_for(" not in helpers.read_text(encoding="utf-8"):
        found.append("libbpf-dev (1.2 or newer)")
    return tuple(found)


def find_root(candidates: Iterable[Path]) -> Path:
    """The first tree that has everything. UnsupportedError names what the first one lacks."""
    lacks: tuple[str, ...] = ()
    for root in candidates:
        found = missing(root)
        if not found:
            return root
        lacks = lacks or found
    raise UnsupportedError(
        f"sources cannot be compiled here: {', '.join(lacks) or 'no tree'} missing",
        hint=f"apt-get install {' '.join(NEEDED)}, or make builder in the source tree",
    )


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A root with clang, a vmlinux.h, and our own directories of headers."""

    sandbox: Sandbox
    vmlinux_h: Path
    headers: tuple[Path, ...]

    @property
    def read(self) -> dict[str, Path]:
        """What a compiler's sandbox shows besides the source."""
        ours = {f"{INCLUDE}/{n}": path for n, path in enumerate(self.headers)}
        return {f"{INCLUDE}/kernel/vmlinux.h": self.vmlinux_h, **ours}

    def kfuncs(self) -> frozenset[str]:
        """The target kernel's functions for BPF, as its BTF declares them."""
        text = self.vmlinux_h.read_text(encoding="utf-8")
        return frozenset(_KFUNC.findall(text))

    @property
    def flags(self) -> list[str]:
        """Those of bpf/Makefile that say what the source means."""
        machine = os.uname().machine
        arch = {"x86_64": "x86", "aarch64": "arm64", "ppc64le": "powerpc", "riscv64": "riscv"}
        return [
            *("-target", "bpf", f"-D__TARGET_ARCH_{arch.get(machine, machine)}"),
            *("-std=gnu11", "-O2", "-g", "-mcpu=v3", "-fms-extensions"),
            *("-Wno-microsoft-anon-tag", "-Wno-missing-declarations"),
            *(f"-I{INCLUDE}/{n}" for n in range(len(self.headers))),
            *("-idirafter", f"{INCLUDE}/kernel"),
        ]


async def dump_vmlinux_h(sandbox: Sandbox, kernel: Path, target: Path) -> None:
    """Writes the C header of the BTF in `kernel` (an ELF, or /sys/kernel/btf/vmlinux)."""
    argv = ["bpftool", "btf", "dump", "file", "/kernel", "format", "c"]
    done = await sandbox.run(argv, limits=_DUMP, read={"/kernel": kernel})
    if done.exit_code != 0 or done.broke:
        raise UnsupportedError(f"{kernel} has no BTF to read: {done.error_text.strip()[:300]}")
    await asyncio.to_thread(_write_whole, target, done.text)


def _write_whole(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False) as file:
        file.write(text)
    Path(file.name).replace(target)


def include_names(headers: Sequence[Path]) -> tuple[str, ...]:
    """Names of headers that a source may include, for hints."""
    own = sorted(path.name for folder in headers for path in folder.glob("*.h"))
    return ("vmlinux.h", "bpf/bpf_helpers.h", "bpf/bpf_tracing.h", "bpf/bpf_core_read.h", *own)
