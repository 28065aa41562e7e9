# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is to change the scheduler: one change at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from schedcpd.deploy.core import Core
from schedcpd.errors import BusyError


class Turns:
    """An operator's word waits for what the daemon does by itself, but not for another word."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._serving = False  # a word has the lock, or waits for it

    @contextlib.asynccontextmanager
    async def take(self, *, asked: bool) -> AsyncIterator[None]:
        """Holds `Core.lock`. BusyError while a word is served, or any change for who is not asked;
        or after `word_wait_s`.
        """
        lock = self._core.lock
        busy = BusyError(
            "another change of the scheduler is being made", hint="try again in a moment"
        )
        if self._serving or (lock.locked() and not asked):
            raise busy
        self._serving = asked
        try:
            try:
                async with asyncio.timeout(self._core.limits.word_wait_s):
                    await lock.acquire()
            except TimeoutError:
                raise busy from None
            try:
                yield
            finally:
                lock.release()
        finally:
            if asked:
                self._serving = False
