# SPDX-License-Identifier: Apache-2.0
"""The bus may die and come back; the daemon goes on and is there again."""

from __future__ import annotations

import asyncio

import pytest

from schedcpd.bus.service import BusNameTakenError, BusService
from tests.bus.client import NAME, Client
from tests.bus.conftest import quick_authority
from tests.bus.fake_control import FakeControl, view
from tests.bus.private_bus import PrivateBus


async def until(service: BusService, connected: bool) -> None:
    async with asyncio.timeout(10):
        while service.connected is not connected:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


async def test_comes_back_after_the_bus_restarts(
    bus: PrivateBus, control: FakeControl, service: BusService
) -> None:
    for number in range(3):
        bus.stop()
        await until(service, False)
        control.add(view(300 + number, f"born{number}.service"))  # while nobody listens
        bus.start()
        await until(service, True)
        async with Client(bus.address) as client:
            assert (await client.properties())["Workloads"] == 3 + number
            assert await client.call("FindWorkload", "s", f"born{number}")
            control.set_status(reason=f"round {number}")
            changed = await client.signal("PropertiesChanged")
            assert changed.body[1]["StateReason"].value == f"round {number}"


async def test_starts_without_a_bus_and_finds_it_later(
    bus: PrivateBus, control: FakeControl
) -> None:
    bus.stop()
    service = BusService(
        control, bus_address=bus.address, authorizer=quick_authority, retry_max_s=0.2
    )
    await service.start()
    try:
        assert not service.connected
        bus.start()
        await until(service, True)
        async with Client(bus.address) as client:
            assert (await client.properties())["State"] == "active"
    finally:
        await service.stop()


async def test_second_daemon_is_refused_and_leaves_the_first_alone(
    bus: PrivateBus, service: BusService, client: Client
) -> None:
    other = FakeControl()
    second = BusService(other, bus_address=bus.address)
    with pytest.raises(BusNameTakenError):
        await second.start()
    assert other.observers == []
    assert (await client.properties())["Workloads"] == 2


async def test_name_is_free_after_stop(bus: PrivateBus, control: FakeControl) -> None:
    for _ in range(2):
        service = BusService(control, bus_address=bus.address)
        await service.start()
        await service.stop()
    async with Client(bus.address) as client:
        (owned,) = await client.connection.ask(
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
            "NameHasOwner",
            "s",
            [NAME],
        )
    assert owned is False
