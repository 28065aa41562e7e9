# SPDX-License-Identifier: Apache-2.0
"""Programs for a guest without a disk: taken out of the benchmark's image, with all they need.

Nothing comes from the host's own file system, so the image's hash pins every byte.
"""

from __future__ import annotations

import io
import os
import posixpath
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from schedbench.vclock.errors import VClockError
from schedbench.vclock.machine import Files, Link
from schedcpd.host import process
from schedcpd.microvm.cache import (
    Progress,
    async_locked,
    cache_dir,
    content_key,
    made_whole,
    prune,
)

# What the C library opens by name when it first needs it: to end or cancel a thread.
OPENED_BY_LIBC = "libgcc_s.so.1"
LIBRARY_PATH = ("/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/lib64")
MERGED = ("bin", "lib", "lib64", "sbin")  # links into usr/, as in Debian
MAX_LINKS = 40
UNPACKED = ("usr", "etc")  # of the image; what else there is belongs to a booted system
TIMEOUT_S = 900.0


async def unpacked(disk: Path, image: str, progress: Progress) -> Path:
    """The folders `/usr` and `/etc` of an ext4 image, in the cache. `image`: its hash or key."""
    folder = cache_dir() / "vclock-root"
    folder.mkdir(exist_ok=True)
    target = folder / content_key(image, repr(UNPACKED))
    async with async_locked(folder / "lock"):
        if not target.exists():
            progress("virtual: unpacking the image's programs")
            with made_whole(target) as scratch:
                for name in UNPACKED:
                    argv = ["debugfs", "-R", f"rdump /{name} {scratch}", str(disk)]
                    (await process.run(argv, timeout_s=TIMEOUT_S)).check(f"debugfs on {disk}")
                if not (scratch / "usr" / "bin").is_dir():
                    raise VClockError(f"{disk}: debugfs found no /usr/bin in it")
            prune(folder, keep=2)
    os.utime(target)
    return target


def base() -> Files:
    """What Debian's layout is made of, and the files that a C library asks for."""
    files: Files = {name: Link(f"usr/{name}") for name in MERGED}
    return files | {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
        "etc/hosts": b"127.0.0.1 localhost\n",
        "etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
    }


class Closure:
    """Collects files of one unpacked tree with the libraries, links and interpreters they need."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self.files: Files = {}

    def add(self, programs: Iterable[str]) -> None:
        """Adds files, or folders with all below. Raises VClockError naming what is not there."""
        for name in programs:
            if not name.startswith("/"):
                raise VClockError(f"programs: {name!r} is not an absolute path")
            host = self._real(name)
            if host is None:
                raise VClockError(
                    f"programs: {name} is not in the image",
                    hint="add its package to the workload's packages",
                )
            if host.is_dir():
                for path in sorted(host.rglob("*")):
                    if path.is_symlink() or path.is_file():
                        self._file(self._guest(path))
            else:
                self._file(name)

    def _guest(self, host: Path) -> str:
        return "/" + str(host.relative_to(self._root))

    def _real(self, name: str) -> Path | None:
        """The host's path of what `name` leads to in the tree; its links are collected."""
        rest = [part for part in name.split("/") if part]
        if rest and rest[0] in MERGED:
            rest.insert(0, "usr")
        done, links = "", 0
        while rest:
            part = rest.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = posixpath.dirname(done)
                continue
            done = f"{done}/{part}"
            host = self._root / done.lstrip("/")
            if host.is_symlink():
                links += 1
                if links > MAX_LINKS:
                    return None
                target = str(host.readlink())
                self.files.setdefault(done.lstrip("/"), Link(target))
                following = [piece for piece in target.split("/") if piece]
                if target.startswith("/"):
                    done = ""
                    if following and following[0] in MERGED:
                        following.insert(0, "usr")
                else:
                    done = posixpath.dirname(done)
                rest = following + rest
            elif not host.exists():
                return None
        return self._root / done.lstrip("/")

    def _file(self, name: str) -> None:
        host = self._real(name)
        if host is None or host.is_dir():  # a dangling link, or one to a folder, stays a link
            return
        guest = self._guest(host)
        if guest.lstrip("/") in self.files:
            return
        data = host.read_bytes()
        self.files[guest.lstrip("/")] = data
        if data.startswith(b"#!"):
            self._interpreter(name, data)
        elif data.startswith(b"\x7fELF"):
            self.libraries(guest, data)

    def _interpreter(self, name: str, data: bytes) -> None:
        words = data[2:].split(b"\n", 1)[0].decode("utf-8", "replace").split()
        if not words or self._real(words[0]) is None:
            raise VClockError(f"programs: {name} needs {words}, which the image does not have")
        self._file(words[0])

    def libraries(self, name: str, data: bytes, carried: Collection[str] = ()) -> None:
        """Adds what an ELF file asks its loader for. `name`: its path in the guest. `carried`:
        libraries that it brings itself."""
        for needed, places in _needed(name, data):
            if needed in carried:
                continue
            for place in places:
                if self._real(f"{place}/{needed}") is not None:
                    self._file(f"{place}/{needed}")
                    break
            else:
                raise VClockError(f"{name} needs {needed}, which the image does not have")
            if needed == "libc.so.6" and self._real(f"{LIBRARY_PATH[0]}/{OPENED_BY_LIBC}"):
                self._file(f"{LIBRARY_PATH[0]}/{OPENED_BY_LIBC}")


def _needed(name: str, data: bytes) -> Iterator[tuple[str, list[str]]]:
    """The names an ELF file asks for, each with the folders to look in (elf(5), ld.so(8))."""
    try:
        elf: Any = ELFFile(io.BytesIO(data))
        for segment in elf.iter_segments("PT_INTERP"):
            loader = segment.get_interp_name()
            yield posixpath.basename(loader), [posixpath.dirname(loader)]
        for section in elf.iter_sections("SHT_DYNAMIC"):
            places: list[str] = []
            for tag in section.iter_tags():
                if tag.entry.d_tag in ("DT_RUNPATH", "DT_RPATH"):
                    text = tag.runpath if tag.entry.d_tag == "DT_RUNPATH" else tag.rpath
                    places += text.replace("$ORIGIN", posixpath.dirname(name)).split(":")
            for tag in section.iter_tags("DT_NEEDED"):
                yield tag.needed, [*places, *LIBRARY_PATH]
    except ELFError as error:
        raise VClockError(f"{name}: not an ELF file that can be read: {error}") from error
