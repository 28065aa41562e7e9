# SPDX-License-Identifier: Apache-2.0
"""Both ends of the channel, over a socket pair: the guest's agent runs in a process of its own."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from schedcpd.host import process
from schedcpd.microvm.channel import Call, ChannelClosedError, GuestChannel
from schedcpd.microvm.guest import agent

RUN_AGENT = (
    "import sys, os; from schedcpd.microvm.guest.agent import Agent; "
    "fd = int(sys.argv[1]); os.set_blocking(fd, False); Agent(fd).loop()"
)


@pytest.fixture
async def channel() -> AsyncIterator[GuestChannel]:
    ours, theirs = socket.socketpair()
    with theirs:
        child = await process.start(
            [sys.executable, "-c", RUN_AGENT, str(theirs.fileno())],
            env={"PYTHONPATH": ":".join(sys.path)},
            pass_fds=[theirs.fileno()],
        )
    over = await GuestChannel.over(ours)
    await asyncio.wait_for(over.hello, 30)
    yield over
    await over.close()
    await process.stop(child, grace_s=0)


async def execute(
    channel: GuestChannel, argv: list[str], stdin: bytes | None = None, cap: int = 1 << 24
) -> tuple[Call, dict[str, object]]:
    call, feeder = await channel.execute(
        argv, env={"PATH": "/usr/bin:/bin"}, cwd="/", stdin=stdin, tee=None, output_cap=cap
    )
    ended = await asyncio.wait_for(call.ended, 30)
    feeder.cancel()
    await asyncio.gather(feeder, return_exceptions=True)
    return call, ended


async def test_exit_code_and_both_streams(channel: GuestChannel) -> None:
    call, ended = await execute(channel, ["sh", "-c", "echo o; echo e >&2; exit 4"])
    assert (bytes(call.stdout), bytes(call.stderr), ended["code"]) == (b"o\n", b"e\n", 4)


async def test_much_goes_both_ways_at_once(channel: GuestChannel) -> None:
    data = bytes(range(256)) * 20_000
    call, ended = await execute(channel, ["cat"], stdin=data)
    assert ended["code"] == 0 and bytes(call.stdout) == data


async def test_a_command_that_does_not_read_its_stdin(channel: GuestChannel) -> None:
    _, ended = await execute(channel, ["true"], stdin=bytes(4 * agent.STDIN_WINDOW))
    assert ended["code"] == 0
    await asyncio.wait_for(channel.ping(), 10)


async def test_what_cannot_be_started_is_an_error(channel: GuestChannel) -> None:
    _, ended = await execute(channel, ["/nowhere/program"])
    assert "/nowhere/program" in str(ended["error"])


async def test_kill_ends_the_whole_group(channel: GuestChannel) -> None:
    call, feeder = await channel.execute(
        ["sh", "-c", "sleep 100 | sleep 100"],
        env={"PATH": "/usr/bin:/bin"}, cwd="/", stdin=None, tee=None, output_cap=10,
    )  # fmt: skip
    await channel.ping()
    channel.kill(call)
    ended = await asyncio.wait_for(call.ended, 10)
    await feeder
    assert ended["code"] == -9


async def test_everybody_learns_that_the_other_end_is_gone() -> None:
    ours, theirs = socket.socketpair()
    channel = await GuestChannel.over(ours)
    call, feeder = await channel.execute(
        ["x"], env={}, cwd="/", stdin=None, tee=None, output_cap=10
    )
    ping = asyncio.create_task(channel.ping())
    await asyncio.sleep(0)
    theirs.close()
    for waiting in (call.ended, ping, channel.hello):
        with pytest.raises(ChannelClosedError):
            await asyncio.wait_for(waiting, 10)
    with pytest.raises(ChannelClosedError):
        await channel.ping()
    await feeder
    await channel.close()


@pytest.mark.parametrize(
    "noise",
    [
        b"\x11\x00\x00\x00\x01\xff\xff\xff\xff",  # a frame of 4 GiB
        agent.HEADER.pack(agent.HELLO, 0, 3) + b"{!}",  # not JSON
    ],
)
async def test_a_guest_that_talks_nonsense_is_hung_up_on(noise: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = await GuestChannel.over(ours)
        theirs.sendall(noise)
        with pytest.raises(ChannelClosedError):
            await asyncio.wait_for(channel.hello, 10)
        await channel.close()
