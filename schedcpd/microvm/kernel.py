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
from schedcpd.microvm import debian
from schedcpd.microvm.cache import Progress, cache_dir, made_whole

SUITE = "trixie-backports"
META_PACKAGE = "linux-image-cloud-amd64"
FETCH_TIMEOUT_S = 900.0


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
    """The backports kernel, fetched if the cache has none (or asked again with `refresh`).

    Raises MicroVmError if apt cannot find or fetch it.
    """
    known = cached_kernel()
    if known is not None and not refresh:
        return known
    apt = await private_apt([SUITE], progress)
    image = await _depends(apt, META_PACKAGE, r"linux-image-\d\S*-cloud-amd64")
    release = image.removeprefix("linux-image-")
    target = cache_dir() / "kernel" / release
    found = _unpacked(target, release)
    if (found.modules / "modules.builtin").exists():
        return found
    progress(f"kernel: fetching {release} from {SUITE}")
    names = [image, *(f"linux-{x}-{release}" for x in ("base", "binary", "modules"))]
    with made_whole(target) as scratch:
        debs = await apt.download([n for n in names if await apt.knows(n)], scratch / "debs")
        for deb in debs:
            (await process.run(["dpkg-deb", "-x", deb, scratch], timeout_s=300)).check()
        shutil.rmtree(scratch / "debs")
        shutil.rmtree(scratch / "usr" / "share", ignore_errors=True)
        boot = scratch / "boot" / f"vmlinuz-{release}"
        if boot.exists():  # before 7.3
            modules = next(scratch.glob(f"**/lib/modules/{release}"))
            wanted = scratch / "usr" / "lib" / "modules" / release
            if modules != wanted:
                wanted.parent.mkdir(parents=True, exist_ok=True)
                modules.rename(wanted)
            boot.rename(wanted / "vmlinuz")
    progress(f"kernel: {release} is ready")
    return _unpacked(target, release)


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


@dataclass(frozen=True, slots=True)
class PrivateApt:
    """apt with a state directory of its own, for other suites than the host's."""

    config: Path

    async def _run(self, *argv: str, cwd: Path | None = None) -> str:
        result = await process.run(
            argv, env={"APT_CONFIG": str(self.config)}, timeout_s=FETCH_TIMEOUT_S, cwd=cwd
        )
        return result.check(" ".join(argv[:3])).text

    async def update(self) -> None:
        await self._run("apt-get", "update", "-qq")

    async def show(self, package: str) -> str:
        return await self._run("apt-cache", "show", "--no-all-versions", package)

    async def knows(self, package: str) -> bool:
        return bool((await self._run("apt-cache", "pkgnames", package)).split())

    async def download(self, packages: list[str], directory: Path) -> list[Path]:
        """Fetches these .deb files, verified by apt."""
        directory.mkdir(parents=True)
        await self._run("apt-get", "download", "-qq", *packages, cwd=directory)
        return sorted(directory.glob("*.deb"))

    async def download_source(self, package: str, directory: Path) -> list[Path]:
        """Fetches a source package's files, verified by apt, not unpacked."""
        directory.mkdir(parents=True)
        await self._run("apt-get", "source", "-qq", "--download-only", package, cwd=directory)
        return sorted(directory.iterdir())


async def private_apt(suites: list[str], progress: Progress, *, source: bool = False) -> PrivateApt:
    """apt for `suites` at this machine's mirror, with fresh package lists."""
    base = cache_dir() / "apt" / ("-".join(suites) + ("-src" if source else ""))
    for part in ("state/lists/partial", "cache/archives/partial", "etc"):
        (base / part).mkdir(parents=True, exist_ok=True)
    (base / "state" / "status").touch()
    text = debian.deb822(suites)
    if source:
        text = text.replace("Types: deb\n", "Types: deb-src\n")
    (base / "etc" / "debian.sources").write_text(text, encoding="utf-8")
    config = base / "apt.conf"
    lines = [
        f'Dir::State "{base}/state";',
        f'Dir::State::status "{base}/state/status";',
        f'Dir::Cache "{base}/cache";',
        'Dir::Etc::sourcelist "/dev/null";',
        f'Dir::Etc::sourceparts "{base}/etc";',
        'Dir::Etc::preferences "/dev/null";',
        'Dir::Etc::preferencesparts "/dev/null";',
        'APT::Architecture "amd64";',
        'APT::Sandbox::User "";',
        'Acquire::Languages "none";',
        'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
        *await debian.inherited_options(),
    ]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    apt = PrivateApt(config)
    progress(f"apt: reading package lists of {', '.join(suites)}")
    await apt.update()
    return apt


async def _depends(apt: PrivateApt, package: str, pattern: str) -> str:
    match = re.search(rf"^Depends:.*?\b({pattern})", await apt.show(package), re.MULTILINE)
    if match is None:
        raise MicroVmError(f"{package} in {SUITE} does not depend on a kernel as expected")
    return match[1]
