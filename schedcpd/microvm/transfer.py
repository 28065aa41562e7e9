# SPDX-License-Identifier: Apache-2.0
"""Files in and out of a guest as tar streams, without a network.

In: the host writes a tar into the raw file behind a read-only disk; the guest reads that disk past
its page cache (O_DIRECT), so the content may change at any time, also after a resume. Out: tar on a
command's stdout; the guest is not trusted, so only plain files and directories are taken, and never
outside the target.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from schedcpd.errors import InvalidArgumentError, MicroVmError

BLOCK = 1 << 20
UNPACK = (
    "sh", "-c",
    'dd if=/dev/vdb iflag=direct bs=1M count="$1" status=none | '
    "{ tar -x -f - -C / --keep-directory-symlink --no-same-owner; s=$?; cat >/dev/null; exit $s; }",
    "put",
)  # fmt: skip


def guest_path(path: str) -> PurePosixPath:
    """An absolute, normal guest path. Raises InvalidArgumentError otherwise."""
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or len(pure.parts) < 2:
        raise InvalidArgumentError(f"guest path {path!r} must be absolute and without '..'")
    return pure


def write_payload(payload: Path, local: Path, target: PurePosixPath, limit: int) -> int:
    """Writes `local` (a file or a tree) as a tar that unpacks to `target`. Returns its MiB.

    Raises InvalidArgumentError if `local` is absent, MicroVmError if it is too big.
    """
    if not local.exists():
        raise InvalidArgumentError(f"{local} does not exist")

    def as_guest_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        return info

    with payload.open("r+b") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            tar.add(local, arcname=str(target).lstrip("/"), filter=as_guest_root)
        end = file.tell()
        if end > limit:
            file.truncate(limit)
            raise MicroVmError(f"{local}: more than {limit >> 20} MiB cannot be passed in")
    return -(-end // BLOCK)


def unpack(data: bytes, name: str, local: Path) -> None:
    """Unpacks a guest's tar of `name` to `local` (a file becomes a file, a directory a directory).

    Raises MicroVmError for anything that is not a plain file or directory below `name`.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts
                if not parts or parts[0] != name or ".." in parts:
                    raise MicroVmError(f"the guest sent an unexpected path {member.name!r}")
                target = local.joinpath(*parts[1:])
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif member.isfile():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    content = tar.extractfile(member)
                    assert content is not None
                    with target.open("wb") as file:
                        shutil.copyfileobj(content, file)
                    target.chmod(member.mode & 0o755)
    except tarfile.TarError as error:
        raise MicroVmError(f"the guest sent a broken archive: {error}") from error
