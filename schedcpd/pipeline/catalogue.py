# SPDX-License-Identifier: Apache-2.0
"""The policy repository as a service: provenance, history, search, promotion and retirement.

Implements bus.control.Catalogue. Reading and writing of the store happens in threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from schedcpd.config import KERNEL_DEFAULT
from schedcpd.errors import InvalidArgumentError, NotFoundError, SchedcpError
from schedcpd.host.clock import Clock
from schedcpd.host.scx_programs import MODE, PROGRAMS
from schedcpd.learn import records
from schedcpd.model import (
    AppKind,
    IntentClass,
    LearnedRecord,
    Machine,
    Outcome,
    Policy,
    PolicyAction,
    PolicyEvent,
    Trial,
    Verdict,
    WorkloadView,
)
from schedcpd.policy import export
from schedcpd.policy.library import Library
from schedcpd.policy.repository import Repository
from schedcpd.policy.search import Found, Question, search, words_of
from schedcpd.policy.similarity import missed, shape_of, shapes_of
from schedcpd.policy.standing import barred, standing
from schedcpd.verify.external import UNVERIFIED

logger = logging.getLogger(__name__)

_SHOWN_TRIALS = 20
Verdicts = Callable[[str, str], Sequence[Verdict]]  # of a scheduler's bytes on any kernel; blocking


class Catalogue:
    """`changed` is called when another policy may be chosen now; `current` names what runs."""

    def __init__(
        self,
        library: Library,
        verdicts: Verdicts,
        *,
        repository: Callable[[], Repository],
        machine: Callable[[], Machine],
        views: Callable[[], Iterable[WorkloadView]],
        find: Callable[[str], WorkloadView],
        current: Callable[[], str],
        changed: Callable[[], None],
        learn: Callable[[LearnedRecord], None],
        clock: Clock,
        kernel: str,
    ) -> None:
        self._library, self._verdicts = library, verdicts
        self._repository, self._machine, self._views = repository, machine, views
        self._find, self._current, self._changed = find, current, changed
        self._learn, self._clock, self._kernel = learn, clock, kernel
        self._decisions: dict[str, PolicyEvent] = {}
        self._contents: dict[str, str] = {}  # deployment -> the policy's content when it began
        self.barred: Mapping[str, str] = {}

    def open(self) -> str:
        """Returns what a person should know, "" when all is well. Then `take_stock`."""
        return self._library.open()

    def close(self) -> None:
        self._library.close()

    async def take_stock(self) -> None:
        """After the repository was read: records what is new. SchedcpError: it could not."""
        repository = self._repository()
        manifests = repository.manifests()
        words = {p.name: words_of(p, manifests.get(p.scheduler)) for p in repository.policies()}
        try:
            await asyncio.to_thread(self._library.take_stock, repository.policies(), words)
        finally:
            await self._decide_again()

    async def _decide_again(self) -> None:
        self._decisions = await asyncio.to_thread(self._library.decisions)
        self.barred = barred(self._repository().policies(), self._decisions)

    # ------------------------------------------------------------ what deploying tells

    def started(self, deployment_id: str, policy: str) -> None:
        self._contents[deployment_id] = self._content(policy)
        while len(self._contents) > 32:
            del self._contents[next(iter(self._contents))]

    def _content(self, policy: str) -> str:
        try:
            return self._repository().policy(policy).content_id
        except NotFoundError:
            return ""

    async def finished(self, outcome: Outcome) -> None:
        """Keeps how the policy did, with the machine and workloads it met. Never raises."""
        ended = outcome.ended_unix_s or self._clock.unix_s()
        content = self._contents.pop(outcome.deployment_id, self._content(outcome.policy))
        broken: tuple[str, ...] = ()
        if content and content == self._content(outcome.policy):
            broken = missed(self._repository().policy(outcome.policy), outcome.measures)
        trial = Trial(
            policy=outcome.policy,
            sha256=content,
            scheduler=outcome.scheduler,
            kind=outcome.kind,
            reason=outcome.reason,
            at_unix_s=ended,
            seconds=max(ended - outcome.started_unix_s, 0.0),
            kernel=self._kernel,
            machine=self._machine(),
            measures=outcome.measures,
            missed=broken,
            workloads=shapes_of(self._views()),
        )
        try:
            await asyncio.to_thread(self._library.add_trial, trial)
        except SchedcpError as error:
            logger.warning("%s", error)

    # ------------------------------------------------------------ reading

    def listing(self) -> list[dict[str, Any]]:
        return [self._summary(policy) for policy in self._repository().policies()]

    def _summary(self, policy: Policy) -> dict[str, Any]:
        return {
            **export.policy_json(policy),
            "standing": standing(policy, self._decisions.get(policy.name)).value,
            "current": policy.name == self._current(),
            "unavailable": self._repository().missing().get(policy.scheduler, ""),
        }

    async def show(self, name: str) -> Mapping[str, object]:
        """The policy, where it comes from, who verified it on which kernels, how it did."""
        policy = self._repository().policy(name)
        events = await asyncio.to_thread(self._library.events, name, _SHOWN_TRIALS)
        trials = await asyncio.to_thread(self._library.trials, name, _SHOWN_TRIALS)
        decision = self._decisions.get(name)
        known = self._repository().objects().get(policy.scheduler)
        verdicts, trouble = await self._verified(policy, known.sha256 if known else "")
        return {
            **self._summary(policy),
            "unfit": policy.conditions.objection(self._machine(), self._desktop()),
            "not_chosen": self.barred.get(name, ""),
            "decision": export.event_json(decision) if decision else None,
            "object_sha256": known.sha256 if known else "",
            "program": known.path if known and policy.external else "",
            "arguments": self._arguments(policy),
            "verdicts": verdicts,
            "verdicts_trouble": trouble,
            "events": [export.event_json(event) for event in events],
            "trials": [export.trial_json(trial) for trial in trials],
        }

    @staticmethod
    def _arguments(policy: Policy) -> list[str]:
        if not policy.external:
            return []
        return list(PROGRAMS[policy.scheduler].modes[str(policy.tunables[MODE])])

    async def _verified(self, policy: Policy, sha256: str) -> tuple[list[dict[str, Any]], str]:
        if policy.external:
            return [], UNVERIFIED
        if not sha256:
            return [], "" if not policy.scheduler else "its object is missing"
        try:
            found = await asyncio.to_thread(self._verdicts, policy.scheduler, sha256)
        except SchedcpError as error:  # a broken file is told, and hides nothing else
            return [], str(error)
        return [export.verdict_json(verdict, policy) for verdict in found], ""

    async def history(self, name: str, limit: int) -> Mapping[str, object]:
        """Events and trials, newest first; of every policy when `name` is ""."""
        events = await asyncio.to_thread(self._library.events, name, limit)
        trials = await asyncio.to_thread(self._library.trials, name, limit)
        if name and not events and not trials:
            self._repository().policy(name)  # NotFoundError with the closest name
        return {
            "events": [export.event_json(event) for event in events],
            "trials": [export.trial_json(trial) for trial in trials],
        }

    async def search(
        self, *, words: str, intent: IntentClass | None, workload: str, here: bool, limit: int
    ) -> Sequence[Mapping[str, object]]:
        """Best first. NotFoundError, AmbiguousTargetError: of `workload`, which is a TARGET."""
        shape = shape_of(self._find(workload)) if workload else None
        asked = Question(self._machine(), self._desktop(), None, intent, shape, here)
        policies = [p for p in self._repository().policies() if p.scheduler]

        def look() -> list[Found]:
            ranks = self._library.find_words(words) if words.strip() else None
            trials = self._library.every_trial() if shape else ()
            return search(policies, trials, replace(asked, words=ranks))[:limit]

        return [
            {**export.found_json(found), **self._summary(found.policy)}
            for found in await asyncio.to_thread(look)
        ]

    def _desktop(self) -> bool:
        return any(
            view.profile.populated and view.profile.identity.kind is AppKind.DESKTOP_APP
            for view in self._views()
        )

    # ------------------------------------------------------------ promotion and retirement

    async def promote(self, name: str, *, actor: str, reason: str) -> Mapping[str, object]:
        """From now on it may be chosen by itself, as long as its content stays the same."""
        return await self._decide(name, PolicyAction.PROMOTED, actor, reason)

    async def retire(self, name: str, *, actor: str, reason: str) -> Mapping[str, object]:
        """From now on it is not chosen by itself, until it is promoted."""
        return await self._decide(name, PolicyAction.RETIRED, actor, reason)

    async def _decide(
        self, name: str, action: PolicyAction, actor: str, reason: str
    ) -> Mapping[str, object]:
        policy = self._repository().policy(name)
        if name == KERNEL_DEFAULT:
            raise InvalidArgumentError(
                f"{KERNEL_DEFAULT} is what runs when nothing else does",
                hint="it can be neither promoted nor retired",
            )
        decide = self._library.decide
        await asyncio.to_thread(decide, name, action, policy.content_id, actor, reason)
        verb = "promote" if action is PolicyAction.PROMOTED else "retire"
        logger.info("%s: %s %s %s", actor, verb, name, reason)
        self._learn(records.operator(verb, name, actor, self._clock.unix_s(), reason))
        await self._decide_again()
        self._changed()
        return self._summary(policy)
