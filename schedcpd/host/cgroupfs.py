# SPDX-License-Identifier: Apache-2.0
"""Reads one cgroup2 mount (kernel Documentation/admin-guide/cgroup-v2.rst).

Paths are relative to the mount and begin with "/"; "/" is the root. A cgroup may
vanish between any two reads, so every read answers None (or an empty tuple)
instead of raising for ENOENT, ENODEV and ESRCH.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from schedcpd.model import Pressure

GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.ENOTDIR})
_READ_BYTES = 65536
_PROCS_BYTES = 1 << 20


class CgroupFs(Protocol):
    """A cgroup2 tree that can be read."""

    root: str

    def absolute(self, cgroup: str) -> str: ...

    def unusable(self) -> str:
        """A sentence that says why this mount cannot be used, "" when it can."""

    def id_of(self, cgroup: str) -> int | None:
        """kernfs id: the directory's inode number."""

    def children(self, cgroup: str) -> tuple[tuple[str, int], ...]:
        """(path, id) of every direct child."""

    def populated(self, cgroup: str) -> bool | None:
        """Whether any process lives in the subtree (cgroup.events); the root always is."""

    def procs(self, cgroup: str, limit: int = 0) -> tuple[int, ...]:
        """Pids of the cgroup's own processes, at most `limit` when that is not 0."""

    def cpu_usage_us(self, cgroup: str) -> int | None:
        """cpu.stat usage_usec of the subtree."""

    def cpu_weight(self, cgroup: str) -> int | None:
        """cpu.weight, None where the cpu controller is off."""

    def pressure(self, cgroup: str) -> Pressure | None:
        """The `some` line of cpu.pressure, None where PSI is off."""


def read_small(path: str, size: int = _READ_BYTES) -> str | None:
    """The text of a small kernel file, None when it is gone or not supported.

    Without buffering or stat(), since this runs for every cgroup event.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    try:
        return os.read(fd, size).decode("utf-8", "replace")
    except OSError as error:
        if error.errno in GONE or error.errno == errno.EOPNOTSUPP:
            return None
        raise
    finally:
        os.close(fd)


def _read_all(path: str, limit: int) -> str | None:
    """Like `read_small` for a file longer than one page, which a seq_file gives piecemeal."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            parts = []
            while limit > 0 and (part := file.read(_READ_BYTES)):
                parts.append(part)
                limit -= len(part)
    except OSError as error:
        if error.errno in GONE or error.errno == errno.EOPNOTSUPP:
            return None
        raise
    return b"".join(parts).decode("utf-8", "replace")


class Cgroup2:
    """The cgroup2 tree mounted (or, in tests, built) at `root`."""

    def __init__(self, root: Path | str = "/sys/fs/cgroup") -> None:
        self.root = str(root).rstrip("/")

    def absolute(self, cgroup: str) -> str:
        return self.root + cgroup if cgroup != "/" else self.root

    def unusable(self) -> str:
        if Path(self.root, "cgroup.controllers").exists():
            return ""
        if not Path(self.root).is_dir():
            return f"{self.root} does not exist: no cgroup file system is mounted there"
        return (
            f"{self.root} is not a cgroup v2 mount (legacy or hybrid hierarchy); "
            "boot with systemd.unified_cgroup_hierarchy=1"
        )

    def id_of(self, cgroup: str) -> int | None:
        try:
            return os.stat(self.absolute(cgroup)).st_ino  # noqa: PTH116 - called per event
        except OSError as error:
            if error.errno in GONE:
                return None
            raise

    def children(self, cgroup: str) -> tuple[tuple[str, int], ...]:
        prefix = "" if cgroup == "/" else cgroup
        try:
            with os.scandir(self.absolute(cgroup)) as entries:
                return tuple(
                    (f"{prefix}/{entry.name}", entry.inode())
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False)
                )
        except OSError as error:
            if error.errno in GONE:
                return ()
            raise

    def walk(self, cgroup: str = "/") -> Iterator[tuple[str, int]]:
        """(path, id) of every cgroup below `cgroup`, parents before children."""
        stack = [cgroup]
        while stack:
            for path, number in self.children(stack.pop()):
                yield path, number
                stack.append(path)

    def populated(self, cgroup: str) -> bool | None:
        if cgroup == "/":
            return True
        text = read_small(self.absolute(cgroup) + "/cgroup.events")
        return None if text is None else "populated 1" in text

    def procs(self, cgroup: str, limit: int = 0) -> tuple[int, ...]:
        path = self.absolute(cgroup) + "/cgroup.procs"
        text = read_small(path, limit * 11) if limit else _read_all(path, _PROCS_BYTES)
        if not text:
            return ()
        whole = text if text.endswith("\n") else text[: text.rfind("\n") + 1]
        # A process of another pid namespace reads as 0.
        pids = tuple(int(line) for line in whole.split() if line != "0")
        return pids[:limit] if limit else pids

    def cpu_usage_us(self, cgroup: str) -> int | None:
        text = read_small(self.absolute(cgroup) + "/cpu.stat")
        if text is None:
            return None
        for line in text.splitlines():
            if line.startswith("usage_usec "):
                return int(line[11:])
        return None

    def cpu_weight(self, cgroup: str) -> int | None:
        text = read_small(self.absolute(cgroup) + "/cpu.weight")
        return int(text) if text and text.strip().isdigit() else None

    def pressure(self, cgroup: str) -> Pressure | None:
        text = read_small(self.absolute(cgroup) + "/cpu.pressure")
        for line in (text or "").splitlines():
            if line.startswith("some "):
                fields = dict(part.split("=", 1) for part in line.split()[1:] if "=" in part)
                return Pressure(
                    avg10=float(fields.get("avg10", 0)),
                    avg60=float(fields.get("avg60", 0)),
                    total_us=int(fields.get("total", 0)),
                )
        return None
