# SPDX-License-Identifier: Apache-2.0
"""Newline-delimited JSON over a local socket: client and server of docs/contracts.md.

One object a line, UTF-8, at most `LINE_MAX` bytes a line. Requests of one connection are
answered in order; connections are served side by side. Every refusal has the `code` of an
error in `schedcpd.errors`, and the client raises that same error again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedcpd.errors import AuthorizationError, InvalidArgumentError, SchedcpError

LINE_MAX = 1 << 20
_BACKLOG_MAX = 4 * LINE_MAX  # unsent bytes after which a peer that does not read is dropped

_LOOK_S = 0.5  # how often a request that may take minutes looks whether its peer is there

Json = Mapping[str, Any]
Handler = Callable[[Json], Awaitable[Json]]
EventHandler = Callable[[str, Json], None]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, by SO_PEERCRED (unix(7)): as of connect(), so it cannot change."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Method:
    """One thing a server does. Params outside `required` and `optional` are refused by name."""

    handler: Handler
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


def root_only(peer: Peer) -> None:
    """An `allow` for servers: AuthorizationError unless the peer is uid 0."""
    if peer.uid != 0:
        raise AuthorizationError(f"uid {peer.uid} may not use this socket", hint="only root may")


def root_or_self(peer: Peer) -> None:
    """An `allow` for servers that also run by hand: root, or the user this process runs as."""
    if peer.uid not in (0, os.getuid()):
        raise AuthorizationError(f"uid {peer.uid} may not use this socket", hint="only root may")


def encode_line(value: Json) -> bytes:
    """One line with its newline. InvalidArgumentError when it would be longer than LINE_MAX."""
    try:
        line = json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except (ValueError, TypeError, RecursionError) as e:
        raise InvalidArgumentError(f"not expressible as JSON: {e}") from e
    if len(line) > LINE_MAX:
        raise InvalidArgumentError(
            f"message of {len(line)} bytes, at most {LINE_MAX} are allowed",
            hint="split the request",
        )
    return line


def decode_line(line: bytes) -> dict[str, Any]:
    """The object in one line. InvalidArgumentError for anything that is not one JSON object."""
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise InvalidArgumentError(f"not one JSON object a line: {e}") from e
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"expected a JSON object, got {type(value).__name__}")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def error_to_json(error: SchedcpError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}


def error_from_json(data: object) -> SchedcpError:
    """The error a peer reported; an unknown code becomes a plain SchedcpError with that code."""
    fields = data if isinstance(data, dict) else {}
    code = str(fields.get("code", "Failed"))
    message, hint = str(fields.get("message", data)), str(fields.get("hint", ""))
    for cls in _error_classes(SchedcpError):
        if cls.code == code:
            return cls(message, hint=hint)
    error = SchedcpError(message, hint=hint)
    error.code = code
    return error


def _error_classes(base: type[SchedcpError]) -> list[type[SchedcpError]]:
    found = [base]
    for cls in base.__subclasses__():
        found += _error_classes(cls)
    return found


def peer_of(sock: socket.socket) -> Peer:
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return Peer(*struct.unpack("3i", raw))


class JsonLineServer:
    """Serves `methods` on one listening unix socket, and sends events to everyone connected.

    `allow` is asked once for each connection and raises to refuse it. `on_idle_change` is
    called with the number of connections whenever that number changed. With `end_with_peer` a
    request is cancelled within a second or so of its connection's end; otherwise it is finished.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        allow: Callable[[Peer], None] = root_only,
        on_idle_change: Callable[[int], None] | None = None,
        end_with_peer: bool = False,
    ) -> None:
        self._methods = methods
        self._end_with_peer = end_with_peer
        self._allow = allow
        self._on_idle_change = on_idle_change
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        return len(self._writers)

    async def start(self, listen: socket.socket | Path) -> None:
        """Listens on a bound, non-blocking socket (socket activation), or binds a new path."""
        if isinstance(listen, socket.socket):
            # From 3.13 on, asyncio would unlink the path of a socket that is not its own.
            keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
            self._server = await asyncio.start_unix_server(
                self._connected, sock=listen, limit=LINE_MAX, **keep
            )
        else:
            self._server = await asyncio.start_unix_server(
                self._connected, path=str(listen), limit=LINE_MAX
            )

    async def close(self) -> None:
        """Stops listening, lets nobody finish, drops every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def broadcast(self, event: str, data: Json) -> None:
        """Sends an event to every connection; never waits. A peer that does not read is dropped."""
        line = encode_line({"event": event, "data": data})
        for writer in list(self._writers):
            if writer.transport.get_write_buffer_size() > _BACKLOG_MAX:
                writer.transport.abort()
            else:
                writer.write(line)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the peer left, or the server closes
        except Exception:
            _logger.exception("connection ended by a fault in this program")
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()
            self._idle_changed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self._allow(peer_of(writer.get_extra_info("socket")))
        except SchedcpError as e:
            writer.write(encode_line({"id": None, "error": error_to_json(e)}))
            await _finish(writer)
            return
        self._writers.add(writer)
        self._idle_changed()
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # StreamReader's word for "longer than limit"
                error = InvalidArgumentError(f"line longer than {LINE_MAX} bytes")
                writer.write(encode_line({"id": None, "error": error_to_json(error)}))
                await _finish(writer)
                return
            if not line.endswith(b"\n"):
                return
            answer = self._answer(line)
            writer.write(await (_while_there(answer, reader) if self._end_with_peer else answer))
            await writer.drain()

    async def _answer(self, line: bytes) -> bytes:
        id_: object = None
        try:
            request = decode_line(line)
            id_ = request.get("id")
            if isinstance(id_, bool) or not isinstance(id_, int):
                id_ = None
                raise InvalidArgumentError("id: expected an integer")
            return encode_line({"id": id_, "result": await self._call(request)})
        except SchedcpError as e:
            return encode_line({"id": id_, "error": error_to_json(e)})
        except Exception:
            _logger.exception("request failed by a fault in this program")
            fault = SchedcpError("internal error", hint="see the journal of this service")
            return encode_line({"id": id_, "error": error_to_json(fault)})

    async def _call(self, request: Json) -> Json:
        for key in request:
            if key not in ("id", "method", "params"):
                raise InvalidArgumentError(f"{key!r:.80}: unknown member of a request")
        name, params = request.get("method"), request.get("params", {})
        method = self._methods.get(name) if isinstance(name, str) else None
        if method is None:
            known = ", ".join(sorted(self._methods))
            raise InvalidArgumentError(f"method: {name!r:.80} is unknown", hint=f"one of {known}")
        if not isinstance(params, dict):
            raise InvalidArgumentError("params: expected an object")
        for key in params:
            if key not in method.required and key not in method.optional:
                raise InvalidArgumentError(f"{name}: unknown param {key!r:.80}")
        for key in sorted(method.required):
            if key not in params:
                raise InvalidArgumentError(f"{name}: param {key!r} is missing")
        return await method.handler(params)

    def _idle_changed(self) -> None:
        if self._on_idle_change is not None:
            self._on_idle_change(len(self._writers))


async def _while_there(answer: Coroutine[Any, Any, bytes], reader: asyncio.StreamReader) -> bytes:
    """What `answer` comes to; ConnectionError when the peer leaves before, and it is cancelled."""
    task = asyncio.create_task(answer)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_S))[0]:
            if reader.at_eof():
                raise ConnectionResetError("the peer left")
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _finish(writer: asyncio.StreamWriter) -> None:
    await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


class JsonLineClient:
    """One connection to a server. Made by `connect`; `closed` is set once it is over.

    Every failure to reach the server, and a late answer, is raised as `unreachable`.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        peer_name: str,
        unreachable: type[SchedcpError],
        on_event: EventHandler | None,
    ) -> None:
        self.closed = asyncio.Event()
        self._reader, self._writer = reader, writer
        self._name, self._unreachable, self._on_event = peer_name, unreachable, on_event
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._last_id = 0
        self._reading = asyncio.create_task(self._read(), name=f"jsonline {peer_name}")

    @classmethod
    async def connect(
        cls,
        path: Path,
        *,
        unreachable: type[SchedcpError],
        on_event: EventHandler | None = None,
        timeout_s: float = 5.0,
    ) -> JsonLineClient:
        """Connects to a unix socket. Raises `unreachable` with the reason otherwise."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_unix_connection(str(path), limit=LINE_MAX)
        except (OSError, TimeoutError) as e:
            reason = e.strerror if isinstance(e, OSError) and e.strerror else "no answer in time"
            raise unreachable(f"cannot reach {path}: {reason}") from e
        return cls(reader, writer, peer_name=str(path), unreachable=unreachable, on_event=on_event)

    async def call(self, method: str, params: Json | None = None, *, timeout_s: float) -> Json:
        """The result object. Raises the server's error as the SchedcpError of its code."""
        if self.closed.is_set():
            raise self._unreachable(f"{self._name}: connection is closed")
        self._last_id += 1
        id_ = self._last_id
        line = encode_line({"id": id_, "method": method, "params": params or {}})
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = answer
        try:
            async with asyncio.timeout(timeout_s):
                self._writer.write(line)
                await self._writer.drain()
                return await answer
        except TimeoutError as e:
            raise self._unreachable(
                f"{self._name}: no answer to {method} within {timeout_s:g} s"
            ) from e
        except ConnectionError as e:
            raise self._unreachable(f"{self._name}: {e}") from e
        finally:
            self._waiting.pop(id_, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # retrieved, whoever raised first

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        reason = "connection closed by the other side"
        try:
            while (line := await self._reader.readline()).endswith(b"\n"):
                self._received(decode_line(line))
        except ConnectionError as e:
            reason = str(e)
        except (ValueError, SchedcpError) as e:
            reason = f"unreadable answer: {e}"
        except asyncio.CancelledError:
            reason = "connection closed"
        except Exception:
            _logger.exception("event handler failed")
            reason = "event handler failed"
        finally:
            self.closed.set()
            self._writer.transport.abort()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(self._unreachable(f"{self._name}: {reason}"))

    def _received(self, message: Json) -> None:
        if "event" in message:
            data = message.get("data")
            if not isinstance(data, dict):
                raise InvalidArgumentError("event without a data object")
            if self._on_event is not None:
                self._on_event(str(message["event"]), data)
            return
        id_ = message.get("id")
        if id_ is None and "error" in message:  # refused as a whole: nobody will be answered
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(error_from_json(message["error"]))
            return
        waiting = self._waiting.get(id_) if isinstance(id_, int) else None
        if waiting is None or waiting.done():
            return  # the caller stopped waiting
        if "error" in message:
            waiting.set_exception(error_from_json(message["error"]))
        elif isinstance(result := message.get("result"), dict):
            waiting.set_result(result)
        else:
            waiting.set_exception(self._unreachable(f"{self._name}: answer without a result"))
