# SPDX-License-Identifier: Apache-2.0
"""What a hostile or careless peer can do to the daemon: little."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time

import pytest
from dbus_next import DBusError, Message, MessageType

from schedcpd.bus import router
from schedcpd.bus.service import BusService
from schedcpd.host.dbus import BusUnreachableError, Connection
from tests.bus.client import NAME, OBJECT_MANAGER, ROOT, Client
from tests.bus.fake_control import FakeControl, view
from tests.bus.private_bus import MockPolkit, PrivateBus


async def test_oversized_call_is_refused_unread(
    client: Client, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    error = await client.error("Pin", "ss", "x" * (16 * 1024 * 1024), "latency")
    assert error.type == "org.freedesktop.DBus.Error.LimitsExceeded"
    assert control.calls == []
    assert (await client.properties())["State"] == "active"


async def test_oversized_array_does_not_hold_up_others(client: Client, bus: PrivateBus) -> None:
    """2 million strings would take dbus-next tens of seconds to decode."""
    async with Client(bus.address) as other:
        many = [""] * 2_000_000
        message = Message(
            destination=NAME,
            path=ROOT,
            interface=NAME,
            member="Reload",
            signature="as",
            body=[many],
        )
        raw = await asyncio.to_thread(message._marshall)
        assert len(raw) > 8_000_000
        body = raw[len(raw) - struct.unpack_from("<I", raw, 4)[0] :]
        small = Message(
            destination=NAME,
            path=ROOT,
            interface=NAME,
            member="Reload",
            signature="as",
            body=[[]],
            serial=other.connection.next_serial(),
        )
        header = bytearray(small._marshall()[:-4])
        struct.pack_into("<I", header, 4, len(body))
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        other.connection._method_return_handlers[small.serial] = lambda reply, _error: (
            answer.set_result(reply)
        )
        await asyncio.get_running_loop().sock_sendall(other.connection._sock, bytes(header) + body)
        began = time.monotonic()
        await client.properties()
        reply = await asyncio.wait_for(answer, 10)
        assert reply.error_name == "org.freedesktop.DBus.Error.LimitsExceeded"
        assert time.monotonic() - began < 5


async def test_oversized_signal_to_us_is_dropped(client: Client) -> None:
    client.connection.send(
        Message(
            destination=NAME,
            path="/x",
            interface="org.example.X",
            member="Boo",
            message_type=MessageType.SIGNAL,
            signature="s",
            body=["x" * 1_000_000],
        )
    )
    assert (await client.properties())["State"] == "active"


async def test_changes_of_one_caller_are_rationed(
    client: Client, control: FakeControl, polkit: MockPolkit, bus: PrivateBus
) -> None:
    await polkit.allow_all()
    refused = 0
    for _ in range(int(router.CHANGES.burst) + 10):
        try:
            await client.call("Reload")
        except DBusError as error:
            assert error.type == "org.schedcp.SchedCP1.Error.LimitsExceeded"
            refused += 1
    assert refused >= 5
    assert len(control.calls) == int(router.CHANGES.burst) + 10 - refused
    assert (await client.properties())["State"] == "active"
    async with Client(bus.address) as other:
        await other.call("Reload")


async def test_open_calls_of_one_caller_are_bounded(
    client: Client, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.hang(True)
    results = await asyncio.gather(
        *(client.error("Reload") for _ in range(router.MAX_OPEN_CALLS_OF_SENDER + 4))
    )
    kinds = [error.type.rsplit(".", 1)[1] for error in results]
    assert kinds.count("LimitsExceeded") == 4
    assert kinds.count("AccessDenied") == router.MAX_OPEN_CALLS_OF_SENDER
    assert control.calls == []


async def test_flood_of_cheap_calls_leaves_the_loop_free(client: Client, bus: PrivateBus) -> None:
    """While one peer sends as fast as it can, the loop still turns: no gap above 1.5 s."""
    gaps: list[float] = []

    async def beat() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - began)

    ping = Message(
        destination=NAME, path=ROOT, interface="org.freedesktop.DBus.Peer", member="Ping", serial=9
    )._marshall()
    flooder = Client(bus.address)
    async with flooder:
        heart = asyncio.create_task(beat())
        await asyncio.get_running_loop().sock_sendall(flooder.connection._sock, ping * 20_000)
        await client.properties()
        heart.cancel()
    assert max(gaps) < 1.5


async def test_concurrent_changes_all_get_an_answer(
    client: Client, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    intents = ["latency", "batch", "background", "interactive", "normal", "batch"]
    await asyncio.gather(*(client.call("Pin", "ss", "nginx", intent) for intent in intents))
    assert [call[2] for call in control.calls if call[0] == "pin"] == intents
    assert await client.call("ListPins") == {"/system.slice/nginx.service": "batch"}


async def test_workload_that_ends_while_polkit_thinks(
    client: Client, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    await polkit.hang(True)
    pending = asyncio.create_task(
        client.error(
            "Pin", "s", "batch", path=ROOT + "/workloads/100", interface=NAME + ".Workload"
        )
    )
    await asyncio.sleep(0.1)
    control.remove("100")
    await polkit.release()
    error = await pending
    assert error.type.endswith(".NotFound")
    assert control.calls == []


async def test_bus_that_speaks_nonsense_is_unreachable(tmp_path: str) -> None:
    path = os.fspath(tmp_path) + "/bus"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        async def accept_and_hang_up() -> None:
            loop = asyncio.get_running_loop()
            listener.setblocking(False)
            peer, _ = await loop.sock_accept(listener)
            await loop.sock_recv(peer, 64)
            peer.close()

        task = asyncio.create_task(accept_and_hang_up())
        with pytest.raises(BusUnreachableError):
            await Connection(f"unix:path={path}").open(timeout_s=2)
        await task


async def test_no_bus_at_all() -> None:
    with pytest.raises(BusUnreachableError):
        Connection("unix:path=/nonexistent/bus")


async def test_stop_ends_open_calls(
    client: Client, control: FakeControl, polkit: MockPolkit, service: BusService
) -> None:
    await polkit.hang(True)
    pending = asyncio.create_task(client.error("Reload"))
    await asyncio.sleep(0.1)
    await service.stop()
    assert (await pending).type == "org.freedesktop.DBus.Error.NoReply"
    assert control.calls == []
    assert control.observers == []


async def test_a_burst_larger_than_the_socket_arrives_whole(
    client: Client, control: FakeControl, service: BusService
) -> None:
    """As when a container host starts: thousands of signals in one turn of the loop."""
    for number in range(1000, 3000):
        control.add(view(number, f"burst{number}.service"))
    added = [(await client.signal("InterfacesAdded")).body[0] for _ in range(2000)]
    assert added == [f"{ROOT}/workloads/{number}" for number in range(1000, 3000)]
    assert service.connected
    managed = await client.call("GetManagedObjects", interface=OBJECT_MANAGER)
    assert len(managed) == 2002
