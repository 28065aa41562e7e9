# SPDX-License-Identifier: Apache-2.0
"""Builds the plugin and what goes into the guest; everything lands in the cache.

The plugin is compiled here, since it must fit this machine's C library. The guest's programs are
compiled in the builder chroot, so that Debian 12 and 13 give the same bytes.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

from schedbench import scxload
from schedbench.vclock.errors import VClockError
from schedbench.vclock.machine import Files, Link
from schedbench.vclock.rootfs import MERGED, Closure
from schedcpd.host import process
from schedcpd.microvm.apt import private_apt
from schedcpd.microvm.cache import Progress, cache_dir, content_key, locked, made_whole

HERE = Path(__file__).parent
TOP = HERE.parents[1]
SUITE = "trixie"
HEADER_MEMBER = re.compile(r"[^/]+/include/qemu/qemu-plugin\.h")
CFLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror")


def _folder() -> Path:
    folder = cache_dir() / "vclock"
    folder.mkdir(exist_ok=True)
    return folder


def missing_for_plugin() -> str:
    """Why the plugin cannot be had without fetching anything; "" when it can."""
    for tool in ("gcc", "pkg-config"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed, which its plugin is compiled with"
    if not (_folder() / "include" / "qemu-plugin.h").exists():
        return "its plugin was never built here (schedbench/vclock/build)"
    return ""


async def plugin_header(progress: Progress) -> Path:
    """qemu-plugin.h, which no binary package has: from Debian's source package of QEMU."""
    target = _folder() / "include"
    if not (target / "qemu-plugin.h").exists():
        apt = await private_apt([SUITE], progress, source=True)
        progress("vclock: fetching QEMU's source package for qemu-plugin.h")
        with made_whole(target) as scratch:
            files = await apt.download_source("qemu", scratch / "src")
            archive = next((path for path in files if ".orig.tar." in path.name), None)
            if archive is None:
                raise VClockError("QEMU's source package has no .orig.tar")
            with tarfile.open(archive) as tar:
                for member in tar:
                    if HEADER_MEMBER.fullmatch(member.name):
                        content = tar.extractfile(member)
                        assert content is not None
                        (scratch / "qemu-plugin.h").write_bytes(content.read())
                        break
                else:
                    raise VClockError(f"{archive.name} has no qemu-plugin.h")
            shutil.rmtree(scratch / "src")
    return target


async def plugin(progress: Progress) -> Path:
    """The compiled plugin. Raises VClockError or ProcessError if it cannot be built."""
    if shutil.which("gcc") is None or shutil.which("pkg-config") is None:
        raise VClockError("no C compiler or no pkg-config", hint="tools/install-deps")
    with locked(_folder() / "lock"):
        include = await plugin_header(progress)
        sources = sorted((HERE / "plugin").iterdir())
        compiler = (await process.run(["gcc", "--version"], timeout_s=20)).check().stdout
        header = (include / "qemu-plugin.h").read_bytes()
        key = content_key(repr(CFLAGS), compiler, header, *(path.read_bytes() for path in sources))
        target = _folder() / f"plugin-{key}"
        if not target.exists():
            glib = await process.run(["pkg-config", "--cflags", "glib-2.0"], timeout_s=20)
            flags = glib.check("glib's headers (libglib2.0-dev)").text.split()
            progress("vclock: compiling the plugin")
            with made_whole(target) as scratch:
                argv = [
                    "gcc", *CFLAGS, "-shared", "-fPIC", "-fvisibility=hidden",
                    f"-I{include}", *flags,
                    "-o", str(scratch / "vclock.so"), str(HERE / "plugin" / "vclock.c"),
                ]  # fmt: skip
                (await process.run(argv, timeout_s=120)).check("compiling vclock.c")
    return target / "vclock.so"


async def busybox(progress: Progress) -> bytes:
    """A static busybox from Debian."""
    target = _folder() / "busybox"
    if not target.exists():
        apt = await private_apt([SUITE], progress)
        with made_whole(_folder() / "busybox-package") as scratch:
            (deb,) = await apt.download(["busybox-static"], scratch / "deb")
            (await process.run(["dpkg-deb", "-x", deb, scratch / "x"], timeout_s=60)).check()
            found = next(path for path in (scratch / "x").glob("**/bin/busybox"))
            shutil.copy(found, target)
        shutil.rmtree(_folder() / "busybox-package")
    return target.read_bytes()


async def _builder(*argv: str, out: Path | None = None) -> str:
    options = ["--no-net", *(["--out", str(out)] if out is not None else [])]
    command = [str(TOP / "tools" / "builder"), "run", *options, "--", *argv]
    return (await process.run(command, timeout_s=1800)).check(" ".join(argv[:2])).text


async def guest_programs(progress: Progress) -> Files:
    """busybox and the programs of guest/*.c, static, under bin/."""
    sources = sorted((HERE / "guest").glob("*.c"))
    root = (await process.run([TOP / "tools" / "builder", "make"], timeout_s=1800)).check().text
    key = content_key(Path(root.strip()).name, *(path.read_bytes() for path in sources))
    target = _folder() / f"guest-{key}"
    with locked(_folder() / "lock"):
        files: Files = {"bin/busybox": await busybox(progress)}
        if not target.exists():
            progress("vclock: compiling the guest's programs")
            with made_whole(target) as scratch:
                for path in sources:
                    await _builder(
                        "gcc", *CFLAGS, "-static", "-s", "-o", f"/out/{path.stem}",
                        f"/src/{path.relative_to(TOP)}", out=scratch,
                    )  # fmt: skip
    for path in sources:
        files[f"bin/{path.stem}"] = (target / path.stem).read_bytes()
    return files


async def scheduler_loader(progress: Progress) -> Files:
    """bin/scxload and its libraries, from the builder chroot."""
    made = (await process.run([TOP / "tools" / "builder", "make"], timeout_s=1800)).check()
    loader = (await scxload.program(progress)).read_bytes()
    closure = Closure(Path(made.text.strip()))
    closure.libraries("/bin/scxload", loader)
    # The proof's guest has a real /bin; the others are Debian's links.
    links = {name: Link(f"usr/{name}") for name in MERGED if name != "bin"}
    return closure.files | links | {"bin/scxload": loader}
