# SPDX-License-Identifier: Apache-2.0
"""What the checks need of a micro-VM, and how they talk to the probe in it.

The real machines are put behind `Guest` in `schedcpd/guests.py` and `virtual.py`. The probe
(`schedcpd/verify/probe`) answers with one JSON object a line, so that what it said before a
guest froze is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from schedcpd.errors import MicroVmError
from schedcpd.model import KernelBuild, VerdictClock
from schedcpd.verify.bundle import GUEST_DIR, PROBE, probe_bundle

OBJECT = f"{GUEST_DIR}/candidate.bpf.o"
SPEC = f"{GUEST_DIR}/spec.json"
CONSOLE_CHARS = 4000
_COMPLAINT = re.compile(
    r"BUG:|Oops|general protection|invalid opcode|kernel BUG at|Unable to handle"
)


@dataclass(frozen=True, slots=True)
class GuestRun:
    """How one command in the guest ended.

    `exit_code` is None when the guest did not come to the command's end: it froze, it died
    (`died`), or the wall clock ended the command; `end` says so. Output is what had come by then.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    end: str = ""
    died: bool = False


@dataclass(frozen=True, slots=True)
class GuestIdentity:
    """Which kernel the machine runs, and the hash of everything it was made of."""

    kernel: KernelBuild
    image: str


class Guest(Protocol):
    """Machines that are the same at the start of every run, with nothing of ours loaded.

    MicroVmError: the machine could not be built or started, which says nothing of a candidate.
    """

    @property
    def clock(self) -> VerdictClock:
        """What moves its time. Under the virtual one the same run gives the same output."""

    async def identity(self) -> GuestIdentity: ...

    @property
    def elsewhere(self) -> Guest:
        """The same kernel on another topology: four CPUs, two caches, two threads a core."""

    async def run(
        self, argv: Sequence[str], *, files: Mapping[str, bytes], timeout_s: float
    ) -> GuestRun:
        """Puts `files` (absolute path -> bytes) into the guest and runs `argv` as root.

        `timeout_s` is seconds of the clock; nothing of the guest outlives it.
        """


def how_it_ended(message: str, console: str) -> str:
    """`message`, then the kernel's first complaint and what followed it on the console; the
    console's end where there is none."""
    first = _COMPLAINT.search(console)
    if first is None:
        said = console[-CONSOLE_CHARS:].strip()
    else:
        begin = console.rfind("\n", 0, first.start()) + 1
        said = console[begin : begin + CONSOLE_CHARS].strip()
    return f"{message}; the console:\n{said}" if said else message


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """What the probe said, in order, and how it ended."""

    events: tuple[Mapping[str, Any], ...]
    run: GuestRun

    def all(self, event: str) -> tuple[Mapping[str, Any], ...]:
        return tuple(e for e in self.events if e["event"] == event)

    def last(self, event: str) -> Mapping[str, Any] | None:
        found = self.all(event)
        return found[-1] if found else None

    @property
    def trouble(self) -> str:
        """How it ended, in words; "" when it came to its end."""
        if self.run.exit_code is None:
            return self.run.end
        if self.run.exit_code != 0 or self.last("done") is None:
            said = self.run.stderr.strip()[-1500:] or "no message"
            return f"the probe ended with exit {self.run.exit_code}: {said}"
        return ""


async def run_probe(
    guest: Guest, command: str, data: bytes, spec: Mapping[str, Any], timeout_s: float
) -> ProbeRun:
    """Runs the probe's `command` on the object in `data`."""
    files = {
        PROBE: probe_bundle(),
        OBJECT: data,
        SPEC: json.dumps({"object": OBJECT, **spec}).encode(),
    }
    run = await guest.run(["python3", PROBE, command, SPEC], files=files, timeout_s=timeout_s)
    return ProbeRun(tuple(_events(run.stdout)), run)


def _events(text: str) -> list[Mapping[str, Any]]:
    lines = text.splitlines()
    found: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines):
        try:
            event = json.loads(line)
            if not isinstance(event, dict) or not isinstance(event.get("event"), str):
                raise ValueError("not an event")
        except ValueError as error:
            if number == len(lines) - 1:
                break  # cut off in the middle
            raise MicroVmError(f"The probe said {line[:200]!r}, which is not an event") from error
        found.append(event)
    return found
