# SPDX-License-Identifier: Apache-2.0
"""Stops and starts the scheduler host's units through systemd, for when schedcpd cannot.

Closing the scheduler host's struct_ops link returns every task to the kernel's own scheduler, so
stopping its unit is a kill switch that needs nothing but systemd. Interface:
org.freedesktop.systemd1 (org.freedesktop.systemd1(5)); polkit decides there too.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from dbus_next import DBusError

from schedcpd.host import process
from schedcpd.host.dbus import BusUnreachableError, Connection
from schedctl.client import PASSWORD_TIMEOUT_S, PROPERTIES, connect, translate
from schedctl.exits import CallError, UnreachableError
from schedctl.password import password_agent

SOCKET = "schedcp-scheduler.socket"
SERVICE = "schedcp-scheduler.service"

NAME = "org.freedesktop.systemd1"
ROOT = "/org/freedesktop/systemd1"
MANAGER = NAME + ".Manager"
UNIT = NAME + ".Unit"

STOP_TIMEOUT_S = 20.0
_RUNNING = frozenset({"active", "activating", "deactivating", "reloading"})


class Systemd:
    """The few calls of systemd's manager that are needed. SchedcpErrors only."""

    def __init__(self, connection: Connection, *, ask_password: bool) -> None:
        self._connection = connection
        self._ask_password = ask_password

    async def _call(
        self, path: str, interface: str, member: str, signature: str, *body: Any
    ) -> Any:
        reply = await self._connection.ask(
            NAME,
            path,
            interface,
            member,
            signature,
            list(body),
            interactive=self._ask_password,
            timeout_s=PASSWORD_TIMEOUT_S,
        )
        return reply[0] if reply else None

    async def state(self, unit: str) -> str:
        """ActiveState of the unit; "inactive" for one that systemd does not know."""
        try:
            path = await self._call(ROOT, MANAGER, "LoadUnit", "s", unit)
            value = await self._call(path, PROPERTIES, "Get", "ss", UNIT, "ActiveState")
        except (DBusError, TimeoutError, BusUnreachableError) as error:
            if isinstance(error, DBusError) and error.type.endswith(".NoSuchUnit"):
                return "inactive"
            raise translate(error, "systemd") from error
        return str(value.value)

    async def stop(self, unit: str) -> None:
        """Returns when the unit has stopped; one that is not loaded has."""
        await self._job("StopUnit", unit)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                while await self.state(unit) in _RUNNING:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise CallError(
                "Failed",
                f"{unit} did not stop within {STOP_TIMEOUT_S:g} s",
                hint="SysRq-S (echo S > /proc/sysrq-trigger) makes the kernel end the scheduler",
            ) from error

    async def start(self, unit: str) -> None:
        await self._job("StartUnit", unit)

    async def _job(self, member: str, unit: str) -> None:
        try:
            await self._call(ROOT, MANAGER, member, "ss", unit, "replace")
        except (DBusError, TimeoutError, BusUnreachableError) as error:
            known = not (isinstance(error, DBusError) and error.type.endswith(".NoSuchUnit"))
            if known or member == "StartUnit":
                raise translate(error, "systemd") from error


async def stop_scheduler(address: str | None, *, ask_password: bool) -> None:
    """Stops socket, then service. Without a message bus, root asks systemd directly."""
    try:
        async with connect(address) as connection, password_agent(ask_password):
            systemd = Systemd(connection, ask_password=ask_password)
            for unit in (SOCKET, SERVICE):
                await systemd.stop(unit)
    except UnreachableError as error:
        if os.geteuid() != 0:
            raise
        await _stop_without_bus(error)


async def _stop_without_bus(why: UnreachableError) -> None:
    """systemctl reaches systemd over its private socket, which only root may."""
    try:
        result = await process.run(["systemctl", "stop", SOCKET, SERVICE], timeout_s=60)
    except process.ProcessError as error:
        raise UnreachableError(f"{why.message}, and {error.message}", hint=error.hint) from error
    if result.exit_code != 0:
        said = result.stderr.decode("utf-8", "replace").strip()
        raise UnreachableError(
            f"{why.message}, and systemctl could not stop {SERVICE}: {said or result.exit_code}",
            hint="SysRq-S (echo S > /proc/sysrq-trigger) makes the kernel end the scheduler",
        )
