# SPDX-License-Identifier: Apache-2.0
"""kill and resume: through the daemon, and without it.

The latch is the file `kill-switch` in schedcpd's state directory: while it is there, nothing is
deployed. Its text is one sentence for people; its presence is what counts.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from schedcpd.errors import SchedcpError
from schedcpd.host.files import remove_durably, write_atomically
from schedctl.client import connect, daemon
from schedctl.exits import CallError, UnreachableError
from schedctl.systemd import SOCKET, Systemd, stop_scheduler

LATCH = "kill-switch"
HUNG_DAEMON_S = 15.0
"""How long root waits for the daemon before systemd is asked; others may be typing a password."""

_FINAL = frozenset({"AccessDenied", "InvalidArgument", "LimitsExceeded"})
_FINAL_FOR_ROOT = frozenset({"InvalidArgument"})
"""Answers after which systemd is not asked. A polkit that hangs must not hold up root."""


async def kill(
    address: str | None, reason: str, state_dir: Path, *, ask_password: bool
) -> list[str]:
    """Back to the kernel's own scheduler. Returns what was done, one sentence each."""
    timeout = HUNG_DAEMON_S if os.geteuid() == 0 else None
    try:
        async with daemon(address, ask_password=ask_password) as control:
            await control.kill(reason, timeout_s=timeout)
        return ["schedcpd returned every task to the kernel's own scheduler"]
    except SchedcpError as error:
        if error.code in (_FINAL_FOR_ROOT if os.geteuid() == 0 else _FINAL):
            raise
        done = [f"without schedcpd: {error.message}"]
    done.append(_latch(state_dir, reason))
    await stop_scheduler(address, ask_password=ask_password)
    done.append("systemd stopped the scheduler; the kernel's own scheduler runs")
    return done


def _latch(state_dir: Path, reason: str) -> str:
    path = state_dir / LATCH
    if os.geteuid() != 0:
        return f"not latched, as only root can write {path}: schedcpd may deploy when it starts"
    when = time.strftime("%Y-%m-%d %H:%M:%S %z")
    who = f"uid {os.environ.get('SUDO_UID', os.geteuid())}"
    why = "".join(char if char.isprintable() else " " for char in reason).strip()
    try:
        text = f"schedctl kill by {who} at {when}" + (f": {why}" if why else "")
        write_atomically(path, text.encode("utf-8", "replace") + b"\n", 0o644)
    except OSError as error:
        return f"not latched, as {path} cannot be written ({error.strerror})"
    return f"latched in {path} until schedctl resume"


async def resume(address: str | None, state_dir: Path, *, ask_password: bool) -> list[str]:
    """Lets schedcp deploy again. Returns what was done, one sentence each."""
    done = await _start_socket(address, ask_password=ask_password)
    try:
        async with daemon(address, ask_password=ask_password) as control:
            await control.resume()
        return [*done, "the kill switch is released"]
    except UnreachableError as error:
        if os.geteuid() != 0:
            raise
        path = state_dir / LATCH
        try:
            remove_durably(path)
        except OSError as failure:
            raise CallError(
                "Failed", f"{path} cannot be removed: {failure.strerror}", hint=error.hint
            ) from failure
        return [*done, "the kill switch is released", f"{error.message}; {error.hint}"]


async def _start_socket(address: str | None, *, ask_password: bool) -> list[str]:
    """Undoes what `kill` without a daemon did to the socket, where systemd can be asked."""
    try:
        async with connect(address) as connection:
            systemd = Systemd(connection, ask_password=ask_password)
            if await systemd.state(SOCKET) == "active":
                return []
            await systemd.start(SOCKET)
            return [f"started {SOCKET}"]
    except UnreachableError as error:
        return [f"{SOCKET} was not looked at: {error.message}"]
    except CallError as error:
        if error.code != "NoSuchUnit":
            raise
        return [f"{SOCKET} is not installed"]
