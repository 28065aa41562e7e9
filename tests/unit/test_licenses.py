# SPDX-License-Identifier: Apache-2.0
"""Every source file says which licence it is under, and it is the right one.

BPF C is GPL-2.0-only, because the kernel lends its functions to nothing else; the plugin of QEMU is
GPL-2.0-or-later, as QEMU is; the rest is Apache-2.0.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = {".py", ".c", ".h", ".sh", ".service", ".socket", ".target", ".conf"}
NAMES = {"Makefile"}
HEADER = re.compile(
    r"SPDX-License-Identifier:[ \t]*([^\s*]+)[ \t]*(?:\*/|-->)?[ \t]*$", re.MULTILINE
)


def tracked() -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=60
    )
    return [name for name in listing.stdout.decode().split("\0") if name]


def is_source(name: str) -> bool:
    path = ROOT / name
    if path.is_symlink() or not path.is_file():
        return False
    if path.suffix in SUFFIXES or path.name in NAMES:
        return True
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def licence_for(name: str) -> str:
    if Path(name).suffix not in {".c", ".h"}:
        return "Apache-2.0"
    if name.startswith("schedbench/"):
        return "GPL-2.0-or-later" if "/plugin/" in name else "Apache-2.0"
    return "GPL-2.0-only"


def licence_in(text: str) -> str | None:
    found = HEADER.search("\n".join(text.splitlines()[:5]))
    return found.group(1) if found else None


SOURCES = [name for name in tracked() if is_source(name)]


def test_every_source_has_its_licence() -> None:
    wrong = {
        name: found
        for name in SOURCES
        if (found := licence_in((ROOT / name).read_text(encoding="utf-8"))) != licence_for(name)
    }
    assert not wrong, f"first five lines lack the right SPDX-License-Identifier: {wrong}"


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("# SPDX-License-Identifier: Apache-2.0\n", "Apache-2.0"),
        ("/* SPDX-License-Identifier: GPL-2.0-only */\n", "GPL-2.0-only"),
        ("#!/bin/sh\n# SPDX-License-Identifier: MIT\n", "MIT"),
        ("\n\n\n\n\n# SPDX-License-Identifier: Apache-2.0\n", None),
        ("print('hello')\n", None),
    ],
)
def test_the_header_is_read(text: str, licence: str | None) -> None:
    assert licence_in(text) == licence


@pytest.mark.parametrize(
    ("file", "first", "contains"),
    [
        ("LICENSE", "Apache License", "Version 2.0, January 2004"),
        ("LICENSES/Apache-2.0.txt", "Apache License", "Version 2.0, January 2004"),
        ("LICENSES/GPL-2.0-or-later.txt", "GNU GENERAL PUBLIC LICENSE", "Version 2, June 1991"),
        ("LICENSES/GPL-2.0-only.txt", "GNU GENERAL PUBLIC LICENSE", "Version 2, June 1991"),
    ],
)
def test_licence_texts_are_whole(file: str, first: str, contains: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert text.lstrip().startswith(first)
    assert contains in text
    assert len(text) > 10_000


def test_every_licence_used_has_its_text() -> None:
    texts = {path.stem for path in (ROOT / "LICENSES").iterdir()}
    assert {licence_for(name) for name in SOURCES} <= texts
