# SPDX-License-Identifier: Apache-2.0
"""inotify(7) through libc: one descriptor, many watches, events read on the event loop."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

# linux/inotify.h
IN_MODIFY = 0x00000002
IN_MOVED_FROM = 0x00000040
IN_MOVED_TO = 0x00000080
IN_CREATE = 0x00000100
IN_DELETE = 0x00000200
IN_UNMOUNT = 0x00002000
IN_Q_OVERFLOW = 0x00004000
IN_IGNORED = 0x00008000
IN_ONLYDIR = 0x01000000
IN_ISDIR = 0x40000000

_HEADER = struct.Struct("iIII")
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Event:
    """One inotify event; `name` is "" for an event of the watched file itself."""

    watch: int
    mask: int
    name: str


class WatchLimitError(OSError):
    """fs.inotify.max_user_watches is used up."""


class Inotify(Protocol):
    """A source of file system events."""

    def add(self, path: str, mask: int) -> int | None:
        """The watch's number, None when the path is gone. WatchLimitError when none is left."""

    def remove(self, watch: int) -> None: ...

    def start(self, handler: Callable[[list[Event]], None]) -> None:
        """From now on `handler` gets every batch of events, in order, on the running loop."""

    def close(self) -> None: ...


def parse_events(data: bytes) -> Iterator[Event]:
    """Splits what read() gave into events (struct inotify_event)."""
    offset = 0
    while offset < len(data):
        watch, mask, _cookie, length = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        name = data[offset : offset + length].split(b"\0", 1)[0]
        offset += length
        yield Event(watch, mask, os.fsdecode(name))


class LibcInotify:
    """The kernel's inotify. Call `close` at the end; a closed one reads nothing more."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._add_watch = libc.inotify_add_watch
        self._add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        self._rm_watch = libc.inotify_rm_watch
        self._rm_watch.argtypes = (ctypes.c_int, ctypes.c_int)
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"inotify_init1: {os.strerror(number)}")
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, path: str, mask: int) -> int | None:
        watch: int = self._add_watch(self._fd, os.fsencode(path), mask)
        if watch >= 0:
            return watch
        number = ctypes.get_errno()
        if number in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR):
            return None
        if number == errno.ENOSPC:
            raise WatchLimitError(number, "fs.inotify.max_user_watches is used up")
        raise OSError(number, os.strerror(number), path)

    def remove(self, watch: int) -> None:
        # EINVAL: the kernel dropped the watch with its directory, which is what we want.
        self._rm_watch(self._fd, watch)

    def start(self, handler: Callable[[list[Event]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._ready, handler)

    def _ready(self, handler: Callable[[list[Event]], None]) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        handler(list(parse_events(data)))

    def close(self) -> None:
        if self._fd < 0:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
