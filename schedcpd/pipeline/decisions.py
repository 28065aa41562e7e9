# SPDX-License-Identifier: Apache-2.0
"""From a signal to an intent that stands in the running scheduler; this path waits for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from schedcpd.bus.control import Observer
from schedcpd.deploy.intents import IntentTable
from schedcpd.errors import NotFoundError
from schedcpd.host.clock import Clock
from schedcpd.infer.pins import decide
from schedcpd.infer.pinstore import PinStore
from schedcpd.infer.questions import AgentClient, Questions
from schedcpd.infer.rules import RuleBook
from schedcpd.learn import records
from schedcpd.learn.writer import History
from schedcpd.model import IntentClass, IntentSource, Signal, WorkloadProfile, WorkloadView
from schedcpd.observe.observation import Observation
from schedcpd.observe.workloads import Change


class Decisions:
    """What every workload wants, and why. `views` and `signals` are by cgroup path.

    `replan` is called when the wants are others, `publish` when workloads came or went.
    """

    def __init__(
        self,
        *,
        observation: Observation,
        intents: IntentTable,
        agent: AgentClient,
        pins: PinStore,
        history: History,
        clock: Clock,
        observers: list[Observer],
        book: RuleBook,
        publish: Callable[[], None],
        replan: Callable[[], None],
    ) -> None:
        self._observation, self._intents = observation, intents
        self._pin_store, self._history, self._clock = pins, history, clock
        self._observers, self._publish, self._replan = observers, publish, replan
        self.book = book
        self.pins: dict[str, IntentClass] = {}
        self.views: dict[str, WorkloadView] = {}
        self.signals: dict[str, Signal] = {}  # the one that explains the intent
        self.questions = Questions(
            agent,
            unknown=self._unknown,
            all_unknown=lambda: [p for c in self.views if (p := self._unknown(c))],
            answered=self._redecide,
            changed=publish,
        )
        observation.listen(self._on_change)

    def load_pins(self) -> str:
        """Call before observing begins. A sentence if pins of before could not be read, else ""."""
        self.pins = self._pin_store.load()
        if not self._observation.unusable:
            self._observation.hold(self.pins)
        return self._pin_store.note

    def find(self, target: str) -> WorkloadView:
        """The workload TARGET names, decided for now if it was not seen yet."""
        profile = self._observation.find(target)
        known = self.views.get(profile.cgroup)
        if known is not None:
            return known
        intent = decide(profile, self.pins, self.book)
        return WorkloadView(profile, intent, profile.cgroup in self.pins)

    async def pin(self, target: str, intent: IntentClass) -> str:
        """The cgroup that is pinned from now on."""
        cgroup = self._observation.find(target).cgroup
        await self._hold({**self.pins, cgroup: intent})
        return cgroup

    async def unpin(self, target: str) -> str:
        """The cgroup that no longer is; it may be gone. NotFoundError: it was not pinned."""
        cgroup = target.rstrip("/") if target.startswith("/") else ""
        if cgroup not in self.pins:
            cgroup = self._observation.find(target).cgroup
        if cgroup not in self.pins:
            raise NotFoundError(f"{cgroup} is not pinned", hint="`schedctl list` shows pins")
        await self._hold({path: one for path, one in self.pins.items() if path != cgroup})
        return cgroup

    async def _hold(self, pins: dict[str, IntentClass]) -> None:
        await asyncio.to_thread(self._pin_store.save, pins)
        self.pins = pins
        self._observation.hold(pins)
        self.decide_all()

    def decide_all(self) -> None:
        for view in tuple(self.views.values()):
            self._redecide(view.profile)

    def _on_change(self, change: Change) -> None:
        cgroup = change.signal.cgroup
        old = self.views.get(cgroup)
        if change.new is None:
            self._forget(cgroup)
            return
        view = self._decide(change.new, old)
        if old is None or old.intent != view.intent:
            self.signals[cgroup] = change.signal

    def _forget(self, cgroup: str) -> None:
        view = self.views.pop(cgroup, None)
        self.signals.pop(cgroup, None)
        if view is None:
            return
        self._intents.remove(view.profile.cgroup_id)
        self.questions.forget(view.profile.id)
        for observer in self._observers:
            observer.workload_removed(view)
        self._replan()
        self._publish()

    def _decide(self, profile: WorkloadProfile, old: WorkloadView | None) -> WorkloadView:
        """Infers, and writes the intent into the running scheduler at once."""
        answer = self.questions.answer(profile)
        intent = decide(profile, self.pins, self.book, answer)
        self._intents.set(profile.cgroup_id, intent.intent_class)
        view = WorkloadView(profile, intent, profile.cgroup in self.pins)
        self.views[profile.cgroup] = view
        if intent.source is IntentSource.DEFAULT:
            self.questions.ask(profile)
        if view == old:
            return view
        if old is None or old.intent != intent:
            before = old.intent.intent_class if old else None
            self._history.add(records.decision(view, before, self._clock.unix_s()))
            if before is not intent.intent_class:
                self._replan()
        for observer in self._observers:
            if old is None:
                observer.workload_added(view)
            else:
                observer.workload_changed(old, view)
        if old is None:
            self._publish()
        return view

    def _unknown(self, cgroup: str) -> WorkloadProfile | None:
        """The workload there, if no pin, rule or answer decides for it."""
        view = self.views.get(cgroup)
        return view.profile if view and view.intent.source is IntentSource.DEFAULT else None

    def _redecide(self, profile: WorkloadProfile) -> None:
        self._decide(profile, self.views.get(profile.cgroup))
