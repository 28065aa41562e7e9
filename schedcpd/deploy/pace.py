# SPDX-License-Identifier: Apache-2.0
"""What nobody asked for is neither frequent nor a blind retry.

The planner keeps its own, gentler, pace; these are the walls behind it. An operator's word is free
of them.
"""

from __future__ import annotations

from schedcpd.deploy.core import Core
from schedcpd.deploy.state import variant, within_an_hour
from schedcpd.errors import BusyError, VerifyError
from schedcpd.model import Candidate, CandidateKind

MOST_S = 3600.0


class Pace:
    """Remembers failures of this daemon's life; swaps and setbacks are in the record on disk."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._failures: dict[str, tuple[int, int]] = {}  # variant -> how often, when (ns)

    def refuse_automatic(self, candidate: Candidate) -> None:
        """BusyError or VerifyError with the reason why not now."""
        core = self._core
        if core.state.held:
            raise BusyError(f"held back: {core.state.held}", hint="`schedctl resume`")
        if candidate.kind is CandidateKind.DEFAULT:
            return
        why = core.quarantined(candidate.object_sha256, candidate.tunables)
        if why:
            raise VerifyError(
                f"{candidate.scheduler} is quarantined on this kernel: {why}",
                hint="`schedctl resume` lifts it",
            )
        now = core.clock.unix_s()
        setbacks = within_an_hour(core.state.setbacks_unix_s, now)
        if len(setbacks) >= core.limits.setbacks_per_hour:
            raise BusyError(
                f"{len(setbacks)} schedulers failed in the last hour; no other is tried until one "
                f"of these is an hour old",
                hint="`schedctl log` says why they failed; `schedctl resume` forgets it",
            )
        recent = within_an_hour(core.state.swaps_unix_s, now)
        if len(recent) >= core.limits.max_per_hour:
            raise BusyError(f"{len(recent)} deployments in the last hour, no more are allowed")
        times, at_ns = self._failures.get(_key(candidate), (0, 0))
        wait_s = min(core.limits.hold_down_s * 2 ** (times - 1), MOST_S) if times else 0.0
        left_s = wait_s - (core.clock.monotonic_ns() - at_ns) / 1e9
        if left_s > 0:
            raise BusyError(f"{candidate.scheduler} failed before; {left_s:.0f} s are left to wait")

    def failed(self, candidate: Candidate) -> None:
        """It was not admitted or did not start."""
        times, _ = self._failures.get(_key(candidate), (0, 0))
        self._failures[_key(candidate)] = (times + 1, self._core.clock.monotonic_ns())

    def succeeded(self, candidate: Candidate) -> None:
        self._failures.pop(_key(candidate), None)

    def forget(self) -> None:
        """An operator wants everything tried again."""
        self._failures.clear()


def _key(candidate: Candidate) -> str:
    return variant(candidate.object_sha256, candidate.tunables)
