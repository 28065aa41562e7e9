# SPDX-License-Identifier: Apache-2.0
"""What a machine starts from, its disk and its saved state; how a guest's command ended."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import MicroVmError
from schedcpd.host import process
from schedcpd.microvm.qmp import Qmp
from schedcpd.microvm.spec import Accelerator, VmSpec


@dataclass(frozen=True, slots=True)
class GuestResult:
    """How one command in the guest ended.

    `exit_code` is negative for a signal. `timed_out`: its time limit passed and it was killed, the
    guest being alive. `seconds` is the guest's own clock.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    truncated: bool
    seconds: float

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and not self.timed_out

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        return self.stderr.decode("utf-8", "replace")

    def check(self) -> GuestResult:
        """Itself if the command succeeded, else MicroVmError with the end of its output."""
        if self.ok:
            return self
        how = "was killed at its time limit" if self.timed_out else f"exit {self.exit_code}"
        said = (self.error_text or self.text).strip()[-2000:]
        raise MicroVmError(
            f"in the guest, {' '.join(self.argv)[:200]}: {how}: {said or 'no output'}"
        )


@dataclass(frozen=True, slots=True)
class Machine:
    """The files and settings a QEMU process starts from."""

    spec: VmSpec
    accelerator: Accelerator
    vmlinuz: Path
    initrd: Path
    backing: Path
    backing_format: str
    state: Path | None = None  # a saved state to resume from


def sweep(runs: Path) -> None:
    """Removes the folders ("PID-...") of owners that died without cleaning up."""
    for folder in runs.iterdir():
        pid = folder.name.partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


async def create_overlay(disk: Path, backing: Path, backing_format: str) -> None:
    """A qcow2 file that takes the writes over `backing`."""
    argv = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        backing_format,
        "-b",
        str(backing),
        str(disk),
    ]
    (await process.run(argv, timeout_s=30)).check("qemu-img")


async def restore(qmp: Qmp, state: Path) -> None:
    """Loads a saved state into a QEMU started with `-incoming defer`, and lets it run."""
    await qmp.command(
        "migrate-set-capabilities", capabilities=[{"capability": "mapped-ram", "state": True}]
    )
    await qmp.command("migrate-incoming", uri=f"file:{state}")
    await qmp.migrate_wait(timeout_s=120)
    await qmp.command("cont")


async def save(qmp: Qmp, state: Path) -> None:
    """Stops the machine, writes its state to a file and ends it. Its disk goes with that state."""
    await qmp.command("stop")
    await qmp.command(
        "migrate-set-capabilities", capabilities=[{"capability": "mapped-ram", "state": True}]
    )
    await qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    await qmp.command("migrate", uri=f"file:{state}")
    await qmp.migrate_wait(timeout_s=300)
    await qmp.command("quit")
