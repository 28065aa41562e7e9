# SPDX-License-Identifier: Apache-2.0
"""The listening socket of a service: the one that systemd passed, or one bound by hand."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from schedcpd.errors import SchedcpError

_LISTEN_FDS_START = 3  # sd_listen_fds(3)
_BACKLOG = 8


def passed_socket(unit: str, option: str) -> socket.socket:
    """The one socket that systemd passed. SchedcpError names `unit` and the `option` for a path.

    Programs that this one starts find neither the descriptor nor the variables.
    """
    passed = os.environ.get("LISTEN_PID") == str(os.getpid())
    count = os.environ.get("LISTEN_FDS", "0") if passed else "0"
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    if count != "1":
        raise SchedcpError(
            f"systemd passed {count} sockets, one is needed", hint=f"start {unit}, or use {option}"
        )
    os.set_inheritable(_LISTEN_FDS_START, False)
    found = socket.socket(fileno=_LISTEN_FDS_START)
    if found.family != socket.AF_UNIX or found.type != socket.SOCK_STREAM:
        raise SchedcpError(f"what {unit} passed is not a unix stream socket")
    found.setblocking(False)
    return found


def bound_socket(path: Path) -> socket.socket:
    """A new one at `path`, instead of what is there; only this user may connect. OSError."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    made = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    finally:
        os.umask(before)
    made.listen(_BACKLOG)
    made.setblocking(False)
    return made
