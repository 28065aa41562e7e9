# SPDX-License-Identifier: Apache-2.0
"""Archives: the initramfs, files in, and files from a guest that is not trusted."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from schedcpd.errors import InvalidArgumentError, MicroVmError
from schedcpd.microvm import cache, transfer
from schedcpd.microvm.initramfs import Entry, archive, boot_archive
from schedcpd.microvm.kernel import GuestKernel, installed_kernel


def read_newc(data: bytes) -> dict[str, tuple[int, bytes]]:
    """A reader of the format's specification, independent of the writer."""
    files: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at = (at + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return files
        files[name] = (mode, data[at : at + size])
        at = (at + size + 3) // 4 * 4


def test_cpio_round_trip() -> None:
    entries = [
        Entry("bin", stat.S_IFDIR | 0o755),
        Entry("init", stat.S_IFREG | 0o755, b"12345"),
        Entry("dev/console", stat.S_IFCHR | 0o600, b"5:1"),
        Entry("a", stat.S_IFREG | 0o644, b""),
    ]
    files = read_newc(archive(entries))
    assert files["init"] == (stat.S_IFREG | 0o755, b"12345")
    assert files["dev/console"] == (stat.S_IFCHR | 0o600, b"")
    assert set(files) == {"bin", "init", "dev/console", "a"}
    assert archive(entries) == archive(entries)


def make_kernel(root: Path, built_in: str, modules: list[str]) -> GuestKernel:
    folder = root / "6.99"
    (folder / "kernel" / "drivers").mkdir(parents=True)
    (folder / "modules.builtin").write_text(built_in)
    for name in modules:
        (folder / "kernel" / "drivers" / f"{name}.ko").write_bytes(name.encode())
    return GuestKernel("6.99", root / "vmlinuz", folder)


def test_initramfs_has_the_modules_that_are_needed_in_order(tmp_path: Path) -> None:
    kernel = make_kernel(
        tmp_path, "kernel/fs/ext4/ext4.ko\n", ["virtio_blk", "virtio_ring", "ext4", "other"]
    )
    files = read_newc(boot_archive(kernel, b"busybox"))
    assert files["modules.order"][1] == b"virtio_ring.ko\nvirtio_blk.ko"
    assert "ext4.ko" not in files and "other.ko" not in files


def test_kernel_without_a_disk_driver_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MicroVmError, match="virtio_blk"):
        boot_archive(make_kernel(tmp_path, "", []), b"busybox")


def test_kernel_from_boot_needs_modules(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz-6.99").write_bytes(b"")
    with pytest.raises(MicroVmError, match="no modules"):
        installed_kernel(tmp_path / "vmlinuz-6.99")


@pytest.mark.parametrize("path", ["relative", "/", "/a/../b", ""])
def test_guest_paths_are_absolute_and_plain(path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="guest path"):
        transfer.guest_path(path)


def test_payload_of_a_file(tmp_path: Path) -> None:
    payload, local = tmp_path / "payload", tmp_path / "x"
    payload.write_bytes(b"")
    local.write_bytes(b"y" * (transfer.BLOCK + 1))
    mib = transfer.write_payload(payload, local, transfer.guest_path("/srv/d/x"), 1 << 30)
    assert mib == 2
    with tarfile.open(payload) as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.uid, member.gid) == ("srv/d/x", 0, 0)


def test_payload_beyond_the_disk_is_refused(tmp_path: Path) -> None:
    payload, local = tmp_path / "payload", tmp_path / "x"
    payload.write_bytes(b"")
    local.write_bytes(os.urandom(3 * transfer.BLOCK))
    with pytest.raises(MicroVmError, match="more than 1 MiB"):
        transfer.write_payload(payload, local, transfer.guest_path("/x"), transfer.BLOCK)
    with pytest.raises(InvalidArgumentError, match="does not exist"):
        transfer.write_payload(payload, tmp_path / "no", transfer.guest_path("/x"), 1)


def guest_tar(*members: tuple[str, bytes | None, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data, link in members:
            info = tarfile.TarInfo(name)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            elif data is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data or b""))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "out/../../evil", "other"])
def test_a_guest_cannot_write_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(MicroVmError, match="unexpected path"):
        transfer.unpack(guest_tar((name, b"x", "")), "out", tmp_path / "here")
    assert not list(tmp_path.rglob("evil"))


def test_a_guest_cannot_write_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    data = guest_tar(("out", None, ""), ("out/l", None, str(outside)), ("out/l/f", b"x", ""))
    transfer.unpack(data, "out", tmp_path / "here")
    assert not list(outside.iterdir())
    assert (tmp_path / "here/l/f").read_bytes() == b"x"
    with pytest.raises(MicroVmError, match="broken archive"):
        transfer.unpack(b"\1" * 2000, "out", tmp_path / "there")


def test_made_whole_leaves_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    with pytest.raises(RuntimeError), cache.made_whole(target) as scratch:
        (scratch / "half").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with cache.made_whole(target) as scratch:
        (scratch / "whole").touch()
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_prune_spares_the_newest_and_what_is_in_use(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "held", "mid", "new")):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (number, number))
    with cache.locked(tmp_path / "held.lock", shared=True):
        cache.prune(tmp_path, keep=2)
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {"held", "mid", "new"}


def test_cache_directory_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "systemd"))
    monkeypatch.setenv("SCHEDCP_CACHE", str(tmp_path / "named"))
    assert cache.cache_dir() == tmp_path / "named"
    monkeypatch.delenv("SCHEDCP_CACHE")
    assert cache.cache_dir() == tmp_path / "systemd"
    monkeypatch.delenv("CACHE_DIRECTORY")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_dir() == tmp_path / ".cache" / "schedcp"
