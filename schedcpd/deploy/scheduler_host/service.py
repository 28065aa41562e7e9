# SPDX-License-Identifier: Apache-2.0
"""The methods of the scheduler host's socket, and its watch over the attached scheduler."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from schedcpd import __version__
from schedcpd.deploy.scheduler_host import params
from schedcpd.deploy.scheduler_host.checks import Checks, Held, TokenVerifier
from schedcpd.deploy.scheduler_host.loading import in_thread
from schedcpd.errors import (
    BusyError,
    NotFoundError,
    SchedulerHostError,
)
from schedcpd.host.external import ExternalScheduler
from schedcpd.host.jsonline import Json, Method
from schedcpd.host.manifest import Manifest
from schedcpd.host.program_file import ProgramFinder
from schedcpd.host.scheduler import Scheduler
from schedcpd.host.scx import Scx
from schedcpd.model import KernelBuild, SchedulerStatus, ScxState, Tunable

PROTOCOL = 1
ENABLE_TIMEOUT_S = 10.0
DISABLE_TIMEOUT_S = 10.0
SLOW_LOOK_S = 5.0  # in case the kernel's word did not reach us
FAST_LOOK_S = 0.25  # for an object that cannot wake us
DISABLING_LOOK_S = 0.05  # while the kernel takes ours apart and has not said why
DISABLING_LOOKS = 100
ALIVE_LOOKS = 40  # while a program lives that may say why; below the daemon's Limits.settle_s


_logger = logging.getLogger(__name__)


class SchedulerHost:
    """Holds at most one attached scheduler. One change at a time; a second is refused as Busy.

    `broadcast` sends an event to every connection; `open_verifier` is asked at each load, so a
    key made after this process started counts.
    """

    def __init__(
        self,
        *,
        scx: Scx,
        kernel: KernelBuild,
        open_verifier: Callable[[], TokenVerifier],
        broadcast: Callable[[str, Json], None],
        on_idle: Callable[[], None] = lambda: None,
        finder: ProgramFinder | None = None,
    ) -> None:
        self._scx, self._kernel = scx, kernel
        self._checks = Checks(scx, kernel, open_verifier, finder or ProgramFinder())
        self._broadcast, self._on_idle = broadcast, on_idle
        self._scheduler: Held | None = None
        self._status = SchedulerStatus(attached=False, host_pid=os.getpid())
        self._changing = asyncio.Lock()
        self._look_timer: asyncio.TimerHandle | None = None
        self._watched_fd: int | None = None
        self._ending: asyncio.Future[None] | None = None
        self._looks_left, self._look_s = DISABLING_LOOKS, SLOW_LOOK_S
        self.methods: Mapping[str, Method] = {
            "hello": Method(self._hello),
            "load": Method(self._load, required=params.LOAD),
            "run_program": Method(self._run_program, required=params.RUN),
            "unload": Method(self._unload, required=frozenset({"reason"})),
            "status": Method(self._get_status),
            "set_intents": Method(self._set_intents, required=frozenset({"set", "delete"})),
            "stats": Method(self._stats, optional=frozenset({"cgroups"})),
        }

    @property
    def attached(self) -> bool:
        return self._scheduler is not None

    @property
    def busy(self) -> bool:
        return self._changing.locked()

    # ------------------------------------------------------------ methods

    async def _hello(self, _: Json) -> Json:
        return {"version": __version__, "protocol": PROTOCOL, "kernel": asdict(self._kernel)}

    async def _get_status(self, _: Json) -> Json:
        return asdict(self._status)

    async def _load(self, raw: Json) -> Json:
        request = params.LoadRequest.of(raw)
        if self.busy:
            raise BusyError("a scheduler is being loaded or unloaded already")
        async with self._changing:
            data, manifest, tunables = self._checks.load(request, self._scheduler)
            if (running := self._same_but_live(request, manifest, tunables)) is not None:
                self._retune(running, request, tunables)
                return asdict(self._status)
            new = await in_thread(
                lambda: Scheduler(data, request.scheduler, manifest.ops, tunables),
                self._end_scheduler,
            )
            try:
                new.set_intents(request.intents, ())
                await self._swap(new, request.sha256, request.deployment_id, ENABLE_TIMEOUT_S)
            except BaseException:
                new.close()
                raise
        return asdict(self._status)

    async def _run_program(self, raw: Json) -> Json:
        request = params.RunRequest.of(raw)
        if self.busy:
            raise BusyError("a scheduler is being loaded or unloaded already")
        async with self._changing:
            new = await in_thread(
                lambda: self._checks.program(request, self._scheduler), self._end_scheduler
            )
            try:
                await self._swap(new, request.sha256, request.deployment_id, request.timeout_s)
            except BaseException:
                await asyncio.to_thread(new.close)
                raise
        return asdict(self._status)

    async def _unload(self, raw: Json) -> Json:
        reason = params.text(raw, "reason")
        if self.busy:
            raise BusyError("a scheduler is being loaded or unloaded already")
        async with self._changing:
            if self._scheduler is not None:
                _logger.info("unloading %s: %s", self._scheduler.name, reason)
                await self._end_scheduler()
        self._on_idle()
        return asdict(self._status)

    async def _set_intents(self, raw: Json) -> Json:
        entries, gone = params.intents(raw, "set"), params.ids(raw, "delete")
        return {"written": self._need_scheduler().set_intents(entries, gone)}

    async def _stats(self, raw: Json) -> Json:
        wanted = None if raw.get("cgroups") is None else params.ids(raw, "cgroups")
        scheduler = self._need_scheduler()
        return {
            "classes": {name: s.to_json() for name, s in scheduler.class_stats().items()},
            "cgroups": {str(i): s.to_json() for i, s in scheduler.cgroup_stats(wanted).items()},
        }

    def _need_scheduler(self) -> Held:
        if self._scheduler is None:
            raise NotFoundError("no scheduler is attached", hint="load one first")
        return self._scheduler

    # ------------------------------------------------------------ load

    def _same_but_live(
        self, request: params.LoadRequest, manifest: Manifest, tunables: Mapping[str, Tunable]
    ) -> Scheduler | None:
        """The running scheduler when the request asks for it with other live tunables."""
        running = self._scheduler
        if (
            not isinstance(running, Scheduler)
            or self._status.object_sha256 != request.sha256
            or running.name != request.scheduler
        ):
            return None
        differ = {name for name, value in tunables.items() if running.tunables.get(name) != value}
        live = all(manifest.tunables[name].live for name in differ)
        return running if differ and live else None

    def _retune(
        self, running: Scheduler, request: params.LoadRequest, tunables: Mapping[str, Tunable]
    ) -> None:
        """No reload: the programs read other numbers from their next decision on."""
        running.retune(tunables)
        running.set_intents(request.intents, ())
        self._status = replace(
            self._status,
            tunables=running.tunables,
            deployment_id=request.deployment_id,
            swap_gap_us=0,
        )
        _logger.info("retuned %s without a reload", running.name)

    async def _swap(self, new: Held, sha256: str, deployment_id: str, timeout_s: float) -> None:
        replacing = self._scheduler is not None
        began = time.monotonic_ns()
        await self._end_scheduler()
        try:
            now = await asyncio.to_thread(new.attach, self._scx.snapshot, timeout_s)
        except SchedulerHostError:
            self._status = SchedulerStatus(
                attached=False, host_pid=os.getpid(), last_exit=new.exit_record()
            )
            raise
        attached = time.monotonic_ns()
        self._scheduler = new
        self._status = SchedulerStatus(
            attached=True,
            scheduler=new.name,
            ops_name=new.ops_name,
            object_sha256=sha256,
            tunables=new.tunables,
            deployment_id=deployment_id,
            enable_seq=now.enable_seq,
            host_pid=os.getpid(),
            attached_ns=attached,
            swap_gap_us=(attached - began) // 1000 if replacing else 0,
            without=new.without,
        )
        self._watch()
        _logger.info("attached %s (%s), ops %s", new.name, sha256[:12], new.ops_name)
        for sentence in new.without:
            _logger.warning("this kernel is too old for all of %s: %s", new.name, sentence)

    async def _end_scheduler(self) -> None:
        """Detaches on purpose: no event, no exit record."""
        scheduler, self._scheduler = self._scheduler, None
        self._unwatch()
        if scheduler is None:
            return
        self._status = replace(self._status, attached=False, last_exit=None)
        await asyncio.to_thread(scheduler.close)
        deadline = time.monotonic() + DISABLE_TIMEOUT_S
        while self._scx.snapshot().state in (ScxState.DISABLING, ScxState.ENABLED):
            if self._scx.snapshot().ops not in ("", scheduler.ops_name):
                return  # somebody else was quicker
            if time.monotonic() > deadline:
                raise SchedulerHostError(
                    f"{scheduler.name} was detached, but the kernel still does not say so",
                    hint="SysRq-S ends every sched_ext scheduler",
                )
            await asyncio.sleep(0.001)

    async def end(self) -> None:
        """Before this process exits."""
        async with self._changing:
            await self._end_scheduler()

    # ------------------------------------------------------------ watch

    def _watch(self) -> None:
        assert self._scheduler is not None
        external = isinstance(self._scheduler, ExternalScheduler)
        self._looks_left = ALIVE_LOOKS if external else DISABLING_LOOKS
        self._look_s = FAST_LOOK_S if external else SLOW_LOOK_S
        self._watched_fd = self._scheduler.wake_fd
        if self._watched_fd is not None:
            asyncio.get_running_loop().add_reader(self._watched_fd, self._look)
        self._look_later()

    def _unwatch(self) -> None:
        if self._watched_fd is not None:
            asyncio.get_running_loop().remove_reader(self._watched_fd)
            self._watched_fd = None
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None

    def _look_later(self) -> None:
        delay = FAST_LOOK_S if self._watched_fd is None else self._look_s
        self._look_timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        """Is ours still the one that runs?"""
        scheduler = self._scheduler
        if scheduler is None:
            return
        record = scheduler.exit_record()
        if record is None:
            now = self._scx.snapshot()
            if scheduler.runs(now):
                if self._look_timer is not None:
                    self._look_timer.cancel()
                self._look_later()
                return
            waits = now.state is ScxState.DISABLING or scheduler.alive
            if waits and self._looks_left > 0:
                # ops.exit() has not been called, or the program not ended: why comes in a moment.
                self._looks_left -= 1
                if self._look_timer is not None:
                    self._look_timer.cancel()
                self._look_timer = asyncio.get_running_loop().call_later(
                    DISABLING_LOOK_S, self._look
                )
                return
            record = scheduler.unexplained(now)
        self._unwatch()
        self._scheduler = None
        self._status = replace(self._status, attached=False, last_exit=record)
        _logger.error(
            "the kernel ended %s: %s: %s: %s",
            scheduler.name, record.kind_name, record.reason, record.message,
        )  # fmt: skip
        self._broadcast("ejected", asdict(self._status))
        if scheduler.alive:  # a program may take seconds to end
            self._ending = asyncio.get_running_loop().run_in_executor(None, scheduler.close)
        else:
            scheduler.close()
        self._on_idle()
