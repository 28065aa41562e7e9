# SPDX-License-Identifier: Apache-2.0
"""Builds guest/scxload.c, the loader of BPF schedulers for guests without Python.

Compiled in the builder chroot, with libbpf inside; the guest has libelf1t64, zlib1g and libc.
"""

from __future__ import annotations

from pathlib import Path

from schedcpd.errors import NotFoundError
from schedcpd.host import process
from schedcpd.microvm.cache import Progress, async_locked, cache_dir, content_key, made_whole

TOP = Path(__file__).parents[1]
SOURCES = ("schedbench/guest/scxload.c", "bpf/include/intent.h")
ARGV = (
    "gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
    "-Ibpf/include", "-s", "-o", "/out/scxload", SOURCES[0],
    # libelf.a of trixie lacks symbols, so what libbpf needs stays shared
    "-Wl,-Bstatic", "-lbpf", "-Wl,-Bdynamic", "-lelf", "-lz",
)  # fmt: skip
TIMEOUT_S = 1800.0


async def program(progress: Progress) -> Path:
    """The compiled loader, for ArmScript.files. Raises ProcessError with gcc's words."""
    builder = str(TOP / "tools" / "builder")
    root = (await process.run([builder, "make"], timeout_s=TIMEOUT_S)).check().text.strip()
    sources = [(TOP / name).read_bytes() for name in SOURCES]
    folder = cache_dir() / "guest"
    target = folder / f"scxload-{content_key(repr(ARGV), Path(root).name, *sources)}"
    folder.mkdir(exist_ok=True)
    async with async_locked(folder / "scxload.lock"):
        if not target.exists():
            progress("scxload: compiling the loader of schedulers")
            with made_whole(target) as scratch:
                argv = [builder, "run", "--no-net", "--out", str(scratch), "--", *ARGV]
                (await process.run(argv, timeout_s=TIMEOUT_S)).check("compiling scxload.c")
    return target / "scxload"


async def scheduler_object(name: str) -> Path:
    """The BPF object of one of our schedulers; its manifest lies beside it.

    Raises NotFoundError naming those there are.
    """
    built = (await process.run([TOP / "tools" / "build-bpf"], timeout_s=TIMEOUT_S)).check()
    path = Path(built.text.strip()) / f"{name}.bpf.o"
    if not path.exists():
        known = ", ".join(sorted(p.name.removesuffix(".bpf.o") for p in path.parent.glob("*.o")))
        raise NotFoundError(f"no scheduler {name!r}", hint=f"there are: {known}")
    return path
