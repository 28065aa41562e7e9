# SPDX-License-Identifier: Apache-2.0
"""One private bus with a mock polkit for each test; nothing touches the machine's own bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from schedcpd.bus.polkit import Authority
from schedcpd.bus.service import BusService
from schedcpd.host.dbus import Connection
from tests.bus.cli import Schedctl
from tests.bus.client import Client
from tests.bus.fake_control import FakeControl
from tests.bus.mock_systemd import MockSystemd
from tests.bus.private_bus import MockPolkit, PrivateBus


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[PrivateBus]:
    private = PrivateBus(tmp_path)
    private.start()
    yield private
    private.stop()


@pytest.fixture
async def polkit(bus: PrivateBus, tmp_path: Path) -> AsyncIterator[MockPolkit]:
    """A polkit that says no until a test tells it otherwise."""
    mock = MockPolkit(bus, tmp_path / "polkit.log")
    mock.start()
    await mock.wait()
    yield mock
    mock.stop()


@pytest.fixture
def control() -> FakeControl:
    return FakeControl("nginx.service", "build.service")


def quick_authority(connection: Connection) -> Authority:
    return Authority(connection, timeout_s=3.0, interactive_timeout_s=6.0)


@pytest.fixture
async def service(bus: PrivateBus, control: FakeControl) -> AsyncIterator[BusService]:
    running = BusService(
        control, bus_address=bus.address, authorizer=quick_authority, retry_max_s=0.2
    )
    await running.start()
    assert running.connected
    yield running
    await running.stop()


@pytest.fixture
async def client(bus: PrivateBus, service: BusService) -> AsyncIterator[Client]:
    async with Client(bus.address) as connected:
        yield connected


@pytest.fixture
def ctl(bus: PrivateBus) -> Schedctl:
    return Schedctl(bus.address)


@pytest.fixture
async def systemd(bus: PrivateBus) -> AsyncIterator[MockSystemd]:
    mock = MockSystemd(bus)
    await mock.start()
    yield mock
    await mock.stop()
