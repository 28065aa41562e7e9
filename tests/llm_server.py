# SPDX-License-Identifier: Apache-2.0
"""A model server that speaks OpenAI's chat protocol on loopback and does what a script says.

Each behaviour is a coroutine that gets the request and the raw stream, so it can break the
protocol as well as keep it. `LlmServer.behaviour` answers every request until it is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

GOOD = {"intent_class": "batch", "confidence": 0.9, "reason": "it compiles"}


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def reply(content: object, *, usage: dict[str, Any] | None = None) -> bytes:
    """A chat completion whose message is `content` (JSON unless it is text or None)."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
    }
    if usage is not None:
        body["usage"] = usage
    return json.dumps(body).encode()


USAGE = {"prompt_tokens": 400, "completion_tokens": 30, "total_tokens": 430}


def http(
    body: bytes, *, status: str = "200 OK", extra: str = "", length: int | None = None
) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n"
    return f"{head}{extra}Connection: close\r\n\r\n".encode() + body


def says(content: object, usage: dict[str, Any] | None = USAGE) -> Behaviour:
    return sends(http(reply(content, usage=usage)))


def sends(raw: bytes) -> Behaviour:
    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return behave


def after(seconds: float, then: Behaviour) -> Behaviour:
    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await then(request, writer)

    return behave


def trickle(raw: bytes, *, every_s: float) -> Behaviour:
    """One byte at a time: no single read ever waits long."""

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        for byte in raw:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(every_s)

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One after the other; the last one again and again."""
    left = list(behaviours)

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return behave


async def never(_request: Request, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def hang_up(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def obey(request: Request, writer: asyncio.StreamWriter) -> None:
    """The worst model there is: it answers the class that the workload's own name asks for."""
    content = request.body["messages"][-1]["content"]
    data = json.loads(content.split("<workload_data>")[1].split("</workload_data>")[0])
    name = str(data.get("name"))
    asked = next((c for c in ("latency", "interactive") if c in name), name)
    await says({"intent_class": asked, "confidence": 1.0, "reason": name})(request, writer)


async def endless(_request: Request, writer: asyncio.StreamWriter) -> None:
    """A body that never ends, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


class LlmServer:
    """Serves on `listen`, a bound socket that outlives the server, or on a free port."""

    def __init__(self, listen: socket.socket | None = None) -> None:
        self._listen = listen.dup() if listen is not None else bound()
        self.behaviour: Behaviour = says(GOOD)
        self.requests: list[Request] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listen.getsockname()[1]}/v1"

    async def __aenter__(self) -> LlmServer:
        self._server = await asyncio.start_server(self._client, sock=self._listen)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            lines = (line.partition(":") for line in head[1:] if line)
            headers = {k.lower(): v.strip() for k, _, v in lines}
            body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))))
            request = Request(head[0].split()[1], headers, body)
            self.requests.append(request)
            await self.behaviour(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(ConnectionError):
                writer.close()


def bound() -> socket.socket:
    """A socket on a free port of loopback, listening already."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock
