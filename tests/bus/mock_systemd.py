# SPDX-License-Identifier: Apache-2.0
"""The part of org.freedesktop.systemd1 that schedctl uses, on a private bus."""

from __future__ import annotations

from dbus_next import DBusError, PropertyAccess
from dbus_next.aio import MessageBus
from dbus_next.service import ServiceInterface, dbus_property, method

from schedcpd.host.dbus import Connection
from tests.bus.private_bus import PrivateBus

ROOT = "/org/freedesktop/systemd1"


class Unit(ServiceInterface):
    def __init__(self, state: str) -> None:
        super().__init__("org.freedesktop.systemd1.Unit")
        self.state = state
        self.stops_after = 0

    @dbus_property(access=PropertyAccess.READ)
    def ActiveState(self) -> "s":  # type: ignore[name-defined]  # noqa: F821, UP037
        if self.state == "deactivating":
            self.stops_after -= 1
            if self.stops_after <= 0:
                self.state = "inactive"
        return self.state


class Manager(ServiceInterface):
    def __init__(self, units: dict[str, Unit]) -> None:
        super().__init__("org.freedesktop.systemd1.Manager")
        self.units = units
        self.calls: list[tuple[str, str]] = []
        self.denies = False

    def _job(self, what: str, name: str, state: str) -> str:
        if self.denies:
            raise DBusError(
                "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
                "Interactive authentication required.",
            )
        self.calls.append((what, name))
        if name not in self.units:
            raise DBusError("org.freedesktop.systemd1.NoSuchUnit", f"Unit {name} not loaded.")
        self.units[name].state = state
        self.units[name].stops_after = 3
        return f"{ROOT}/job/1"

    @method()
    def StopUnit(self, name: "s", mode: "s") -> "o":  # type: ignore[name-defined]  # noqa: F821, UP037
        return self._job("stop", name, "deactivating")

    @method()
    def StartUnit(self, name: "s", mode: "s") -> "o":  # type: ignore[name-defined]  # noqa: F821, UP037
        return self._job("start", name, "active")

    @method()
    def LoadUnit(self, name: "s") -> "o":  # type: ignore[name-defined]  # noqa: F821, UP037
        if name not in self.units:
            raise DBusError("org.freedesktop.systemd1.NoSuchUnit", f"Unit {name} not found.")
        return unit_path(name)


def unit_path(name: str) -> str:
    return f"{ROOT}/unit/" + name.replace("-", "_2d").replace(".", "_2e")


class MockSystemd:
    """Knows the scheduler host's socket and service, both active at first."""

    def __init__(self, bus: PrivateBus) -> None:
        self._bus = bus
        self.units = {
            "schedcp-scheduler.socket": Unit("active"),
            "schedcp-scheduler.service": Unit("active"),
        }
        self.manager = Manager(self.units)
        self._connection: MessageBus

    async def start(self) -> None:
        self._connection = Connection(self._bus.address)
        await self._connection.open()
        self._connection.export(ROOT, self.manager)
        for name, unit in self.units.items():
            self._connection.export(unit_path(name), unit)
        await self._connection.request_name("org.freedesktop.systemd1")

    async def stop(self) -> None:
        self._connection.close()
