# SPDX-License-Identifier: Apache-2.0
"""The daemon as its clients see it: typed calls over D-Bus, errors as one tree."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from dbus_next import DBusError, Variant

from schedcpd.errors import SchedcpError
from schedcpd.host.dbus import BusUnreachableError, Connection
from schedctl.exits import CallError, UnreachableError
from schedctl.password import password_agent

NAME = "org.schedcp.SchedCP1"
ROOT = "/org/schedcp/SchedCP1"
WORKLOAD = NAME + ".Workload"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
ERROR_PREFIX = NAME + ".Error."

READ_TIMEOUT_S = 25.0
PASSWORD_TIMEOUT_S = 130.0
SWAP_TIMEOUT_S = PASSWORD_TIMEOUT_S + 600.0  # and an external scheduler's longest start
MAX_REPLY = 64 * 1024 * 1024

SERVICE = "schedcpd"
START_HINT = "start it: systemctl start schedcpd"
_GONE = frozenset(
    f"org.freedesktop.DBus.Error.{name}"
    for name in ("ServiceUnknown", "NameHasNoOwner", "NoReply", "Disconnected", "NoServer")
)
_DENIED = frozenset(
    f"org.freedesktop.DBus.Error.{name}"
    for name in ("AccessDenied", "AuthFailed", "InteractiveAuthorizationRequired")
)


def snake(name: str) -> str:
    """`StateReason` as `state_reason`: how properties are called in JSON."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def plain(properties: Mapping[str, Variant]) -> dict[str, Any]:
    """Properties as JSON has them."""
    return {snake(name): value.value for name, value in properties.items()}


def translate(error: Exception, who: str) -> SchedcpError:
    """Errors of the bus as those of schedctl; `who` is the peer, for the sentence."""
    if isinstance(error, DBusError):
        if error.type.startswith(ERROR_PREFIX):
            body = error.reply.body if error.reply is not None else []
            hint = body[1] if len(body) > 1 and isinstance(body[1], str) else ""
            return CallError(error.type[len(ERROR_PREFIX) :], error.text, hint=hint)
        if error.type in _GONE:
            hint = START_HINT if who == SERVICE else ""
            return UnreachableError(f"{who} does not run or does not answer", hint=hint)
        if error.type in _DENIED:
            return CallError("AccessDenied", f"{who}: {error.text}", hint="run it as root")
        return CallError(error.type.rsplit(".", 1)[-1], f"{who}: {error.text}")
    if isinstance(error, TimeoutError):
        hint = f"see: systemctl status {who}" if who == SERVICE else ""
        return UnreachableError(f"{who} did not answer in time", hint=hint)
    if isinstance(error, BusUnreachableError):
        return UnreachableError(error.message, hint=error.hint)
    raise error


@asynccontextmanager
async def connect(address: str | None) -> AsyncIterator[Connection]:
    """A connection to the bus. UnreachableError when there is none."""
    try:
        connection = Connection(address, max_incoming=MAX_REPLY)
        await connection.open()
    except BusUnreachableError as error:
        raise translate(error, "the message bus") from error
    try:
        yield connection
    finally:
        connection.close()


class Daemon:
    """Calls of org.schedcp.SchedCP1. Every method raises SchedcpErrors only.

    `ask_password` lets polkit ask the person for a password where a change needs it.
    """

    def __init__(self, connection: Connection, *, ask_password: bool) -> None:
        self._connection = connection
        self._ask_password = ask_password

    async def _call(
        self,
        member: str,
        signature: str = "",
        *body: Any,
        interface: str = NAME,
        path: str = ROOT,
        change: bool = False,
        timeout_s: float | None = None,
    ) -> Any:
        interactive = change and self._ask_password
        try:
            reply = await self._connection.ask(
                NAME,
                path,
                interface,
                member,
                signature,
                list(body),
                interactive=interactive,
                timeout_s=timeout_s or (PASSWORD_TIMEOUT_S if interactive else READ_TIMEOUT_S),
            )
        except (DBusError, TimeoutError, BusUnreachableError) as error:
            raise translate(error, SERVICE) from error
        return reply[0] if reply else None

    async def status(self) -> dict[str, Any]:
        return plain(await self._call("GetAll", "s", NAME, interface=PROPERTIES))

    async def workloads(self) -> dict[str, dict[str, Any]]:
        """Object path -> properties."""
        managed = await self._call("GetManagedObjects", interface=OBJECT_MANAGER)
        return {path: plain(interfaces[WORKLOAD]) for path, interfaces in managed.items()}

    async def workload(self, target: str) -> dict[str, Any]:
        path = await self._call("FindWorkload", "s", target)
        return await self._properties(path)

    async def _properties(self, path: str) -> dict[str, Any]:
        return plain(await self._call("GetAll", "s", WORKLOAD, interface=PROPERTIES, path=path))

    async def pins(self) -> dict[str, str]:
        return dict(await self._call("ListPins"))

    async def pin(self, target: str, intent: str) -> dict[str, Any]:
        """The workload after the change."""
        return await self._properties(await self._call("Pin", "ss", target, intent, change=True))

    async def unpin(self, target: str) -> None:
        await self._call("Unpin", "s", target, change=True)

    async def apply(self, policy: str) -> None:
        await self._call("Apply", "s", policy, change=True, timeout_s=SWAP_TIMEOUT_S)

    async def rollback(self, reason: str) -> None:
        await self._call("Rollback", "s", reason, change=True, timeout_s=SWAP_TIMEOUT_S)

    async def kill(self, reason: str, *, timeout_s: float | None) -> None:
        await self._call("Kill", "s", reason, change=True, timeout_s=timeout_s)

    async def resume(self) -> None:
        await self._call("Resume", change=True)

    async def reload(self) -> None:
        await self._call("Reload", change=True)

    async def explain(self, target: str) -> Any:
        return self._document(await self._call("Explain", "s", target), "explain")

    async def history(self, limit: int, kind: str, subject: str) -> Any:
        return self._document(await self._call("History", "uss", limit, kind, subject), "records")

    async def verify(self, name: str, text: str, *, run: bool) -> str:
        """Begins an examination; its id."""
        return str(await self._call("Verify", "ssb", name, text, run, change=True))

    async def verification(self, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = self._document(
            await self._call("Verification", "s", id_), "verification"
        )
        return found

    async def policies(self) -> Any:
        return self._document(await self._call("ListPolicies"), "policies")

    async def show_policy(self, name: str) -> Any:
        return self._document(await self._call("ShowPolicy", "s", name), "policy")

    async def search_policies(
        self, words: str, *, intent: str = "", workload: str = "", here: bool = False, limit: int
    ) -> Any:
        body = (words, intent, workload, here, limit)
        return self._document(await self._call("SearchPolicies", "sssbu", *body), "found")

    async def policy_history(self, name: str, limit: int) -> Any:
        return self._document(await self._call("PolicyHistory", "su", name, limit), "history")

    async def promote_policy(self, name: str, reason: str) -> Any:
        reply = await self._call("PromotePolicy", "ss", name, reason, change=True)
        return self._document(reply, "policy")

    async def retire_policy(self, name: str, reason: str) -> Any:
        reply = await self._call("RetirePolicy", "ss", name, reason, change=True)
        return self._document(reply, "policy")

    def _document(self, text: str, name: str) -> Any:
        try:
            content = json.loads(text)
            if content["version"] != 1:
                raise CallError(
                    "Failed",
                    f"schedcpd answers in version {content['version']} of its documents",
                    hint="schedctl and schedcpd are of different versions; restart schedcpd",
                )
            return content[name]
        except (ValueError, KeyError, TypeError) as error:
            raise CallError("Failed", f"schedcpd's answer cannot be read: {error}") from error


@asynccontextmanager
async def daemon(
    address: str | None, *, ask_password: bool, changes: bool = True
) -> AsyncIterator[Daemon]:
    """The daemon on a connection of its own; `changes` says that something will be changed."""
    async with connect(address) as connection, password_agent(ask_password and changes):
        yield Daemon(connection, ask_password=ask_password)
