# SPDX-License-Identifier: Apache-2.0
"""The result of every check of one candidate on one kernel."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from schedcpd.model.values import Tunable, canonical_json


class CheckStatus(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckResult:
    name: str
    status: CheckStatus
    reason: str  # stable code, e.g. "object.section-not-allowed"; "" when passed
    sentence: str
    evidence: str = ""
    hint: str = ""
    seconds: float = 0.0


class VerdictOrigin(StrEnum):
    LOCAL = "local"  # made on this machine, in its micro-VM
    SHIPPED = "shipped"  # made when the package was built
    EXTERNAL = "external"  # nothing was checked: the administrator installed and enabled it


class VerdictClock(StrEnum):
    """What moved the time of the machine that the candidate ran in."""

    WALL = "wall"  # the host's clock
    VIRTUAL = "virtual"  # the guest's own instructions: the same candidate, the same evidence


@dataclass(frozen=True, slots=True)
class KernelBuild:
    """One exact kernel: `uname -r`, `uname -v` and the GNU build id in /sys/kernel/notes."""

    release: str
    version: str
    build_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of every check of one candidate on one kernel. Immutable.

    `id` is the SHA-256 of the canonical JSON of all other fields, so a verdict
    can be neither edited nor reused for other bytes.

    It holds for `tunables` and for every value within `ranges` (name -> inclusive
    bounds); a tunable without a range is held to its value in `tunables`.
    """

    id: str
    passed: bool
    scheduler: str
    object_sha256: str
    tunables: Mapping[str, Tunable]
    kernel: KernelBuild
    vm_image: str
    checks: tuple[CheckResult, ...]
    made_unix_s: int
    origin: VerdictOrigin
    schedcp_version: str
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    clock: VerdictClock = VerdictClock.WALL

    @property
    def content_id(self) -> str:
        """What `id` must be. A verdict whose `id` differs was edited."""
        content = asdict(self)
        del content["id"]
        if self.clock is VerdictClock.WALL:
            del content["clock"]  # as before there was another
        return hashlib.sha256(canonical_json(content)).hexdigest()

    def uncovered(self, tunables: Mapping[str, Tunable]) -> tuple[str, ...]:
        """Names of tunables whose value was not verified, sorted; () when all are covered."""
        return tuple(
            sorted(
                name
                for name in {*tunables, *self.tunables}
                if not self._covers(name, tunables.get(name, self.tunables.get(name)))
            )
        )

    def _covers(self, name: str, value: Tunable | None) -> bool:
        if name not in self.tunables or type(value) is not type(self.tunables[name]):
            return False
        if name in self.ranges and isinstance(value, int | float):
            low, high = self.ranges[name]
            return low <= value <= high
        return value == self.tunables[name]
