# SPDX-License-Identifier: Apache-2.0
"""python -m schedcpd.deploy.scheduler_host: listens on the socket that systemd passes.

--listen PATH binds a socket of its own instead, for a terminal and for tests.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from schedcpd.deploy.scheduler_host.service import SchedulerHost
from schedcpd.deploy.token import TokenVerifier
from schedcpd.deploy.token_key import KEY_PATH
from schedcpd.errors import SchedcpError
from schedcpd.host.activation import bound_socket, passed_socket
from schedcpd.host.jsonline import Json, JsonLineServer
from schedcpd.host.kernel import read_kernel_build
from schedcpd.host.scx import SysScx
from schedcpd.host.sdnotify import Notifier

IDLE_EXIT_S = 10.0
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # mlockall(2)
_logger = logging.getLogger("schedcp-scheduler")


def lock_memory() -> None:
    """Keeps what we touched in memory, so that we can act when the machine is short of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        reason = os.strerror(ctypes.get_errno())
        _logger.warning("cannot lock memory: %s", reason)


class _Life:
    """Ends the process on SIGTERM, or when there is nothing left to do."""

    def __init__(self, *, idle_exit: bool) -> None:
        self.over = asyncio.Event()
        self._idle_exit = idle_exit
        self._timer: asyncio.TimerHandle | None = None
        self.host: SchedulerHost
        self.server: JsonLineServer

    def changed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._idle_exit and self._idle:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(IDLE_EXIT_S, self._maybe_over)

    @property
    def _idle(self) -> bool:
        return not (self.host.attached or self.host.busy or self.server.connections)

    def _maybe_over(self) -> None:
        if self._idle:
            self.over.set()


async def serve(listen: socket.socket, key: Path, nonces: Path, *, idle_exit: bool) -> None:
    """Until SIGTERM or, with `idle_exit`, ten seconds after scheduler and connections went."""
    life = _Life(idle_exit=idle_exit)

    def broadcast(event: str, data: Json) -> None:
        life.server.broadcast(event, data)

    life.host = SchedulerHost(
        scx=SysScx(),
        kernel=read_kernel_build(),
        open_verifier=lambda: TokenVerifier.open(key, nonces),
        broadcast=broadcast,
        on_idle=life.changed,
    )
    life.server = JsonLineServer(
        life.host.methods, on_idle_change=lambda _connections: life.changed()
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, life.over.set)
    await life.server.start(listen)
    notify = Notifier()
    notify.ready("no scheduler attached")
    life.changed()
    try:
        await life.over.wait()
    finally:
        notify.stopping()
        await life.host.end()
        await life.server.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scheduler-host", description=__doc__)
    parser.add_argument("--listen", type=Path, metavar="PATH", help="bind this unix socket")
    parser.add_argument("--key", type=Path, default=KEY_PATH, metavar="PATH")
    parser.add_argument("--nonces", type=Path, default=Path("/run/schedcp/nonces"), metavar="DIR")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if args.listen:
            listen = bound_socket(args.listen)
        else:
            listen = passed_socket("schedcp-scheduler.socket", "--listen")
        lock_memory()
        asyncio.run(serve(listen, args.key, args.nonces, idle_exit=not args.listen))
    except (SchedcpError, OSError) as e:
        _logger.error("%s", e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
