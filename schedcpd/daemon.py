# SPDX-License-Identifier: Apache-2.0
"""The daemon's life: start, tell systemd, answer signals, ping the watchdog, stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Protocol

import structlog

from schedcpd.errors import SchedcpError
from schedcpd.host.lean import give_back
from schedcpd.host.sdnotify import Notifier
from schedcpd.model import Status
from schedcpd.pipeline import Pipeline

log = structlog.get_logger("schedcpd.daemon")

_STATUS_EVERY_S = 30.0  # when no watchdog asks for more


class Bus(Protocol):
    """What publishes the pipeline (`bus.service.BusService`)."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Daemon:
    """Runs until SIGTERM or SIGINT. The scheduler that runs stays, since its host holds it."""

    def __init__(self, pipeline: Pipeline, bus: Bus, notifier: Notifier) -> None:
        self._pipeline, self._bus, self._notifier = pipeline, bus, notifier
        self._end = asyncio.Event()
        self._reloads: asyncio.Queue[None] = asyncio.Queue(maxsize=1)
        self._said = ""

    async def run(self) -> None:
        """Returns after an orderly stop; raises what a task of ours raised."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        loop.add_signal_handler(signal.SIGHUP, self._hangup)
        try:
            await self._pipeline.start()
            await self._bus.start()
            self._notifier.ready(self._sentence())
            give_back()
            status = self._pipeline.status()
            log.info("ready", state=status.state, reason=status.reason, workloads=status.workloads)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._pipeline.run(), name="pipeline"),
                    group.create_task(self._reload_on_hangup(), name="reload"),
                    group.create_task(self._heartbeat(), name="heartbeat"),
                ]
                await self._end.wait()
                self._notifier.stopping()
                for task in tasks:
                    task.cancel()
        finally:
            await self._bus.stop()
            await self._pipeline.stop()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _hangup(self) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # one waits already: it reads the newest
            self._reloads.put_nowait(None)

    async def _reload_on_hangup(self) -> None:
        while True:
            await self._reloads.get()
            self._notifier.reloading()
            try:
                await self._pipeline.reload(actor="SIGHUP")
                log.info("configuration and policies were read again")
            except SchedcpError as error:
                for line in str(error).splitlines():
                    log.error(line, code=error.code)
                log.error("what was wrong stays as it was; the rest was read again")
            self._notifier.ready(self._sentence())

    async def _heartbeat(self) -> None:
        """From the loop that does the work: when it hangs, systemd hears nothing."""
        period_s = self._notifier.watchdog_s / 3 or _STATUS_EVERY_S
        while True:
            self._notifier.watchdog()
            sentence = self._sentence()
            if sentence != self._said:
                self._said = sentence
                self._notifier.status(sentence)
            await asyncio.sleep(period_s)

    def _sentence(self) -> str:
        status: Status = self._pipeline.status()
        runs = f"{status.policy} ({status.scheduler})" if status.scheduler else status.policy
        return f"{status.state}: {runs}, {status.workloads} workloads; {status.reason}"
