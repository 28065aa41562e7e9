# SPDX-License-Identifier: Apache-2.0
"""A caller that knows nothing but D-Bus."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from dbus_next import DBusError, Message, MessageType

from schedcpd.host.dbus import Connection

NAME = "org.schedcp.SchedCP1"
ROOT = "/org/schedcp/SchedCP1"
WORKLOAD = NAME + ".Workload"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"


class Client:
    """Calls methods and collects the signals of schedcp."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.signals: asyncio.Queue[Message] = asyncio.Queue()
        self.connection: Connection

    async def __aenter__(self) -> Self:
        self.connection = Connection(self._address, max_incoming=64 * 1024 * 1024)
        self.connection.add_message_handler(self._collect)
        await self.connection.open()
        await self.connection.ask(
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
            "AddMatch",
            "s",
            [f"type='signal',path_namespace='{ROOT}'"],
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.connection.close()

    def _collect(self, message: Message) -> bool:
        if message.message_type is MessageType.SIGNAL and (message.path or "").startswith(ROOT):
            self.signals.put_nowait(message)
        return False

    async def call(
        self,
        member: str,
        signature: str = "",
        *body: Any,
        path: str = ROOT,
        interface: str = NAME,
        **options: Any,
    ) -> Any:
        """The reply's body; its only value when there is one."""
        reply = await self.connection.ask(
            NAME, path, interface, member, signature, list(body), **options
        )
        return reply[0] if len(reply) == 1 else reply

    async def error(
        self, member: str, signature: str = "", *body: Any, **options: Any
    ) -> DBusError:
        """The error the call ends with."""
        try:
            reply = await self.call(member, signature, *body, **options)
        except DBusError as error:
            return error
        raise AssertionError(f"{member}{body} answered {reply!r} instead of failing")

    async def properties(self, path: str = ROOT, interface: str = NAME) -> dict[str, Any]:
        values = await self.call("GetAll", "s", interface, path=path, interface=PROPERTIES)
        return {name: value.value for name, value in values.items()}

    async def signal(self, member: str) -> Message:
        """The next signal of that name, within 20 s; others before it are dropped."""
        async with asyncio.timeout(20):
            while True:
                message = await self.signals.get()
                if message.member == member:
                    return message

    async def quiet(self) -> list[str]:
        """Names of the signals that came until now, after one round trip to the service."""
        await self.call("Ping", interface="org.freedesktop.DBus.Peer")
        return [self.signals.get_nowait().member for _ in range(self.signals.qsize())]

    async def send_raw(self, message: Message) -> Message | None:
        reply = await self.connection.call(message)
        assert reply is None or isinstance(reply, Message)
        return reply
