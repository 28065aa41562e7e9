# SPDX-License-Identifier: Apache-2.0
"""Where verdicts are kept: files, shipped ones below and local ones above."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from schedcpd.errors import VerifyError
from schedcpd.model import KernelBuild, Verdict
from schedcpd.verify.verdict import (
    MAX_FILE_BYTES,
    file_name,
    verdict_from_json,
    verdict_to_json,
)

SHIPPED_DIR = Path("/usr/share/schedcp/verdicts")
LOCAL_DIR = Path("/var/lib/schedcp/verdicts")


class VerdictStore:
    """Looks up verdicts by bytes and kernel; a local one wins over a shipped one.

    A file that others than root and the reader may write, or that is broken, is an error
    (`VerifyError`), not an absent verdict: somebody should look at it.
    """

    def __init__(self, shipped: Path = SHIPPED_DIR, local: Path = LOCAL_DIR) -> None:
        self._shipped = shipped
        self._local = local

    def find(self, scheduler: str, object_sha256: str, kernel: KernelBuild) -> Verdict | None:
        """The verdict, passed or not, for exactly these bytes on exactly this kernel."""
        name = file_name(scheduler, object_sha256, kernel.build_id)
        for directory in (self._local, self._shipped):
            verdict = _read(directory / name)
            if verdict is not None and _is_for(verdict, scheduler, object_sha256):
                same = verdict.kernel.build_id == kernel.build_id
                if same and verdict.kernel.release == kernel.release:
                    return verdict
        return None

    def find_any_kernel(self, scheduler: str, object_sha256: str) -> tuple[Verdict, ...]:
        """Verdicts for these bytes on any kernel, local ones first, then the newest."""
        found = [
            verdict
            for directory in (self._local, self._shipped)
            for verdict in self._all(directory, f"{scheduler}.{object_sha256[:12]}.")
            if _is_for(verdict, scheduler, object_sha256)
        ]
        return tuple(sorted(found, key=lambda v: (v.origin, -v.made_unix_s)))

    def save(self, verdict: Verdict) -> Path:
        """Writes a local verdict, whole and durable on return or not at all (VerifyError)."""
        name = file_name(verdict.scheduler, verdict.object_sha256, verdict.kernel.build_id)
        path = self._local / name
        temporary = path.with_name(f".{name}.{secrets.token_hex(8)}")
        try:
            self._local.mkdir(mode=0o755, parents=True, exist_ok=True)
            with temporary.open("x", encoding="utf-8") as file:
                file.write(verdict_to_json(verdict))
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            temporary.replace(path)
            directory = os.open(self._local, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise VerifyError(
                f"Cannot write the verdict {path}: {error.strerror}",
                hint=f"free space on the disk of {self._local}",
            ) from error
        return path

    def _all(self, directory: Path, prefix: str) -> Iterator[Verdict]:
        if not directory.is_dir():
            return
        for path in sorted(directory.iterdir()):
            if path.name.startswith(prefix) and path.suffix == ".json":
                verdict = _read(path)
                if verdict is not None:
                    yield verdict


def _is_for(verdict: Verdict, scheduler: str, object_sha256: str) -> bool:
    return (verdict.scheduler, verdict.object_sha256) == (scheduler, object_sha256)


def _read(path: Path) -> Verdict | None:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VerifyError(f"Cannot read the verdict {path}: {error.strerror}") from error
    if status.st_mode & 0o022 or status.st_uid not in (0, os.geteuid()):
        raise VerifyError(
            f"The verdict {path} could have been written by others than root",
            hint=f"chown root {path}; chmod 644 {path}, or remove it",
        )
    if len(data) > MAX_FILE_BYTES:
        raise VerifyError(f"The verdict {path} has more than {MAX_FILE_BYTES} bytes")
    return verdict_from_json(data.decode("utf-8", "replace"), str(path))
