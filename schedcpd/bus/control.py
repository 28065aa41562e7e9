# SPDX-License-Identifier: Apache-2.0
"""What the bus needs of the daemon. `pipeline.Pipeline` is the real one; tests pass a fake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from schedcpd.model import (
    IntentClass,
    LearnedRecord,
    RecordKind,
    SchedulerStatus,
    Status,
    WorkloadView,
)


class Observer(Protocol):
    """Told of every change, in order, from the daemon's own loop. Must not block."""

    def status_changed(self, old: Status, new: Status) -> None: ...

    def workload_added(self, view: WorkloadView) -> None: ...

    def workload_changed(self, old: WorkloadView, new: WorkloadView) -> None: ...

    def workload_removed(self, view: WorkloadView) -> None: ...

    def ejected(self, status: SchedulerStatus) -> None:
        """The kernel threw our scheduler out; `status.last_exit` says why."""

    def rolled_back(self, old_policy: str, new_policy: str, reason: str) -> None: ...

    def verify_progress(self, id_: str, check: str) -> None:
        """A check of the examination `id_` began."""

    def verify_ended(self, id_: str, passed: bool, sentence: str) -> None: ...


class Catalogue(Protocol):
    """The policy repository as a service. Errors are `SchedcpError`s; maps hold JSON types."""

    async def show(self, name: str) -> Mapping[str, object]:
        """A policy with its standing, provenance, verdicts, events and trials."""

    async def search(
        self, *, words: str, intent: IntentClass | None, workload: str, here: bool, limit: int
    ) -> Sequence[Mapping[str, object]]:
        """Best first. "" and None: not asked for. `workload`: a TARGET, see Control.

        `here`: only policies that are for this machine as it is now.
        """

    async def history(self, name: str, limit: int) -> Mapping[str, object]:
        """`events` and `trials`, newest first; of every policy when `name` is ""."""

    async def promote(self, name: str, *, actor: str, reason: str) -> Mapping[str, object]:
        """Lets it be chosen by itself while its content stays the same. Recorded, or refused."""

    async def retire(self, name: str, *, actor: str, reason: str) -> Mapping[str, object]:
        """Keeps it from being chosen by itself until it is promoted. Recorded, or refused."""


class Control(Protocol):
    """Everything a caller may read or do. Errors are `SchedcpError`s.

    `actor` is how the caller is written into history ("uid 1000", "schedctl"…).
    A TARGET is a cgroup path, a systemd unit, an application name or a pid in
    decimal; `NotFoundError` and `AmbiguousTargetError` say what it matched.
    """

    @property
    def catalogue(self) -> Catalogue: ...

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Returns the function that ends the subscription."""

    def status(self) -> Status: ...

    def workloads(self) -> Sequence[WorkloadView]: ...

    def find(self, target: str) -> WorkloadView: ...

    async def pin(self, target: str, intent: IntentClass, *, actor: str) -> WorkloadView:
        """Holds the workload and everything below it to `intent` until `unpin`; survives restarts.

        A pin is kept by cgroup path, so it also meets the next life of the same unit.
        """

    async def unpin(self, target: str, *, actor: str) -> WorkloadView | None:
        """None when the pinned cgroup no longer exists. NotFoundError when it was not pinned."""

    def pins(self) -> Mapping[str, IntentClass]:
        """cgroup path -> pinned class."""

    async def apply(self, policy: str, *, actor: str) -> Status:
        """Deploys a policy by name.

        "kernel-default" is none of ours; "auto" lets the planner choose.
        """

    async def rollback(self, *, actor: str, reason: str = "") -> Status:
        """Back to last-known-good before the current deployment, else to the kernel's default."""

    async def kill(self, *, actor: str, reason: str = "") -> Status:
        """Kernel default now, and nothing is deployed until `resume`."""

    async def resume(self, *, actor: str) -> Status: ...

    async def reload(self, *, actor: str) -> None:
        """Reads configuration and policies again. ConfigError: the old ones stay."""

    async def verify(self, name: str, text: str, *, run: bool, actor: str) -> str:
        """Begins to examine a source or policies; returns the id. BusyError: one is under way.

        `run` false: only what needs no micro-VM.
        """

    def verification(self, id_: str) -> Mapping[str, object]:
        """id, name, state (running or ended), check, passed, sentence, result. NotFoundError."""

    async def explain(self, target: str) -> Mapping[str, object]:
        """Signal, profile, intent and source, candidates, verdict, outcome: as JSON types.

        `target` "" explains the current deployment.
        """

    def history(
        self, *, limit: int = 50, kind: RecordKind | None = None, subject: str = ""
    ) -> Sequence[LearnedRecord]:
        """Newest first."""

    def policies(self) -> Sequence[Mapping[str, object]]:
        """All that each policy says, and origin, file, sha256, standing, current."""
