# SPDX-License-Identifier: Apache-2.0
"""Which QEMU this is, and whether the virtual clock is proved on it."""

from __future__ import annotations

import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from schedbench.vclock.errors import VClockError

BINARY = "qemu-system-x86_64"
PT_NOTE, NT_GNU_BUILD_ID = 4, 3
ACCEPTED = Path(__file__).parent / "plugin" / "accepted.h"


@dataclass(frozen=True, slots=True)
class QemuBuild:
    """One build of QEMU. `accepted` is its package version on the list, "" if it is not on it."""

    binary: Path
    build_id: str
    accepted: str


def accepted_builds(text: str) -> dict[str, str]:
    """Build id to package version, from the text of plugin/accepted.h."""
    return dict(re.findall(r'^\s*\{ "([0-9a-f]{40})", "([^"]+)" \},$', text, re.MULTILINE))


def build_id(binary: Path) -> str:
    """The GNU build id of a 64-bit little-endian ELF file, in hex; "" if it has none.

    Layout: elf(5), Elf64_Ehdr, Elf64_Phdr, notes. Raises VClockError if it is no such file.
    """
    try:
        with binary.open("rb") as file:
            head = file.read(64)
            if head[:6] != b"\x7fELF\x02\x01":
                raise VClockError(f"{binary}: not a 64-bit little-endian ELF file")
            (table,) = struct.unpack_from("<Q", head, 32)
            size, count = struct.unpack_from("<HH", head, 54)
            file.seek(table)
            headers = file.read(size * count)
            for start in range(0, size * count, size):
                kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", headers, start)
                if kind == PT_NOTE:
                    file.seek(offset)
                    found = _build_id_note(file.read(length))
                    if found:
                        return found
    except (OSError, struct.error) as error:
        raise VClockError(f"{binary}: cannot read its build id: {error}") from error
    return ""


def _build_id_note(notes: bytes) -> str:
    at = 0
    while at + 12 <= len(notes):
        name_size, data_size, kind = struct.unpack_from("<III", notes, at)
        name = at + 12
        data = name + (name_size + 3 & ~3)
        if kind == NT_GNU_BUILD_ID and notes[name : name + name_size] == b"GNU\0":
            return notes[data : data + data_size].hex()
        at = data + (data_size + 3 & ~3)
    return ""


def find() -> QemuBuild:
    """The QEMU on PATH. Raises VClockError if there is none."""
    found = shutil.which(BINARY)
    if found is None:
        raise VClockError(f"{BINARY} is not installed", hint="tools/install-deps")
    path = Path(found)
    known = accepted_builds(ACCEPTED.read_text(encoding="utf-8"))
    mine = build_id(path)
    return QemuBuild(path, mine, known.get(mine, ""))
