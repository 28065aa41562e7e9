# SPDX-License-Identifier: Apache-2.0
"""The guest's kernel: Debian's backports kernel, fetched with apt, or one from /boot.

Debian 13's own 6.12 has no sched_ext; trixie-backports' `linux-image-cloud-amd64` has it, with BTF.
Since 7.3 its files are split over linux-binary-*, linux-modules-* and linux-base-*. Nothing is
installed on the host: apt works in a private state directory, packages are unpacked in the cache.
"""

from __future__ import annotations

import lzma
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import MicroVmError
from schedcpd.host import process
from schedcpd.microvm.apt import PrivateApt, private_apt
from schedcpd.microvm.cache import Progress, async_locked, cache_dir, made_whole

SUITE = "trixie-backports"
META_PACKAGE = "linux-image-cloud-amd64"


@dataclass(frozen=True, slots=True)
class GuestKernel:
    """One bootable kernel. `modules` is its directory below lib/modules."""

    release: str
    vmlinuz: Path
    modules: Path

    def module(self, name: str) -> bytes | None:
        """The uncompressed .ko of module `name`, or None if there is none (built in, or absent)."""
        for suffix in (".ko", ".ko.xz", ".ko.zst"):
            for path in self.modules.glob(f"kernel/**/{name}{suffix}"):
                if suffix == ".ko.xz":
                    return lzma.decompress(path.read_bytes())
                if suffix == ".ko":
                    return path.read_bytes()
                raise MicroVmError(f"{path}: zstd modules are not supported")
        return None

    @property
    def config(self) -> bytes:
        """The kernel's configuration as Debian ships it; empty if there is none to be found."""
        for path in (self.modules / "config", self.vmlinuz.parent / f"config-{self.release}"):
            if path.exists():
                return path.read_bytes()
        return b""

    @property
    def built_in(self) -> frozenset[str]:
        """Names of drivers compiled into the kernel (modules.builtin), with `_` for `-`."""
        text = (self.modules / "modules.builtin").read_text(encoding="utf-8")
        return frozenset(Path(line).stem.replace("-", "_") for line in text.splitlines())


def installed_kernel(vmlinuz: Path, modules: Path | None = None) -> GuestKernel:
    """A kernel from this machine, as /boot/vmlinuz-RELEASE. Raises MicroVmError if not usable."""
    match = re.fullmatch(r"vmlinuz-(.+)", vmlinuz.resolve().name)
    if modules is None and match is not None:
        modules = Path("/lib/modules") / match[1]
    if modules is None or not (modules / "modules.builtin").exists():
        raise MicroVmError(
            f"no modules for kernel {vmlinuz}", hint="pass the directory /lib/modules/RELEASE"
        )
    if not vmlinuz.exists():
        raise MicroVmError(f"no kernel at {vmlinuz}")
    return GuestKernel(release=modules.name, vmlinuz=vmlinuz, modules=modules)


def cached_kernel() -> GuestKernel | None:
    """The newest backports kernel in the cache, or None."""
    found = [
        path
        for path in (cache_dir() / "kernel").glob("*/usr/lib/modules/*/vmlinuz")
        if (path.parent / "modules.builtin").exists()
    ]
    if not found:
        return None
    newest = max(found, key=lambda path: path.stat().st_mtime)
    return GuestKernel(release=newest.parent.name, vmlinuz=newest, modules=newest.parent)


async def backports_kernel(progress: Progress, *, refresh: bool = False) -> GuestKernel:
    """The backports kernel, fetched if the cache has none (or asked for again with `refresh`).

    Raises MicroVmError if apt cannot find or fetch it.
    """
    known = cached_kernel()
    if known is not None and not refresh:
        return known
    async with async_locked(cache_dir() / "kernel" / "lock"):
        known = cached_kernel()
        if known is not None and not refresh:
            return known
        return await _fetch(SUITE, progress)


async def stable_kernel(progress: Progress) -> GuestKernel:
    """Trixie's own kernel, which has no sched_ext: for trying what happens without it."""
    folder = cache_dir() / "kernel-stable"
    for built in folder.glob("*/usr/lib/modules/*/modules.builtin"):
        return _unpacked(built.parents[4], built.parent.name)
    async with async_locked(folder / "lock"):
        return await _fetch("trixie", progress, folder)


async def series_kernel(series: str, progress: Progress) -> GuestKernel:
    """The newest kernel of a series that backports keeps beside its newest one, such as "6.18".

    The cached one if there is one, which is also how one built by tools/build-kernel is found.
    Raises MicroVmError, which names the series there are.
    """
    folder = cache_dir() / "kernel-series"
    if cached := _cached_of_series(series, folder):
        return cached
    async with async_locked(folder / "lock"):
        apt = await private_apt([SUITE], progress)
        newest = newest_of_series(await apt.names("linux-"))
        if series not in newest:
            raise MicroVmError(
                f"{SUITE} has no kernel {series}",
                hint=f"it has {', '.join(newest)}; tools/build-kernel builds 6.12",
            )
        return await _fetch(SUITE, progress, folder, newest[series])


def _cached_of_series(series: str, folder: Path) -> GuestKernel | None:
    """The one that was put there last, or asked for last where it was built."""
    found = folder.glob(f"{series}.*/usr/lib/modules/*/modules.builtin")
    built = max(found, key=lambda path: path.parents[4].stat().st_mtime_ns, default=None)
    return _unpacked(built.parents[4], built.parent.name) if built else None


def newest_of_series(packages: list[str]) -> dict[str, str]:
    """Series ("6.18") to the newest release of it, of the packages that are cloud kernels.

    Since 6.19 a release is split; one whose modules the archive has dropped does not count.
    """
    found: dict[tuple[int, int], tuple[int, str]] = {}
    names = set(packages)
    for package in packages:
        match = re.fullmatch(r"linux-image-((\d+)\.(\d+)\.(\d+)\+\S*cloud-amd64)", package)
        if match is not None and (
            f"linux-binary-{match[1]}" not in names or f"linux-modules-{match[1]}" in names
        ):
            series, patch = (int(match[2]), int(match[3])), int(match[4])
            found[series] = max(found.get(series, (-1, "")), (patch, match[1]))
    return {f"{a}.{b}": found[a, b][1] for a, b in sorted(found)}


async def _fetch(
    suite: str, progress: Progress, folder: Path | None = None, release: str = ""
) -> GuestKernel:
    apt = await private_apt([suite], progress)
    if not release:
        image = await _depends(apt, META_PACKAGE, r"linux-image-\d\S*-cloud-amd64")
        release = image.removeprefix("linux-image-")
    target = (folder or cache_dir() / "kernel") / release
    found = _unpacked(target, release)
    if (found.modules / "modules.builtin").exists():
        return found
    progress(f"kernel: fetching {release} from {suite}")
    parts = ("image", "base", "binary", "modules")
    names = [f"linux-{part}-{release}" for part in parts]
    with made_whole(target) as scratch:
        debs = await apt.download([n for n in names if await apt.knows(n)], scratch / "debs")
        for deb in debs:
            (await process.run(["dpkg-deb", "-x", deb, scratch], timeout_s=300)).check()
        shutil.rmtree(scratch / "debs")
        modules = next(scratch.glob(f"**/lib/modules/{release}"))
        wanted = scratch / "usr" / "lib" / "modules" / release
        if modules != wanted:
            wanted.parent.mkdir(parents=True, exist_ok=True)
            modules.rename(wanted)
        boot = scratch / "boot" / f"vmlinuz-{release}"
        if boot.exists():  # before 7.3
            boot.rename(wanted / "vmlinuz")
    progress(f"kernel: {release} is ready")
    return found


def _unpacked(target: Path, release: str) -> GuestKernel:
    modules = target / "usr" / "lib" / "modules" / release
    return GuestKernel(release=release, vmlinuz=modules / "vmlinuz", modules=modules)


async def vmlinux(kernel: GuestKernel) -> Path:
    """The uncompressed ELF kernel with its .BTF section, from the bzImage; cached.

    Layout: Documentation/arch/x86/boot.rst, `payload_offset` and `payload_length` (protocol 2.08).
    """
    target = cache_dir() / "kernel" / kernel.release / "vmlinux"
    if target.exists():
        return target
    image = kernel.vmlinuz.read_bytes()
    if image[0x202:0x206] != b"HdrS":
        raise MicroVmError(f"{kernel.vmlinuz}: not a bzImage")
    start = ((image[0x1F1] or 4) + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
    length = int.from_bytes(image[0x24C:0x250], "little")
    payload = image[start : start + length - 4]  # the last four bytes are the unpacked size
    tools = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zX": "xz", b"\x1f\x8b\x08": "gzip"}
    tool = next((tool for magic, tool in tools.items() if payload.startswith(magic)), None)
    if tool is None:
        raise MicroVmError(f"{kernel.vmlinuz}: compressed in an unknown way")
    unpacked = await process.run(
        [tool, "-dc"], stdin=payload, timeout_s=120, output_cap=512 * 1024 * 1024
    )
    unpacked.check(f"unpacking {kernel.vmlinuz}")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_suffix(".tmp")
    scratch.write_bytes(unpacked.stdout)
    scratch.rename(target)
    return target


async def _depends(apt: PrivateApt, package: str, pattern: str) -> str:
    match = re.search(rf"^Depends:.*?\b({pattern})", await apt.show(package), re.MULTILINE)
    if match is None:
        raise MicroVmError(f"{package} does not depend on a kernel as expected")
    return match[1]
