# SPDX-License-Identifier: Apache-2.0
"""The guest's disk: Debian trixie with systemd, D-Bus, polkit, our agent, the demo's programs.

Made by mmdebstrap from the mirror that the host's apt uses, cached by the hash of the recipe.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import MicroVmError
from schedcpd.host import process
from schedcpd.microvm import debian
from schedcpd.microvm.apt import private_apt
from schedcpd.microvm.cache import Progress, async_locked, cache_dir, content_key, made_whole, prune

SUITE = "trixie"
PACKAGES = (
    # a normal machine
    "systemd", "systemd-sysv", "udev", "dbus", "polkitd", "kmod", "procps", "iproute2", "less",
    "busybox-static", "adduser",
    # what the package schedcp depends on
    "python3", "python3-dbus-next", "python3-systemd", "python3-yaml", "python3-structlog",
    "python3-cryptography", "python3-pyelftools", "libbpf1",
    # verification and load
    "bpftool", "stress-ng",
    # the demo's workloads: a C build, a web server, a load generator
    "gcc", "libc6-dev", "make", "nginx-light", "wrk",
)  # fmt: skip
SOURCE_PACKAGE = "lua5.4"  # unpacked in /usr/src/lua
DISK_BYTES = 4 << 30  # sparse
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "logrotate.timer", "systemd-tmpfiles-clean.timer",
    "systemd-timesyncd.service", "systemd-networkd-wait-online.service", "getty@tty1.service",
    "systemd-pcrmachine.service", "systemd-hwdb-update.service", "ldconfig.service",
    "systemd-random-seed.service", "systemd-firstboot.service",
)  # fmt: skip
DISABLED = ("nginx.service",)
GUEST = Path(__file__).parent / "guest"

FSTAB = "/dev/vda / ext4 rw,relatime 0 0\n"
AUTOLOGIN = """[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 - $TERM
"""
EXCLUDED_PATHS = (
    "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*",
    "/usr/share/doc/*",
)  # fmt: skip
TIMEOUT_S = 1800.0
KEEP = 4  # images: the common one and the benchmark's, and the last of each


@dataclass(frozen=True, slots=True)
class Image:
    """A disk image: raw ext4, never written to (machines write to overlays)."""

    id: str
    disk: Path
    busybox: bytes


@dataclass(frozen=True, slots=True)
class Extra:
    """What an image has beyond the common one: Debian packages, and units of theirs not to start.

    The order of the names does not matter: the same extras make the same image.
    """

    packages: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """All packages of the image."""
        return (*PACKAGES, *sorted(set(self.packages) - set(PACKAGES)))

    @property
    def not_started(self) -> tuple[str, ...]:
        return (*DISABLED, *sorted(set(self.disabled) - set(DISABLED)))


NOTHING_EXTRA = Extra()


def image_key(extra: Extra = NOTHING_EXTRA) -> str:
    """Hash of everything the image is made from, but for the versions of Debian's packages."""
    guest = [path.read_bytes() for path in sorted(GUEST.iterdir()) if path.is_file()]
    recipe = repr((1, SUITE, extra.wanted, SOURCE_PACKAGE, DISK_BYTES, MASKED, extra.not_started))
    return content_key(recipe, FSTAB, AUTOLOGIN, repr(EXCLUDED_PATHS), *guest)


def cached_image(extra: Extra = NOTHING_EXTRA) -> Image | None:
    key = image_key(extra)
    folder = cache_dir() / "image" / key
    if not (folder / "disk.ext4").exists():
        return None
    return Image(key, folder / "disk.ext4", (folder / "busybox").read_bytes())


def as_root(*argv: str | Path) -> list[str]:
    """The argument vector that runs as root: itself, or through sudo.

    Raises MicroVmError where neither is possible.
    """
    words = [str(word) for word in argv]
    if os.geteuid() == 0:
        return words
    if shutil.which("sudo") is None:
        raise MicroVmError(f"{words[0]} needs root", hint="run as root, or install sudo")
    return ["sudo", "--", *words]


async def build_image(
    progress: Progress, *, extra: Extra = NOTHING_EXTRA, refresh: bool = False
) -> Image:
    """The image, made if the cache has none (or made again with `refresh`).

    Raises MicroVmError or ProcessError with the tool's last words.
    """
    known = cached_image(extra)
    if known is not None and not refresh:
        return known
    async with async_locked(cache_dir() / "image" / "lock"):
        known = cached_image(extra)
        if known is not None and not refresh:
            return known
        return await _make(progress, extra)


async def _make(progress: Progress, extra: Extra) -> Image:
    if shutil.which("mmdebstrap") is None:
        raise MicroVmError("mmdebstrap is not installed", hint="apt install mmdebstrap")
    target = cache_dir() / "image" / image_key(extra)
    with made_whole(target) as scratch:
        apt = await private_apt([SUITE], progress, source=True)
        progress(f"image: fetching the source of {SOURCE_PACKAGE}")
        sources = await apt.download_source(SOURCE_PACKAGE, scratch / "source")
        overlay = scratch / "overlay.tar"
        overlay.write_bytes(overlay_tar(sources))
        list_file = scratch / "debian.sources"
        list_file.write_text(debian.deb822([SUITE, f"{SUITE}-updates"]), encoding="utf-8")
        root = scratch / "root"
        progress(f"image: mmdebstrap {SUITE} with {len(extra.wanted)} packages (minutes)")
        argv = as_root(
            "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
            *[f"--aptopt={line}" for line in await debian.inherited_options()],
            *[f"--dpkgopt=path-exclude={path}" for path in EXCLUDED_PATHS],
            f"--include={','.join(extra.wanted)}",
            f"--customize-hook=tar -x -C \"$1\" --no-same-owner -f '{overlay}'",
            f'--customize-hook=chroot "$1" systemctl --quiet disable {" ".join(extra.not_started)}',
            f'--customize-hook=chroot "$1" systemctl --quiet mask {" ".join(MASKED)}',
            '--customize-hook=chroot "$1" systemctl --quiet enable schedcp-guest.service',
            SUITE, root, list_file,
        )  # fmt: skip
        try:
            (await process.run(argv, timeout_s=TIMEOUT_S)).check("mmdebstrap")
            progress("image: writing the file system")
            disk = scratch / "disk.ext4"
            with disk.open("wb") as file:
                file.truncate(DISK_BYTES)
            (scratch / "busybox").write_bytes((root / "usr/bin/busybox").read_bytes())
            argv = as_root(
                "mkfs.ext4", "-q", "-F", "-L", "schedcp", "-O", "^has_journal", "-E",
                "lazy_itable_init=0,nodiscard", "-d", root, disk,
            )  # fmt: skip
            (await process.run(argv, timeout_s=600)).check("mkfs.ext4")
        finally:
            (await process.run(as_root("rm", "-rf", root), timeout_s=600)).check()
        shutil.rmtree(scratch / "source")
        overlay.unlink()
    prune(cache_dir() / "image", keep=KEEP)
    image = cached_image(extra)
    if image is None:
        raise MicroVmError("the image was made but cannot be found again")
    progress(f"image: {image.id} is ready")
    return image


def overlay_tar(source_files: list[Path]) -> bytes:
    """What is ours in the guest: agent, unit, the console's login, the C program's source."""
    files = {
        "usr/lib/schedcp-guest/agent.py": (GUEST / "agent.py").read_text(encoding="utf-8"),
        "etc/systemd/system/schedcp-guest.service": (GUEST / "schedcp-guest.service").read_text(
            encoding="utf-8"
        ),
        "etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf": AUTOLOGIN,
        "etc/fstab": FSTAB,
        "etc/hostname": "schedcp-vm\n",
        "etc/hosts": "127.0.0.1 localhost schedcp-vm\n::1 localhost\n",
        "etc/machine-id": content_key("machine-id").ljust(32, "0") + "\n",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            _add(tar, name, text.encode(), 0o755 if name.endswith(".py") else 0o644)
        upstream = next(path for path in source_files if ".orig.tar." in path.name)
        with tarfile.open(upstream) as source:
            for member in source.getmembers():
                _, _, below = member.name.strip("/").partition("/")
                content = source.extractfile(member) if member.isfile() else None
                if content is not None and below:
                    _add(tar, f"usr/src/lua/{below}", content.read(), member.mode & 0o755)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))
