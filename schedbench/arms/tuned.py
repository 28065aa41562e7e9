# SPDX-License-Identifier: Apache-2.0
"""The kernel's own scheduler with the knobs of tuned.yaml, each with its source.

Every knob is read back after it was written: a kernel that lacks one, or takes another value, ends
the arm's start with an error instead of being measured as if it were tuned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schedbench.arms.base import Arm, ArmScript, Told
from schedbench.errors import BenchError
from schedbench.model import Clock
from schedcpd.errors import ConfigErrors
from schedcpd.host import yamlfields
from schedcpd.host.yamlpos import Map, Problems, parse, read_bytes
from schedcpd.microvm.cache import Progress

FILE = Path(__file__).with_name("tuned.yaml")
DEFAULT = "throughput"
DEBUGFS = "/sys/kernel/debug/sched/"
START = """
[ -d /sys/kernel/debug/sched ] || mount -t debugfs debugfs /sys/kernel/debug
set_knob() { # FILE VALUE
    printf '%s' "$2" >"$1"
    # `preempt` lists all values and puts the chosen one in parentheses
    case " $(cat "$1") " in
    *" $2 "* | *"($2)"*) ;;
    *) echo "$1 is $(cat "$1") and not $2"; return 1 ;;
    esac
}
"""


@dataclass(frozen=True, slots=True)
class TunedArm:
    """`knobs`: path in the guest to value."""

    name: str
    profile: str
    knobs: Mapping[str, str]
    digest: str
    clocks: frozenset[Clock] = frozenset(Clock)
    told_intents: bool = False

    def describe(self) -> Mapping[str, object]:
        return {
            "scheduler": "the kernel's default",
            "profile": self.profile,
            "knobs": dict(self.knobs),
            "file_sha256": self.digest,
        }

    def script(self, told: Told) -> ArmScript:
        lines = [f"set_knob {path} {value}\n" for path, value in self.knobs.items()]
        said = "".join(f"echo {path} $(cat {path})\n" for path in self.knobs)
        return ArmScript(start=START + "".join(lines), stop=said)


def profiles(path: Path = FILE) -> Mapping[str, Mapping[str, str]]:
    """Profile to knobs (guest path to value). Raises ConfigErrors with everything that is wrong."""
    problems = Problems(str(path))
    data = read_bytes(path, problems)
    root = None if data is None else parse(data, problems)
    found: dict[str, dict[str, str]] = {}
    for name, node in (root.entries if isinstance(root, Map) else {}).items():
        fields = yamlfields.mapping(node, problems, name, ("summary", "knobs"), ("knobs",)) or {}
        knobs = fields.get("knobs")
        found[name] = {}
        for knob, child in (knobs.entries if isinstance(knobs, Map) else {}).items():
            where = f"{name}.knobs.{knob}"
            parts = ("value", "reason", "source")
            entry = yamlfields.mapping(child, problems, where, parts, parts) or {}
            texts = {key: yamlfields.text(entry[key], problems, key) for key in entry}
            target = knob if knob.startswith("/proc/") else DEBUGFS + knob
            found[name][target] = texts.get("value") or ""
    if problems:
        raise ConfigErrors(problems.errors())
    return found


async def make(name: str, argument: str, progress: Progress) -> Arm:
    known = profiles()
    wanted = argument or DEFAULT
    if wanted not in known:
        raise BenchError(
            f"the arm 'tuned' has no profile {wanted!r}", hint=yamlfields.one_of(wanted, known)
        )
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    return TunedArm(name, wanted, known[wanted], digest)
