# SPDX-License-Identifier: Apache-2.0
"""Keeps the running scheduler's map of intents equal to what is wanted, by live writes.

A change is one small request to the scheduler host; changes that come while one is under way
go together in the next. Nothing here ever reloads a scheduler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from schedcpd.deploy.client import Host
from schedcpd.errors import SchedcpError
from schedcpd.model import IntentClass


class IntentTable:
    """What every cgroup wants (kernfs id -> class), and what the scheduler was told.

    `failed` is called with the reason when a write did not reach the scheduler; it is tried
    again with the next change and by `flush`.
    """

    def __init__(self, host: Host, failed: Callable[[str], None]) -> None:
        self._host, self._failed = host, failed
        self._wanted: dict[int, IntentClass] = {}
        self._told: dict[int, IntentClass] | None = None  # None: no scheduler of ours runs
        self._dirty: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self.writes = 0  # requests that changed the map

    def snapshot(self) -> dict[int, IntentClass]:
        return dict(self._wanted)

    def set(self, cgroup_id: int, intent: IntentClass) -> None:
        """From now on the cgroup wants `intent`."""
        if self._wanted.get(cgroup_id) is not intent:
            self._wanted[cgroup_id] = intent
            self._changed(cgroup_id)

    def remove(self, cgroup_id: int) -> None:
        """The cgroup is gone or empty."""
        if self._wanted.pop(cgroup_id, None) is not None:
            self._changed(cgroup_id)

    def attached(self, told: Mapping[int, IntentClass]) -> None:
        """A scheduler runs that knows `told`; the difference is written at once."""
        self._told = dict(told)
        self._dirty = {
            key
            for key in self._wanted.keys() | self._told.keys()
            if self._wanted.get(key) is not self._told.get(key)
        }
        self._start()

    def detached(self) -> None:
        """No scheduler of ours runs: changes are kept for the next."""
        self._told = None
        self._dirty.clear()

    def _changed(self, cgroup_id: int) -> None:
        if self._told is not None:
            self._dirty.add(cgroup_id)
            self._start()

    def _start(self) -> None:
        if self._dirty and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._write(), name="intents")

    async def _write(self) -> None:
        while self._dirty and self._told is not None:
            told, batch = self._told, self._dirty
            self._dirty = set()
            set_ = {key: self._wanted[key] for key in batch if key in self._wanted}
            delete = [key for key in batch if key not in self._wanted and key in told]
            if not set_ and not delete:
                continue
            try:
                await self._host.set_intents(set_, delete)
            except SchedcpError as error:
                self._dirty |= batch
                if self._told is told:
                    self._failed(str(error))
                return
            self.writes += 1
            told.update(set_)
            for key in delete:
                told.pop(key, None)

    def retry(self) -> None:
        """Tries again what did not reach the scheduler."""
        self._start()

    async def flush(self) -> None:
        """Returns once everything wanted was written, or writing failed."""
        self._start()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
