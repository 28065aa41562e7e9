# SPDX-License-Identifier: Apache-2.0
"""What deploying needs of others, and what it tells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from schedcpd.deploy.state import Deployment
from schedcpd.model import Candidate, DaemonState, Outcome, SchedulerStatus, Verdict


class Admission(Protocol):
    """The gate, and the mint that only a passing verdict opens."""

    async def admit(self, candidate: Candidate) -> Verdict:
        """A passing verdict for these bytes and this kernel. VerifyError otherwise."""

    async def mint(self, verdict: Verdict, candidate: Candidate) -> str:
        """A token for one load of the candidate. TokenError otherwise."""


class Listener(Protocol):
    """Told of everything that happens to schedulers, on the loop, in order. Must not block."""

    def deploy_changed(self) -> None:
        """The view is another one."""

    def deploy_free(self) -> None:
        """Something that stood in the way is gone: it may be planned again."""

    def deploy_started(self, deployment: Deployment, status: SchedulerStatus) -> None: ...

    def deploy_finished(self, outcome: Outcome) -> None: ...

    def deploy_ejected(self, status: SchedulerStatus) -> None: ...

    def deploy_rolled_back(self, old_policy: str, new_policy: str, reason: str) -> None: ...

    def deploy_promoted(self, deployment: Deployment, measures: Mapping[str, float]) -> None:
        """Its canary is over and nothing spoke against it."""

    def deploy_note(self, sentence: str) -> None:
        """Something a person should read in history."""

    def deploy_write_failed(self, reason: str) -> None:
        """An intent did not reach the running scheduler; it is tried again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How often and how patiently. Seconds unless named otherwise."""

    max_per_hour: int = 6
    hold_down_s: float = 60.0
    canary_s: float = 20.0  # a scheduler that ran this long is one to come back to
    watch_s: float = 0.5  # between two looks on trial, ten times that afterwards
    tail_rise: float = 1.6  # p99 run delay against before
    tail_floor_us: float = 2000.0  # below this no tail is a regression
    pressure_rise: float = 0.4  # share of time
    errors_per_s: float = 100.0  # of the kernel's counters
    heartbeats: int = 3  # looks in a row without an answer
    quarantine_s: float = 3600.0  # of what failed by measures
    setbacks_per_hour: int = 3  # then nothing is swapped unasked
    word_wait_s: float = 10.0  # an operator's word, for a change that the daemon makes by itself
    kill_wait_s: float = 5.0  # for a change under way; then the host is ended
    settle_s: float = 3.0  # the kernel may take from a closed link to `disabled`
    program_s: float = 120.0  # an external scheduler may take from its start to `enabled`
    poll_s: float = 2.0  # between two looks at /sys/kernel/sched_ext


@dataclass(frozen=True, slots=True)
class DeployView:
    """What runs and why; one immutable snapshot."""

    state: DaemonState
    reason: str
    current: Deployment | None
    last_known_good: Deployment | None
    ops: str
    kill_switch: bool
