# SPDX-License-Identifier: Apache-2.0
"""Runs a compiler on hostile input: bubblewrap for what it sees, resource limits for what it uses.

It sees /usr of the toolchain's root, the files it was given and one directory to write to. It has
no network, no other process, no user but nobody, and no capability. bubblewrap works for root and,
where the kernel lets users make namespaces, for everybody. There is no /proc either: no compiler
needs it, and where parts of /proc are hidden (a hardened unit) the kernel refuses a new one
(mount_too_revealing in fs/namespace.c).
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import BusyError, UnsupportedError
from schedcpd.host import process

MIB = 1 << 20
_NOBODY = "65534"
_SIGNALLED = 128  # bubblewrap's exit code for a signal, as a shell's


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use. Seconds and bytes."""

    cpu_s: int = 30
    wall_s: float = 120.0
    memory: int = 2048 * MIB  # address space; clang needs 300 MiB for vmlinux.h
    file: int = 32 * MIB  # each file it writes
    output: int = 1 * MIB  # kept of what it prints


@dataclass(frozen=True, slots=True)
class SandboxRun:
    """How it ended. `broke` names the limit that ended it: time, memory or output; "" for none."""

    exit_code: int
    text: str
    error_text: str
    broke: str
    seconds: float


class Sandbox:
    """Programs of the tree at `root`, which has a merged /usr (Debian 12 and later)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        return self._root

    async def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        read: Mapping[str, Path],
        out: Path | None = None,
    ) -> SandboxRun:
        """`read`: files and directories at paths in the sandbox; `out`, writable, is at /out.

        UnsupportedError: no sandbox can be made here; BusyError: the wall clock ended it. Neither
        says anything of the input.
        """
        if shutil.which("bwrap") is None or shutil.which("prlimit") is None:
            raise UnsupportedError("there is no bwrap here", hint="apt-get install bubblewrap")
        given = [*self._limits(limits), *self._view(read, out), "--", *argv]
        done = await process.run(given, timeout_s=limits.wall_s, output_cap=limits.output)
        said = done.stderr.decode("utf-8", "replace")
        if said.startswith("bwrap: "):
            raise UnsupportedError(
                f"the sandbox cannot be made: {said.strip()[:300]}",
                hint="run as root, or allow unprivileged user namespaces",
            )
        if done.timed_out:
            raise BusyError(
                f"{argv[0]} was not done after {limits.wall_s:.0f} s, with CPU time left",
                hint="try again when the machine is less busy",
            )
        return SandboxRun(done.exit_code, done.text, said, _broke(done, said), done.seconds)

    def _limits(self, limits: Limits) -> list[str]:
        return [
            "prlimit",
            f"--cpu={limits.cpu_s}:{limits.cpu_s + 2}",
            f"--as={limits.memory}",
            f"--fsize={limits.file}",
            "--core=0",
            "--nofile=256",
            "--",
        ]

    def _view(self, read: Mapping[str, Path], out: Path | None) -> list[str]:
        root = self._root
        view = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
        view += ["--setenv", "PATH", "/usr/bin:/usr/sbin", "--setenv", "LANG", "C.UTF-8"]
        view += ["--ro-bind", str(root / "usr"), "/usr"]
        for name in ("bin", "sbin", "lib", "lib64"):
            view += ["--symlink", f"usr/{name}", f"/{name}"]
        for name in ("etc/ld.so.cache", "etc/alternatives"):
            view += ["--ro-bind-try", str(root / name), f"/{name}"]
        view += ["--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]
        for place, path in read.items():
            view += ["--ro-bind", str(path), place]
        if out is not None:
            view += ["--bind", str(out), "/out"]
        return [*view, "--uid", _NOBODY, "--gid", _NOBODY, "--cap-drop", "ALL"]


def _broke(done: process.ProcessResult, said: str) -> str:
    ended = done.exit_code - _SIGNALLED
    if ended in (signal.SIGXCPU, signal.SIGKILL) and not done.timed_out:
        return "time"
    if done.truncated or ended == signal.SIGXFSZ or "File too large" in said:
        return "output"
    memory = ("out of memory", "bad_alloc", "Cannot allocate memory", "MemoryError")
    if done.exit_code != 0 and any(word in said for word in memory):
        return "memory"
    return ""
