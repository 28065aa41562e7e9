# SPDX-License-Identifier: Apache-2.0
"""What deploying and verifying tell: into history, to observers, and to the planner."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from schedcpd.bus.control import Observer
from schedcpd.deploy.state import Deployment
from schedcpd.host.clock import Clock
from schedcpd.learn import records
from schedcpd.learn.writer import History
from schedcpd.model import Outcome, OutcomeKind, SchedulerStatus

_SETBACKS = (OutcomeKind.EJECTED, OutcomeKind.ROLLED_BACK, OutcomeKind.FAILED)
_OUTCOMES = 32


class Told:
    """Implements deploy.ports.Listener and verify.requests.Told.

    `started` is told a deployment's id and policy, `finished` its outcome.
    """

    def __init__(
        self,
        history: History,
        clock: Clock,
        observers: list[Observer],
        *,
        publish: Callable[[], None],
        replan: Callable[[], None],
        note: Callable[[str], None],
        started: Callable[[str, str], None],
        finished: Callable[[Outcome], None],
    ) -> None:
        self._history, self._clock, self._observers = history, clock, observers
        self._publish, self._replan, self._note = publish, replan, note
        self._started, self._finished = started, finished
        self._outcomes: dict[str, Outcome] = {}  # of this daemon's life, by deployment
        self.setbacks: dict[str, int] = {}  # by policy, as far back as history goes

    @property
    def last_outcome(self) -> Outcome | None:
        return next(reversed(self._outcomes.values()), None)

    def deploy_changed(self) -> None:
        self._publish()

    def deploy_free(self) -> None:
        self._replan()

    def deploy_started(self, deployment: Deployment, status: SchedulerStatus) -> None:
        reason, source, policy = deployment.reason, deployment.source, deployment.policy
        self._started(deployment.id, policy)
        now = self._clock.unix_s()
        self._history.add(records.deployment(reason, source, policy, status, now))

    def deploy_promoted(self, deployment: Deployment, measures: Mapping[str, float]) -> None:
        now = self._clock.unix_s()
        self._history.add(records.promotion(deployment.policy, deployment.id, measures, now))

    def deploy_finished(self, outcome: Outcome) -> None:
        self._outcomes[outcome.deployment_id] = outcome
        while len(self._outcomes) > _OUTCOMES:
            del self._outcomes[next(iter(self._outcomes))]
        if outcome.kind in _SETBACKS:
            self.setbacks[outcome.policy] = self.setbacks.get(outcome.policy, 0) + 1
        self._history.add(records.outcome(outcome, self._clock.unix_s()))
        self._finished(outcome)
        self._replan()

    def deploy_ejected(self, status: SchedulerStatus) -> None:
        for observer in self._observers:
            observer.ejected(status)

    def deploy_rolled_back(self, old_policy: str, new_policy: str, reason: str) -> None:
        for observer in self._observers:
            observer.rolled_back(old_policy, new_policy, reason)

    def verify_progress(self, id_: str, check: str) -> None:
        for observer in self._observers:
            observer.verify_progress(id_, check)

    def verify_ended(self, id_: str, passed: bool, sentence: str) -> None:
        for observer in self._observers:
            observer.verify_ended(id_, passed, sentence)

    def deploy_note(self, sentence: str) -> None:
        self._note(sentence)

    def deploy_write_failed(self, reason: str) -> None:
        self._note(f"an intent did not reach the scheduler yet: {reason}")
