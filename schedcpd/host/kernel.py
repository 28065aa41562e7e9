# SPDX-License-Identifier: Apache-2.0
"""Which exact kernel this is: `uname` and the GNU build id the kernel carries in its notes."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from schedcpd.errors import UnsupportedError
from schedcpd.model import KernelBuild

_NT_GNU_BUILD_ID = 3  # elf.h
_HEADER = struct.Struct("=III")  # Elf_Nhdr: namesz, descsz, type, in the machine's byte order


def build_id_of_notes(notes: bytes) -> str:
    """The GNU build id among ELF notes (/sys/kernel/notes), in lower-case hex.

    UnsupportedError when there is none, or when the notes are cut short.
    """
    at = 0
    while at + _HEADER.size <= len(notes):
        name_size, desc_size, kind = _HEADER.unpack_from(notes, at)
        name_at = at + _HEADER.size
        desc_at = name_at + _padded(name_size)
        at = desc_at + _padded(desc_size)
        if desc_at + desc_size > len(notes):
            break
        name = notes[name_at : name_at + name_size].rstrip(b"\0")
        if kind == _NT_GNU_BUILD_ID and name == b"GNU" and desc_size:
            return notes[desc_at : desc_at + desc_size].hex()
    raise UnsupportedError(
        "The kernel carries no GNU build id in /sys/kernel/notes",
        hint="use a kernel linked with --build-id, as those of distributions are",
    )


def _padded(size: int) -> int:
    return (size + 3) & ~3


def read_kernel_build(root: Path = Path("/")) -> KernelBuild:
    """The kernel whose sysfs and procfs are below `root`. UnsupportedError says what is missing."""
    if root == Path("/"):
        name = os.uname()
        release, version = name.release, name.version
    else:
        release = _text(root / "proc/sys/kernel/osrelease")
        version = _text(root / "proc/sys/kernel/version")
    path = root / "sys/kernel/notes"
    try:
        notes = path.read_bytes()
    except OSError as error:
        raise UnsupportedError(
            f"Cannot read {path}: {error.strerror}", hint="mount sysfs, and run as root"
        ) from error
    return KernelBuild(release, version, build_id_of_notes(notes))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise UnsupportedError(f"Cannot read {path}: {error.strerror}") from error
