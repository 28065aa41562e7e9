# SPDX-License-Identifier: Apache-2.0
"""The drivers: small C programs of ours where a command line is not enough.

Each prints one JSON object on a line of its own; the head of its source says which keys. They are
linked statically in the builder chroot, so that they run in the image and in a bare initramfs, and
Debian 12 and 13 give the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from schedcpd.errors import NotFoundError
from schedcpd.host import process
from schedcpd.microvm.cache import (
    Progress,
    async_locked,
    cache_dir,
    content_key,
    made_whole,
    prune,
)

HERE = Path(__file__).parent
TOP = HERE.parents[1]
CFLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-pthread")
KEEP = 60  # built programs


def names() -> tuple[str, ...]:
    """Every driver there is."""
    return tuple(sorted(path.stem for path in HERE.glob("*.c")))


def source(name: str) -> bytes:
    """All that a driver is made from. Raises NotFoundError."""
    path = HERE / f"{name}.c"
    if not path.is_file():
        raise NotFoundError(f"there is no driver {name!r}", hint=f"there are: {', '.join(names())}")
    headers = [header.read_bytes() for header in sorted(HERE.glob("*.h"))]
    return b"\0".join([path.read_bytes(), *headers])


async def build(wanted: Collection[str], progress: Progress) -> dict[str, bytes]:
    """The programs by name, compiled if the cache does not have them.

    Raises NotFoundError for an unknown name, ProcessError with the compiler's words.
    """
    sources = {name: source(name) for name in sorted(wanted)}
    builder = TOP / "tools" / "builder"
    root = (await process.run([builder, "make"], timeout_s=1800)).check("tools/builder make").text
    folder = cache_dir() / "drivers"
    programs: dict[str, bytes] = {}
    async with async_locked(folder / "lock"):
        for name, text in sources.items():
            target = folder / f"{name}-{content_key(Path(root.strip()).name, repr(CFLAGS), text)}"
            if not target.exists():
                progress(f"drivers: compiling {name}.c")
                with made_whole(target) as scratch:
                    argv = [
                        str(builder), "run", "--no-net", "--out", str(scratch), "--",
                        "gcc", *CFLAGS, "-o", f"/out/{name}",
                        f"/src/schedbench/drivers/{name}.c", "-lm",
                    ]  # fmt: skip
                    (await process.run(argv, timeout_s=600)).check(f"compiling {name}.c")
            programs[name] = (target / name).read_bytes()
        prune(folder, KEEP)
    return programs
