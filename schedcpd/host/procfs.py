# SPDX-License-Identifier: Apache-2.0
"""Reads /proc of other processes: who they are, never what they were told.

Command lines can hold secrets, so only `cmdline` reads them and nothing calls it
unless a person asked. Every read answers None once the process is gone.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Protocol

from schedcpd.host.cgroupfs import GONE, read_small


class ProcFs(Protocol):
    """A /proc tree that can be read."""

    def executable(self, pid: int) -> str | None:
        """Base name of /proc/PID/exe; "" for a kernel thread."""

    def comm(self, pid: int) -> str | None: ...

    def uid(self, pid: int) -> int | None:
        """Effective user id: the owner of /proc/PID (root's for a process that is not dumpable)."""

    def cgroup(self, pid: int) -> str | None:
        """cgroup2 path of the process."""


class Procfs:
    """The /proc tree at `root`."""

    def __init__(self, root: Path | str = "/proc") -> None:
        self._root = str(root).rstrip("/")

    def executable(self, pid: int) -> str | None:
        try:
            target = os.readlink(f"{self._root}/{pid}/exe")  # noqa: PTH115 - called per event
        except OSError as error:
            if error.errno in GONE:
                # A kernel thread is there but has no exe: ENOENT for the link alone.
                return "" if self.comm(pid) is not None else None
            if error.errno in (errno.EACCES, errno.EPERM):
                return ""
            raise
        return target.removesuffix(" (deleted)").rsplit("/", 1)[-1]

    def comm(self, pid: int) -> str | None:
        text = read_small(f"{self._root}/{pid}/comm", 256)
        return None if text is None else text.removesuffix("\n")

    def uid(self, pid: int) -> int | None:
        try:
            return os.stat(f"{self._root}/{pid}").st_uid  # noqa: PTH116 - called per event
        except OSError as error:
            if error.errno in GONE:
                return None
            raise

    def cgroup(self, pid: int) -> str | None:
        for line in (read_small(f"{self._root}/{pid}/cgroup") or "").splitlines():
            if line.startswith("0::"):
                return line[3:].removesuffix(" (deleted)")
        return None

    def cmdline(self, pid: int) -> tuple[str, ...] | None:
        """The arguments. May hold secrets: never logged, stored or sent anywhere by us."""
        text = read_small(f"{self._root}/{pid}/cmdline")
        return None if text is None else tuple(text.rstrip("\0").split("\0"))
