# SPDX-License-Identifier: Apache-2.0
"""python -m schedcpd.verify.service: listens on the socket that systemd passes.

--listen PATH binds a socket of its own instead, for a terminal and for tests.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from schedcpd import __version__
from schedcpd.errors import BusyError, InvalidArgumentError, SchedcpError
from schedcpd.host.activation import bound_socket, passed_socket
from schedcpd.host.jsonline import Json, JsonLineServer, Method, root_or_self
from schedcpd.verify.child import Children
from schedcpd.verify.door import PROTOCOL, Workshop
from schedcpd.verify.requests import file_name

IDLE_EXIT_S = 30.0
_logger = logging.getLogger("schedcp-verify")


class Service:
    """The methods of docs/contracts.md. One examination and one verdict at a time.

    `idle` returns when nobody has been connected for `idle_exit_s`.
    """

    def __init__(self, workshop: Workshop, *, idle_exit_s: float = IDLE_EXIT_S) -> None:
        self._workshop = workshop
        self._idle_exit_s = idle_exit_s
        self._busy = {"examine": asyncio.Lock(), "make": asyncio.Lock()}
        self._left = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        methods = {
            "hello": Method(self._hello),
            "examine": Method(self._examine, frozenset({"tag", "name", "text", "run"})),
            "available": Method(self._available, frozenset({"release"})),
            "make": Method(self._make, frozenset({"object", "tunables", "release"})),
        }
        self.server = JsonLineServer(
            methods, allow=root_or_self, on_idle_change=self._connected, end_with_peer=True
        )

    async def serve(self, listen: socket.socket) -> None:
        """Until cancelled, or until nobody has been there for a while."""
        await self.server.start(listen)
        self._connected(0)
        try:
            await self._left.wait()
        finally:
            await self.server.close()

    def _connected(self, count: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if count == 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._idle_exit_s, self._left.set)

    async def _hello(self, _params: Json) -> Json:
        return {"version": __version__, "protocol": PROTOCOL}

    async def _examine(self, params: Json) -> Json:
        tag, run = _of("tag", params, int), _of("run", params, bool)
        name, text = file_name(_of("name", params, str)), _of("text", params, str)

        def began(check: str) -> None:
            self.server.broadcast("began", {"tag": tag, "check": check})

        async with self._alone("examine"):
            result = await self._workshop.examine(name, text, run=run, began=began)
        return {"result": result}

    async def _available(self, params: Json) -> Json:
        return {"why_not": await self._workshop.available(_of("release", params, str))}

    async def _make(self, params: Json) -> Json:
        object_path, tunables = _of("object", params, str), _of("tunables", params, Mapping)
        release = _of("release", params, str)
        async with self._alone("make"):
            return {"verdict": await self._workshop.make(object_path, tunables, release)}

    @contextlib.asynccontextmanager
    async def _alone(self, what: str) -> AsyncIterator[None]:
        if self._busy[what].locked():
            raise BusyError(f"another {what} is under way", hint="try again in a minute")
        async with self._busy[what]:
            yield


def _of(name: str, params: Json, kind: type[Any]) -> Any:
    value = params[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidArgumentError(f"{name}: expected {kind.__name__}")
    return value


async def _serve(listen: socket.socket) -> None:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await Service(Children()).serve(listen)


def main() -> int:
    parser = argparse.ArgumentParser(prog="verify-service", description=__doc__)
    parser.add_argument("--listen", type=Path, metavar="PATH", help="bind this unix socket")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if args.listen:
            listen = bound_socket(args.listen)
        else:
            listen = passed_socket("schedcp-verify.socket", "--listen")
        asyncio.run(_serve(listen))
    except (SchedcpError, OSError) as error:
        _logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
