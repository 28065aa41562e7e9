# SPDX-License-Identifier: Apache-2.0
"""The host's end of the guest agent (`guest/agent.py` has the protocol)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schedcpd.errors import MicroVmError
from schedcpd.microvm.guest import agent

Tee = Callable[[bytes], None]


class ChannelClosedError(MicroVmError):
    """QEMU closed the port: the machine is gone."""


class Call:
    """One command under way: what it has said so far, and how it ended."""

    def __init__(self, channel: int, tee: Tee | None, output_cap: int) -> None:
        self.channel, self.tee, self.output_cap = channel, tee, output_cap
        self.stdout, self.stderr = bytearray(), bytearray()
        self.truncated = False
        self.ended: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.unacked = 0
        self.room = asyncio.Event()
        self.room.set()

    def add(self, kind: int, data: bytes) -> None:
        if self.tee is not None:
            self.tee(data)
        kept = self.stdout if kind == agent.STDOUT else self.stderr
        room = max(0, self.output_cap - len(kept))
        self.truncated |= len(data) > room
        kept += data[:room]

    def acked(self, count: int) -> None:
        self.unacked -= count
        if self.unacked < agent.STDIN_WINDOW:
            self.room.set()


class GuestChannel:
    """Frames over one connected socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._calls: dict[int, Call] = {}
        self._pongs: dict[int, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self.hello: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._closed = False
        self._pump = asyncio.create_task(self._read(), name="microvm-channel")

    @classmethod
    async def over(cls, sock: socket.socket) -> GuestChannel:
        reader, writer = await asyncio.open_connection(sock=sock)
        return cls(reader, writer)

    async def close(self) -> None:
        self._pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump
        self._fail()
        self._writer.close()

    async def execute(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stdin: bytes | None,
        tee: Tee | None,
        output_cap: int,
    ) -> tuple[Call, asyncio.Task[None]]:
        """Starts a command. The task feeds stdin; cancel it when the call is over."""
        call = Call(next(self._numbers), tee, output_cap)
        self._calls[call.channel] = call
        spec = {"argv": list(argv), "env": dict(env), "cwd": cwd, "stdin": stdin is not None}
        self._send(agent.EXEC, call.channel, json.dumps(spec).encode())
        return call, asyncio.create_task(self._feed(call, stdin), name="microvm-stdin")

    def kill(self, call: Call) -> None:
        """SIGKILL to the command's process group."""
        self._send(agent.KILL, call.channel)

    def forget(self, call: Call) -> None:
        self._calls.pop(call.channel, None)

    async def ping(self) -> None:
        """Returns when the agent answered."""
        await self._answered(agent.PING, b"")

    async def resumed(self) -> None:
        """Tells a resumed guest the time of day and gives it entropy of its own."""
        news = {"unix_s": time.time(), "seed": os.urandom(32).hex()}
        await self._answered(agent.RESUMED, json.dumps(news).encode())

    async def _answered(self, kind: int, body: bytes) -> None:
        number = next(self._numbers)
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs[number] = pong
        try:
            self._send(kind, number, body)
            await pong
        finally:
            del self._pongs[number]

    def _send(self, kind: int, channel: int, body: bytes = b"") -> None:
        if self._closed:
            raise ChannelClosedError("the guest's port is closed")
        self._writer.write(agent.HEADER.pack(kind, channel, len(body)) + body)

    async def _feed(self, call: Call, data: bytes | None) -> None:
        if data is None:
            return
        view, step = memoryview(data), 32 * 1024
        for start in range(0, len(view), step):
            await call.room.wait()
            chunk = bytes(view[start : start + step])
            call.unacked += len(chunk)
            if call.unacked >= agent.STDIN_WINDOW:
                call.room.clear()
            self._send(agent.STDIN, call.channel, chunk)
            await self._writer.drain()
        self._send(agent.STDIN_EOF, call.channel)

    async def _read(self) -> None:
        try:
            while True:
                header = await self._reader.readexactly(agent.HEADER.size)
                kind, channel, length = agent.HEADER.unpack(header)
                if length > agent.MAX_FRAME:
                    break  # not our agent any more; the guest is not trusted
                self._handle(kind, channel, await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, KeyError, struct.error):
            pass
        self._fail()

    def _handle(self, kind: int, channel: int, body: bytes) -> None:
        call = self._calls.get(channel)
        if kind == agent.HELLO:
            if not self.hello.done():
                self.hello.set_result(json.loads(body))
        elif kind == agent.PONG:
            pong = self._pongs.get(channel)
            if pong is not None and not pong.done():
                pong.set_result(None)
        elif call is None:
            return
        elif kind in (agent.STDOUT, agent.STDERR):
            call.add(kind, body)
        elif kind == agent.ACK:
            call.acked(struct.unpack("!I", body)[0])
        elif kind == agent.EXIT and not call.ended.done():
            call.ended.set_result(json.loads(body))

    def _fail(self) -> None:
        """Everyone who waits learns that the machine is gone."""
        self._closed = True
        waiting: list[asyncio.Future[Any]] = [self.hello, *self._pongs.values()]
        waiting += [call.ended for call in self._calls.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(ChannelClosedError("the guest's port is closed"))
                future.exception()  # seen: nobody may be waiting for this one
