# SPDX-License-Identifier: Apache-2.0
"""The cache of things that are slow to make, each named by the hash of what it was made from.

`SCHEDCP_CACHE` names the directory; else systemd's `CacheDirectory=` (the daemon:
/var/cache/schedcp); else ~/.cache/schedcp.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

Progress = Callable[[str], None]


def cache_dir() -> Path:
    """The cache directory; made if absent."""
    named = os.environ.get("SCHEDCP_CACHE") or os.environ.get("CACHE_DIRECTORY")
    if named:
        path = Path(named)
    elif "HOME" in os.environ:
        path = Path.home() / ".cache" / "schedcp"
    else:
        path = Path("/var/cache/schedcp")
    path.mkdir(parents=True, exist_ok=True)
    return path


def content_key(*parts: str | bytes) -> str:
    """12 hex digits that change when any part does."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Holds an advisory lock on `path` (made if absent). Blocks the thread while it waits.

    Yields False if `wait` is false and somebody has it.
    """
    fd = acquire(path, shared=shared, wait=wait)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)


@contextlib.asynccontextmanager
async def async_locked(path: Path) -> AsyncIterator[None]:
    """Holds the exclusive lock on `path`; waits for it without blocking the event loop."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = await asyncio.to_thread(acquire, path)
    assert fd is not None
    try:
        yield
    finally:
        os.close(fd)


def acquire(path: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """Takes the lock and returns the file descriptor that holds it; close it to release."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    flags = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(fd, flags)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


@contextlib.contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A scratch directory that becomes `target` if the block ends well, and else vanishes."""
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def prune(parent: Path, keep: int) -> None:
    """Removes the least recently used directories of `parent` beyond `keep`, but no locked one."""
    entries = sorted(
        (entry for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith(".")),
        key=lambda entry: entry.stat().st_mtime,
        reverse=True,
    )
    for entry in entries[keep:]:
        with locked(entry.with_name(f"{entry.name}.lock"), wait=False) as mine:
            if mine:
                shutil.rmtree(entry, ignore_errors=True)


def stderr_progress() -> Progress:
    """Prints lines with the elapsed time, in the form of the tools (see tools/lib.sh)."""
    began = float(os.environ.get("SCHEDCP_T0") or time.time())

    def say(text: str) -> None:
        print(f"[{time.time() - began:4.0f}s] {text}", file=sys.stderr, flush=True)

    return say
