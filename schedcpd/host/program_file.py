# SPDX-License-Identifier: Apache-2.0
"""The executable of an external scheduler: looked for in fixed places, checked once it is open.

What is checked, hashed and run is one open file, so nothing can be put in its place in between.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import NotFoundError, UnsupportedError
from schedcpd.host.scx_programs import PROGRAMS
from schedcpd.model import SchedulerObject

DIRECTORIES = tuple(
    Path(place)
    for place in ("/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/usr/libexec/scx")
)
MAX_BYTES = 512 * 1024 * 1024
_ELF = b"\x7fELF"
_CHUNK = 1 << 20
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class ProgramFile:
    """An open executable. Whoever holds it closes `fd`."""

    name: str
    path: Path
    fd: int

    def sha256(self) -> str:
        """Of the bytes as they are now, in hex. Tenths of a second for a large one."""
        digest, at = hashlib.sha256(), 0
        while chunk := os.pread(self.fd, _CHUNK, at):
            digest.update(chunk)
            at += len(chunk)
        return digest.hexdigest()

    def close(self) -> None:
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class ProgramFinder:
    """`owner` must own the files and their directories: root, outside of tests."""

    directories: Sequence[Path] = DIRECTORIES
    owner: int = 0

    def open(self, name: str) -> ProgramFile:
        """The first of that name in the directories, checked.

        NotFoundError: there is none. UnsupportedError: the table does not name it, or it is not
        an executable that only its owner can change.
        """
        if name not in PROGRAMS:
            raise UnsupportedError(
                f"{name!r:.80} is not an external scheduler that schedcp knows",
                hint="one of " + ", ".join(PROGRAMS),
            )
        for directory in self.directories:
            path = directory / name
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                why = "is a link" if path.is_symlink() else f"cannot be read: {error.strerror}"
                raise UnsupportedError(
                    f"{path} {why}", hint="install the program itself there"
                ) from error
            try:
                self._check(fd, path)
            except BaseException:
                os.close(fd)
                raise
            return ProgramFile(name, path, fd)
        places = ", ".join(str(directory) for directory in self.directories)
        raise NotFoundError(
            f"{name} is not installed (looked in {places})", hint="install it, then reload schedcpd"
        )

    def _check(self, fd: int, path: Path) -> None:
        above, found = path.parent.stat(), os.fstat(fd)
        why = ""
        if above.st_uid != self.owner or above.st_mode & _OTHERS_WRITE:
            why = f"lies in {path.parent}, where others than root may put files"
        elif not stat.S_ISREG(found.st_mode) or not found.st_mode & stat.S_IXUSR:
            why = "is not an executable file"
        elif found.st_uid != self.owner or found.st_mode & _OTHERS_WRITE:
            why = "may be changed by others than root"
        elif found.st_size > MAX_BYTES or os.pread(fd, len(_ELF), 0) != _ELF:
            why = f"is not an ELF program of at most {MAX_BYTES >> 20} MiB"
        if why:
            raise UnsupportedError(
                f"{path} {why}", hint="install it as root, mode 0755, from a source you trust"
            )


@dataclass(frozen=True, slots=True)
class Programs:
    """What external schedulers there are for policies. `allowed`: the administrator's word."""

    allowed: bool = False
    finder: ProgramFinder = ProgramFinder()

    def find(self, name: str) -> SchedulerObject:
        """NotFoundError or UnsupportedError with the reason why it cannot be run here."""
        found = self.finder.open(name)
        try:
            if not self.allowed:
                raise UnsupportedError(
                    f"{found.path} is there, but external schedulers are switched off",
                    hint="set external.enabled: true in schedcpd.yaml",
                )
            return SchedulerObject(name, str(found.path), found.sha256())
        finally:
            found.close()
