# SPDX-License-Identifier: Apache-2.0
"""The loop, in order: signal, profile, intent, live write or plan, gate, deploy, outcome, learn.

The only place that sequences rooms; what each step does is theirs. Everything here runs on the
event loop, and the path from a signal to the map write waits for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from schedcpd.bus.control import Observer
from schedcpd.config import AUTO, KERNEL_DEFAULT
from schedcpd.deploy.admission import GateAdmission
from schedcpd.deploy.manager import DeployManager
from schedcpd.errors import BusyError, ConfigErrors, NotFoundError, SchedcpError
from schedcpd.host.clock import Clock
from schedcpd.infer.pinstore import PinStore
from schedcpd.infer.questions import AgentClient
from schedcpd.infer.rules import RuleBook
from schedcpd.learn import records
from schedcpd.learn.writer import History
from schedcpd.model import (
    DaemonState,
    InferenceSource,
    IntentClass,
    LearnedRecord,
    RecordKind,
    Status,
    WorkloadView,
)
from schedcpd.observe.machine import MachineReader
from schedcpd.observe.observation import Observation
from schedcpd.pipeline import explain
from schedcpd.pipeline.catalogue import Catalogue, Verdicts
from schedcpd.pipeline.decisions import Decisions
from schedcpd.pipeline.settings import Load, Settings, deploy_limits
from schedcpd.pipeline.situation import situation_of
from schedcpd.pipeline.told import Told
from schedcpd.plan.planner import plan
from schedcpd.plan.situation import Plan, Situation
from schedcpd.policy.library import Library
from schedcpd.verify.door import Workshop
from schedcpd.verify.requests import Examiner

logger = logging.getLogger(__name__)

_REPLAN_AFTER_S = 0.05  # changes that come together are planned for together
_RETRY_S = 5.0
_POWER_EVERY_S = 30.0


class Pipeline:
    """Implements bus.control.Control. `start`, then `run` until cancelled, then `stop`."""

    def __init__(
        self,
        *,
        settings: Settings,
        load: Load,
        applied: Callable[[Settings], None],
        observation: Observation,
        machine: MachineReader,
        deploy: DeployManager,
        admission: GateAdmission,
        history: History,
        pins: PinStore,
        agent: AgentClient,
        library: Library,
        verdicts: Verdicts,
        workshop: Workshop,
        clock: Clock,
        kernel: str,
    ) -> None:
        self._settings, self._load, self._applied = settings, load, applied
        self._observation, self._machine = observation, machine
        self._deploy, self._admission = deploy, admission
        self._history, self._agent, self._clock = history, agent, clock
        self._kernel = kernel
        self._explainer = explain.Explainer(deploy, admission, agent)
        self.catalogue = Catalogue(
            library,
            verdicts,
            repository=lambda: self._settings.repository,
            machine=machine.read,
            views=lambda: tuple(self._decisions.views.values()),
            find=self.find,
            current=lambda: self.status().policy,
            changed=lambda: self._replan_in(0),
            learn=self._learn,
            clock=clock,
            kernel=kernel,
        )
        self._observers: list[Observer] = []
        self._status: Status | None = None
        self._plan: Plan | None = None
        self._preferred = ("", 0.0)  # the policy that waits to replace what runs, since when
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_note = ""
        self._told = Told(
            history,
            clock,
            self._observers,
            publish=self._publish,
            replan=lambda: self._replan_in(_REPLAN_AFTER_S),
            note=self._note,
            started=self.catalogue.started,
            finished=lambda outcome: self._spawn(self.catalogue.finished(outcome)),
        )
        deploy.listen(self._told)
        self._examiner = Examiner(workshop, self._told)
        self._decisions = Decisions(
            observation=observation,
            intents=deploy.intents,
            agent=agent,
            pins=pins,
            history=history,
            clock=clock,
            observers=self._observers,
            book=RuleBook(settings.repository.rules()),
            publish=self._publish,
            replan=lambda: self._replan_in(_REPLAN_AFTER_S),
        )
        self._questions = self._decisions.questions

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Adopts what runs, then looks at every cgroup."""
        note = self._history.open()
        self._note(note)
        self._told.setbacks = dict(self._history.setbacks())
        self._note(self._decisions.load_pins())
        for problem in self._settings.repository.problems():
            self._note(str(problem))
        self._note(self.catalogue.open())
        await self._take_stock()
        await self._deploy.start()
        if not self._observation.unusable:
            await self._observation.start()
            self._note(self._observation.degraded)
        self._replan_in(0)
        self._publish()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deploy.run(), name="deploy")
            group.create_task(self._questions.run(), name="questions")
            group.create_task(self._questions.repeat(), name="questions again")
            if not self._observation.unusable:
                group.create_task(self._observation.run(), name="observe")
                group.create_task(self._watch_power(), name="power")

    async def stop(self) -> None:
        """A scheduler that runs stays: its host holds it."""
        if self._timer is not None:
            self._timer.cancel()
        await self._observation.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._examiner.close()
        await self._questions.close()
        await self._deploy.stop()
        await self._history.close()
        self.catalogue.close()

    async def _watch_power(self) -> None:
        power = self._machine.power()
        while True:
            await asyncio.sleep(_POWER_EVERY_S)
            before, power = power, self._machine.power()
            if power is not before:
                self._replan_in(0)

    # ------------------------------------------------------------ plan -> gate -> deploy

    def _replan_in(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(due, self._replan_now)

    def _replan_now(self) -> None:
        self._timer = None
        self._spawn(self._replan())

    async def _replan(self) -> None:
        view = self._deploy.view()
        if view.state not in (DaemonState.ACTIVE, DaemonState.DEFAULT):
            return
        wanted, source = self._deploy.wanted
        choice = wanted or self._settings.config.policy
        self._plan = made = plan(self._situation(choice))
        if made.preferred != self._preferred[0]:
            self._preferred = (made.preferred, self._clock.monotonic_ns() / 1e9)
        if made.retry_in_s is not None:
            self._replan_in(made.retry_in_s)
        if not made.change or self._deploy.held:
            return
        fallen_back = view.current is not None and view.current.source == "fallback"
        if fallen_back and choice != AUTO and made.candidate.policy != choice:
            return  # what was chosen cannot run: what we came back to stays
        if not wanted or wanted == AUTO:
            source = "auto" if self._settings.config.policy == AUTO or wanted else "operator"
        try:
            await self._deploy.deploy(made.candidate, source=source, asked=False)
        except BusyError as error:
            logger.debug("not now: %s", error)
            self._replan_in(_RETRY_S)
        except SchedcpError as error:
            self._note(f"{made.candidate.policy} was not deployed: {error}")
            self._replan_in(max(self._settings.config.deploy.hold_down_s, _RETRY_S))

    def _situation(self, choice: str, *, lift_quarantine: bool = False) -> Situation:
        return situation_of(
            self._settings,
            self._deploy,
            machine=self._machine.read(),
            views=self._decisions.views.values(),
            setbacks=self._told.setbacks,
            barred=self.catalogue.barred,
            now_s=self._clock.monotonic_ns() / 1e9,
            unix_s=self._clock.unix_s(),
            choice=choice,
            preferred=self._preferred,
            lift_quarantine=lift_quarantine,
        )

    def learn(self, record: LearnedRecord) -> None:
        """For those who make records themselves (the agent's client)."""
        self._learn(record)

    # ------------------------------------------------------------ Control: reading

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def status(self) -> Status:
        view = self._deploy.view()
        wanted, source = self._deploy.wanted
        current, back = view.current, view.last_known_good
        rules_only = not self._agent.available
        idle_source = source if wanted == KERNEL_DEFAULT else "auto"
        return Status(
            state=view.state,
            reason=view.reason,
            kernel=self._kernel,
            scheduler=view.ops,
            policy=current.policy if current else KERNEL_DEFAULT,
            policy_source=current.source if current else idle_source,
            deployment_id=current.id if current else "",
            verdict_id=current.verdict_id if current else "",
            last_known_good=back.policy if back else KERNEL_DEFAULT,
            inference=InferenceSource.RULES if rules_only else InferenceSource.RULES_AND_AGENT,
            agent=self._agent.describe(),
            kill_switch=view.kill_switch,
            workloads=len(self._decisions.views),
        )

    def workloads(self) -> Sequence[WorkloadView]:
        return tuple(self._decisions.views.values())

    def find(self, target: str) -> WorkloadView:
        return self._decisions.find(target)

    def pins(self) -> Mapping[str, IntentClass]:
        return dict(self._decisions.pins)

    def history(
        self, *, limit: int = 50, kind: RecordKind | None = None, subject: str = ""
    ) -> Sequence[LearnedRecord]:
        return self._history.query(limit=limit, kind=kind, subject=subject)

    def policies(self) -> Sequence[Mapping[str, object]]:
        return self.catalogue.listing()

    async def explain(self, target: str) -> Mapping[str, object]:
        view = self.find(target) if target else None
        signal = self._decisions.signals.get(view.profile.cgroup) if view else None
        last = self._told.last_outcome
        return await self._explainer.explain(self.status(), view, signal, self._plan, last)

    # ------------------------------------------------------------ Control: changing

    async def pin(self, target: str, intent: IntentClass, *, actor: str) -> WorkloadView:
        self._deploy.require_supported()  # a pin that can have no effect is refused, not kept
        cgroup = await self._decisions.pin(target, intent)
        self._operator("pin", cgroup, actor, intent.value)
        return self.find(cgroup)

    async def unpin(self, target: str, *, actor: str) -> WorkloadView | None:
        cgroup = await self._decisions.unpin(target)
        self._operator("unpin", cgroup, actor)
        try:
            return self.find(cgroup)
        except NotFoundError:
            return None

    async def apply(self, policy: str, *, actor: str) -> Status:
        if policy == AUTO:
            await self._deploy.want(AUTO, "auto")
            self._operator("apply", AUTO, actor)
            await self._replan()
            return self.status()
        self._settings.repository.policy(policy)  # NotFoundError with the closest name
        made = plan(self._situation(policy, lift_quarantine=True))
        if made.candidate.policy != policy:
            raise SchedcpError(made.candidate.reason)
        self._plan = made
        if made.change:
            await self._deploy.deploy(made.candidate, source="operator", asked=True)
        else:
            await self._deploy.want(policy, "operator")
        self._operator("apply", policy, actor)
        return self.status()

    async def rollback(self, *, actor: str, reason: str = "") -> Status:
        await self._deploy.rollback(reason or f"{actor} rolled back")
        self._operator("rollback", "", actor, reason)
        return self.status()

    async def kill(self, *, actor: str, reason: str = "") -> Status:
        self._note(await self._deploy.kill(reason or f"{actor} used the kill switch"))
        self._operator("kill", "", actor, reason)
        return self.status()

    async def resume(self, *, actor: str) -> Status:
        await self._deploy.resume()
        self._operator("resume", "", actor)
        return self.status()

    async def reload(self, *, actor: str) -> None:
        settings = await asyncio.to_thread(self._load, self._settings.repository)
        self._settings = settings
        self._applied(settings)
        observe, keep = settings.config.observe, settings.config.history
        self._deploy.set_limits(deploy_limits(settings.config))
        self._history.keep(keep_days=keep.keep_days, max_rows=keep.max_rows)
        self._decisions.book = RuleBook(settings.repository.rules())
        self._observation.configure(
            relook_ms=observe.relook_ms, sample_s=observe.sample_s, ignore=observe.ignore
        )
        self._decisions.decide_all()
        await self._take_stock()
        self._operator("reload", "", actor)
        self._replan_in(0)
        problems = settings.repository.problems()
        if problems:
            raise ConfigErrors(problems)

    async def verify(self, name: str, text: str, *, run: bool, actor: str) -> str:
        id_ = self._examiner.begin(name, text, run=run)
        self._operator("verify", name, actor, id_)
        return id_

    def verification(self, id_: str) -> Mapping[str, object]:
        return self._examiner.result(id_)

    # ------------------------------------------------------------ small things

    async def _take_stock(self) -> None:
        try:
            await self.catalogue.take_stock()
        except SchedcpError as error:
            self._note(str(error))

    def _operator(self, action: str, subject: str, actor: str, detail: str = "") -> None:
        logger.info("%s: %s %s %s", actor, action, subject, detail)
        self._learn(records.operator(action, subject, actor, self._clock.unix_s(), detail))

    def _note(self, sentence: str) -> None:
        if sentence and sentence != self._last_note:
            self._last_note = sentence
            logger.warning("%s", sentence)
            self._learn(records.note(sentence, self._clock.unix_s()))

    def _learn(self, record: LearnedRecord) -> None:
        self._history.add(record)

    def _publish(self) -> None:
        """Tells observers of the status when it is another one."""
        new = self.status()
        old, self._status = self._status, new
        if old is None or old == new:
            return
        if old.state is not new.state:
            logger.info("state %s: %s", new.state, new.reason)
        for observer in self._observers:
            observer.status_changed(old, new)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
