# SPDX-License-Identifier: Apache-2.0
"""A D-Bus connection that survives hostile and broken peers.

dbus-next 0.2.3 reads messages of any size (the specification allows 128 MiB), decodes them in
Python before anybody can refuse them, closes the connection at a message it cannot decode, reads
until the socket is empty however long that takes, closes the connection when the socket is full in
the middle of a burst of messages, and spins for ever when the bus goes away in the middle of the
authentication. `Connection` changes those six things and nothing else.

Specification: https://dbus.freedesktop.org/doc/dbus-specification.html (message protocol).
"""

from __future__ import annotations

import asyncio
import io
import logging
import struct
from collections import deque
from typing import Any

from dbus_next import BusType, DBusError, Message, MessageFlag, MessageType
from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.aio import MessageBus

from schedcpd.errors import SchedcpError

logger = logging.getLogger(__name__)

MAX_INCOMING = 64 * 1024
"""Bytes a peer may send us in one message; every legitimate request is far below."""

MESSAGES_PER_WAKEUP = 32
"""Messages handled before the event loop gets its turn again."""

_FIXED_HEADER = 16  # endian, type, flags, version, body length, serial, length of header fields
_LIMITS_EXCEEDED = "org.freedesktop.DBus.Error.LimitsExceeded"


class BusUnreachableError(SchedcpError):
    """The message bus, or the service on it, cannot be reached or went away."""

    code = "Unreachable"


class Framer:
    """Cuts a byte stream into D-Bus messages of at most `limit` bytes.

    Of a larger one only the header is kept (with an empty body), so that it can
    be answered; the rest is thrown away as it arrives and is never held.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._discard = 0

    def feed(self, data: bytes) -> None:
        if self._discard:
            dropped = min(self._discard, len(data))
            self._discard -= dropped
            data = data[dropped:]
        self._buffer += data

    def next(self) -> tuple[bytes, bool] | None:
        """The next message and whether its body was dropped, or None until more bytes come.

        ValueError: the stream is not D-Bus; the connection cannot be used further.
        """
        if len(self._buffer) < _FIXED_HEADER:
            return None
        order = {ord("l"): "<", ord("B"): ">"}.get(self._buffer[0])
        if order is None or self._buffer[3] != 1:
            raise ValueError("the bus sent something that is not a D-Bus message")
        (body,) = struct.unpack_from(order + "I", self._buffer, 4)
        (fields,) = struct.unpack_from(order + "I", self._buffer, 12)
        header = _FIXED_HEADER + fields + (-fields & 7)
        total = header + body
        if total <= self.limit:
            if len(self._buffer) < total:
                return None
            message = bytes(self._buffer[:total])
            del self._buffer[:total]
            return message, False
        if header > self.limit:
            self._drop(total)
            return self.next()
        if len(self._buffer) < header:
            return None
        kept = self._buffer[:header]
        struct.pack_into(order + "I", kept, 4, 0)
        self._drop(total)
        return bytes(kept), True

    def _drop(self, total: int) -> None:
        here = min(total, len(self._buffer))
        del self._buffer[:here]
        self._discard = total - here


def decode(frame: bytes) -> Message:
    """One complete message. Raises whatever dbus-next raises at bytes it does not understand."""
    reader = Unmarshaller(io.BytesIO(frame))
    reader.unmarshall()
    return reader.message


class _Writer:
    """Sends queued messages as the socket takes them, in place of dbus-next's writer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queue: deque[tuple[memoryview, asyncio.Future[None] | None]] = deque()
        self._watching = False

    def schedule_write(
        self, msg: Message | None = None, future: asyncio.Future[None] | None = None
    ) -> None:
        """Queues `msg`; sending begins once the bus has said Hello."""
        if msg is not None:
            self._queue.append((memoryview(bytes(msg._marshall())), future))
        if self._connection.unique_name and self._queue and not self._watching:
            self._watching = True
            self._connection._loop.add_writer(self._connection._fd, self._write)

    def _write(self) -> None:
        connection = self._connection
        try:
            while self._queue:
                data, future = self._queue[0]
                sent = connection._sock.send(data)
                if sent < len(data):
                    self._queue[0] = (data[sent:], future)
                    continue
                self._queue.popleft()
                if future is not None and not future.done():
                    future.set_result(None)
        except BlockingIOError:
            return  # full: called again when there is room
        except OSError as error:
            self.fail(error)
            connection._finalize(error)
            return
        self._watching = False
        connection._loop.remove_writer(connection._fd)

    def fail(self, error: Exception) -> None:
        """Ends everything that waits."""
        while self._queue:
            _data, future = self._queue.popleft()
            if future is not None and not future.done():
                future.set_exception(error)


class Connection(MessageBus):  # type: ignore[misc]  # dbus-next has no types
    """An asyncio connection to a message bus with bounds on what peers can make it do."""

    def __init__(self, bus_address: str | None = None, *, max_incoming: int = MAX_INCOMING) -> None:
        """`bus_address` None is the system bus. BusUnreachableError: nothing listens there."""
        try:
            super().__init__(bus_address=bus_address, bus_type=BusType.SYSTEM)
        except (OSError, DBusError, ValueError) as error:
            for left in (getattr(self, "_stream", None), getattr(self, "_sock", None)):
                if left is not None:
                    left.close()
            raise BusUnreachableError(
                f"cannot connect to the message bus: {error}", hint="is dbus.service running?"
            ) from error
        self._writer = _Writer(self)
        self._framer = Framer(max_incoming)
        self._paused = False
        self._last_sent: asyncio.Future[None] | None = None

    async def open(self, *, timeout_s: float = 10.0) -> None:
        """Authenticates and says Hello. BusUnreachableError: it did not work within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.connect()
        except (OSError, EOFError, DBusError, ValueError, AttributeError, TimeoutError) as error:
            # AttributeError: dbus-next reports a connection closed during Hello that way.
            self.close()
            raise BusUnreachableError(
                f"the message bus did not accept us: {error or type(error).__name__}",
                hint="is dbus.service running?",
            ) from error

    def close(self) -> None:
        """Ends the connection; pending calls end with BusUnreachableError."""
        if not self._user_disconnect:
            self.disconnect()
        self._finalize(None)
        self._writer.fail(EOFError("the connection was closed"))
        self._stream.close()
        self._sock.close()

    def send(self, msg: Message) -> asyncio.Future[None]:
        """Queues a message; the future is done when the bus has it."""
        sent: asyncio.Future[None] = super().send(msg)
        # A failed write ends the connection, which is noticed there; not once for each message.
        sent.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._last_sent = sent
        return sent

    async def drained(self, *, timeout_s: float = 1.0) -> None:
        """Waits until everything handed to `send` is with the bus, at most `timeout_s`."""
        if self.connected and self._last_sent is not None:
            await asyncio.wait({self._last_sent}, timeout=timeout_s)

    async def closed(self) -> None:
        """Returns when the connection is gone, for whatever reason."""
        try:
            await asyncio.shield(self._disconnect_future)
        except (OSError, EOFError, ValueError) as error:
            logger.debug("bus connection ended: %s", error or type(error).__name__)

    async def ask(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        *,
        timeout_s: float = 25.0,
        interactive: bool = False,
    ) -> list[Any]:
        """Calls a method and returns the body of its reply.

        `interactive` lets polkit ask the person at the machine for a password.
        DBusError: the peer answered with an error. TimeoutError: it did not answer in time.
        BusUnreachableError: the connection ended first.
        """
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=body or [],
            flags=(
                MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION if interactive else MessageFlag.NONE
            ),
            serial=self.next_serial(),
        )
        if not self.connected:
            raise BusUnreachableError("the connection to the message bus is closed")
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self.call(message)
        except TimeoutError:  # an OSError, but not of the connection
            raise
        except (OSError, EOFError) as error:
            raise BusUnreachableError(f"the message bus went away: {error}") from error
        finally:
            self._method_return_handlers.pop(message.serial, None)
        if reply is None:
            raise BusUnreachableError("the message bus went away before it answered")
        if reply.message_type is MessageType.ERROR:
            text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else ""
            raise DBusError(reply.error_name, text, reply)
        return list(reply.body)

    def _message_reader(self) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            data = None
        except OSError as error:
            self._finalize(error)
            return
        if data == b"":
            self._finalize(EOFError("the message bus closed the connection"))
            return
        if data:
            self._framer.feed(data)
        self._drain()

    def _drain(self) -> None:
        """Handles at most MESSAGES_PER_WAKEUP messages; reading pauses while more are waiting."""
        if self._disconnected:
            return
        for _ in range(MESSAGES_PER_WAKEUP):
            try:
                frame = self._framer.next()
            except ValueError as error:
                self._finalize(error)
                return
            if frame is None:
                if self._paused:
                    self._paused = False
                    self._loop.add_reader(self._fd, self._message_reader)
                return
            self._receive(*frame)
            if self._disconnected:
                return
        if not self._paused:
            self._paused = True
            self._loop.remove_reader(self._fd)
        self._loop.call_soon(self._drain)

    def _receive(self, frame: bytes, dropped_body: bool) -> None:
        try:
            message = decode(frame)
        except Exception as error:  # noqa: BLE001 - foreign bytes: dbus-next raises many kinds
            logger.warning("ignored a D-Bus message that cannot be decoded: %s", error)
            return
        if not dropped_body:
            self._on_message(message)
        elif message.message_type is MessageType.METHOD_CALL:
            logger.warning("refused an oversized D-Bus message from %s", message.sender)
            if not message.flags & MessageFlag.NO_REPLY_EXPECTED:
                text = f"messages may have at most {self._framer.limit} bytes"
                self.send(Message.new_error(message, _LIMITS_EXCEEDED, text))
        elif message.reply_serial in self._method_return_handlers:
            handler = self._method_return_handlers.pop(message.reply_serial)
            handler(None, OSError("the reply is larger than this connection accepts"))

    async def _auth_readline(self) -> str:
        line = b""
        while not line.endswith(b"\r\n"):
            data = await self._loop.sock_recv(self._sock, 1)
            if not data:
                raise EOFError("the message bus closed the connection during authentication")
            line += data
        return line[:-2].decode("ascii", "replace")
