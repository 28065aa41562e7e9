# SPDX-License-Identifier: Apache-2.0
"""Lets polkit ask for a password on a terminal where no desktop does, as systemctl does."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

READY_TIMEOUT_S = 2.0


@asynccontextmanager
async def password_agent(wanted: bool) -> AsyncIterator[None]:
    """Runs pkttyagent for the time of a change by a user who is not root, at a terminal.

    It is a fallback: where a desktop's own agent is registered, that one asks.
    """
    program = shutil.which("pkttyagent")
    if (
        not wanted
        or program is None
        or os.geteuid() == 0
        or not (sys.stdin.isatty() and sys.stderr.isatty())
    ):
        yield
        return
    ready, theirs = os.pipe()
    try:
        # Not through schedcpd.host.process: it must keep our session to reach our terminal.
        agent = await asyncio.create_subprocess_exec(
            program, "--notify-fd", str(theirs), "--fallback", pass_fds=(theirs,)
        )
    finally:
        os.close(theirs)
    try:
        await _readable(ready)
        yield
    finally:
        if agent.returncode is None:
            agent.terminate()
        await agent.wait()


async def _readable(fd: int) -> None:
    """Waits until the agent has registered and closes its end, but not for long."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(fd, done.set)
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await done.wait()
    except TimeoutError:
        return
    finally:
        loop.remove_reader(fd)
        os.close(fd)
