# SPDX-License-Identifier: Apache-2.0
"""Gathers records for a moment and writes them together, away from the event loop.

A transaction syncs at most the WAL; a slow disk must not hold up a scheduling decision.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from schedcpd.learn.store import HistoryStore
from schedcpd.model import LearnedRecord, RecordKind

_GATHER_S = 0.25
_PENDING_MAX = 10_000  # beyond it the oldest unwritten are dropped


class History:
    """`add` never waits; `query` sees everything that was added."""

    def __init__(self, store: HistoryStore) -> None:
        self._store = store
        self._lock = threading.Lock()  # the store is used from one thread at a time
        self._pending: deque[LearnedRecord] = deque(maxlen=_PENDING_MAX)
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str:
        return self._store.trouble

    def open(self) -> str:
        """See HistoryStore.open."""
        return self._store.open()

    def keep(self, *, keep_days: int, max_rows: int) -> None:
        """New bounds, from the next retention on."""
        self._store.keep_days, self._store.max_rows = keep_days, max_rows

    def add(self, record: LearnedRecord) -> None:
        self._pending.append(record)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_S, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._task is not None and not self._task.done():
            self._timer = asyncio.get_running_loop().call_later(_GATHER_S, self._due)
            return
        self._task = asyncio.get_running_loop().create_task(
            asyncio.to_thread(self._write), name="history"
        )

    def _write(self) -> None:
        with self._lock:
            self._write_locked()

    def _write_locked(self) -> None:
        batch = []
        while self._pending:
            batch.append(self._pending.popleft())
        self._store.add(batch)

    def query(
        self, *, limit: int = 50, kind: RecordKind | None = None, subject: str = ""
    ) -> tuple[LearnedRecord, ...]:
        """Newest first."""
        with self._lock:
            self._write_locked()
            return self._store.query(limit=limit, kind=kind, subject=subject)

    def setbacks(self) -> dict[str, int]:
        """See HistoryStore.setbacks."""
        with self._lock:
            return self._store.setbacks()

    async def close(self) -> None:
        """Writes what is left."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._write()
        self._store.close()
