# SPDX-License-Identifier: Apache-2.0
"""`Guest` under the virtual clock: the benchmark's machines, asked for in a child process.

schedcpd imports nothing of schedbench, and a machine without it has the host's clock. What is
asked and answered: the head of schedbench/virtual/guest.py.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from schedcpd.errors import MicroVmError
from schedcpd.host import process
from schedcpd.model import KernelBuild, VerdictClock
from schedcpd.verify.bundle import PROBE, probe_bundle
from schedcpd.verify.guest import GuestIdentity, GuestRun, how_it_ended

MODULE = "schedbench.virtual.guest"
ANSWER_S = 60.0
BUILD_S = 3600.0  # the image, the kernel, QEMU's source package
RUN_S = 1600.0  # of the host's time: more than the child allows
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class BootFiles:
    """The kernel to boot: paths on this machine."""

    release: str
    vmlinuz: str
    modules: str


async def unavailable(kernel: BootFiles | None) -> str:
    """Why the virtual clock cannot be had without building or fetching anything; "" if it can."""
    if importlib.util.find_spec(MODULE.split(".")[0]) is None:
        return "schedbench is not installed"
    return str((await _ask("available", {"kernel": _named(kernel)}, ANSWER_S))["reason"])


async def prepare(kernel: BootFiles | None, say: Callable[[str], None]) -> None:
    """Builds what is missing for it, with a network. MicroVmError: it cannot be had here."""
    if importlib.util.find_spec(MODULE.split(".")[0]) is None:
        raise MicroVmError("There is no virtual clock here: schedbench is not installed")
    await _ask("prepare", {"kernel": _named(kernel)}, BUILD_S, say)


@dataclass(frozen=True, slots=True)
class VirtualGuest:
    """Two CPUs, or `elsewhere`. Every run is a machine of its own, from power-on to power-off."""

    kernel: BootFiles | None
    say: Callable[[str], None]
    is_elsewhere: bool = False

    @property
    def clock(self) -> VerdictClock:
        return VerdictClock.VIRTUAL

    @property
    def elsewhere(self) -> VirtualGuest:
        return replace(self, is_elsewhere=True)

    async def identity(self) -> GuestIdentity:
        """Asks a guest once for each machine there ever was."""
        argv, files = ["python3", PROBE, "kernel"], {PROBE: probe_bundle()}
        run = await self._run(argv, files, 60, remember=True)
        if run.exit_code != 0:
            raise MicroVmError(f"The guest did not say its kernel: {run.end or run.stderr}")
        kernel = KernelBuild(**json.loads(run.stdout)["kernel"])
        image = await _ask("image", {"kernel": _named(self.kernel)}, ANSWER_S)
        return GuestIdentity(kernel, str(image["image"]))

    async def run(
        self, argv: Sequence[str], *, files: Mapping[str, bytes], timeout_s: float
    ) -> GuestRun:
        """`timeout_s` is of the guest's time: how fast the host is changes nothing but the wait."""
        return await self._run(argv, files, timeout_s, remember=False)

    async def _run(
        self, argv: Sequence[str], files: Mapping[str, bytes], timeout_s: float, *, remember: bool
    ) -> GuestRun:
        request = {
            "kernel": _named(self.kernel),
            "elsewhere": self.is_elsewhere,
            "argv": list(argv),
            "files": {path: base64.b64encode(data).decode() for path, data in files.items()},
            "timeout_s": timeout_s,
            "remember": remember,
        }
        answer = await _ask("run", request, RUN_S, self.say)
        end = how_it_ended(answer.pop("end"), answer.pop("console"))
        return GuestRun(**answer, end=end)


def _named(kernel: BootFiles | None) -> dict[str, str] | None:
    return None if kernel is None else asdict(kernel)


async def _ask(
    command: str,
    request: Mapping[str, Any],
    timeout_s: float,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The child's answer. MicroVmError with its reason, or when it gave none."""

    begun = b""

    def told(chunk: bytes) -> None:
        nonlocal begun
        *lines, begun = (begun + chunk).split(b"\n")
        for line in lines:
            say(line.decode("utf-8", "replace"))

    with tempfile.TemporaryDirectory(prefix="schedcp-virtual-") as name:
        folder = Path(name)
        text = json.dumps(request)
        await asyncio.to_thread((folder / "request.json").write_text, text, "utf-8")
        try:
            done = await process.run(
                [sys.executable, "-P", "-m", MODULE, command, name],
                timeout_s=timeout_s,
                # What the child leaves if it is killed goes with the folder.
                env={"PYTHONPATH": str(_PACKAGE_PARENT), "TMPDIR": name},
                tee=told,
            )
            answer = json.loads((folder / "answer.json").read_text("utf-8"))
        except FileNotFoundError as error:
            how = "it took too long" if done.timed_out else done.error_text or "no message"
            raise MicroVmError(f"The virtual clock's machine gave no answer: {how}") from error
        except (process.ProcessError, ValueError) as error:
            raise MicroVmError(f"The virtual clock's machine failed: {error}") from error
    if "error" in answer:
        raise MicroVmError(answer["error"]["message"], hint=answer["error"]["hint"])
    return dict(answer)
