# SPDX-License-Identifier: Apache-2.0
"""From one incoming message to one reply: find the method, check, authorise, call, translate.

dbus-next's own service classes are not used: they hide the caller, announce objects on the wrong
path and put Python tracebacks into replies.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from dbus_next import Message, MessageFlag, MessageType, SignatureBodyMismatchError

from schedcpd.bus.interface import READ, Call, Interface, Method, variant, wire
from schedcpd.bus.limits import LimitsExceededError, Rate, RateLimiter, TimeBudget
from schedcpd.bus.objects import (
    INTROSPECTABLE,
    OBJECT_MANAGER,
    PEER,
    PROPERTIES,
    ObjectTree,
)
from schedcpd.errors import NotFoundError, SchedcpError

logger = logging.getLogger(__name__)

ERROR_PREFIX = "org.schedcp.SchedCP1.Error."
_STANDARD = "org.freedesktop.DBus.Error."

CHANGES = Rate(burst=20, per_s=5)
CHANGES_OF_USER = Rate(burst=60, per_s=15)
COSTLY_READS = Rate(burst=1.0, per_s=0.2)
"""Seconds of the loop's time for one user's costly reads; root's are not counted."""
MAX_OPEN_CALLS = 64
MAX_OPEN_CALLS_OF_SENDER = 8


class Authorizer(Protocol):
    """`schedcpd.bus.polkit.Authority` is the real one."""

    async def uid(self, sender: str) -> int: ...

    async def require(self, action: str, sender: str, *, interactive: bool) -> None: ...


class BusRefusal(Exception):
    """A refusal with one of D-Bus' own error names (without its prefix)."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Router:
    """Answers the method calls for the objects of `tree`; every reply goes through `send`."""

    def __init__(
        self,
        tree: ObjectTree,
        authorizer: Authorizer,
        send: Callable[[Message], object],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tree = tree
        self._authorizer = authorizer
        self._send = send
        self._changes = RateLimiter(CHANGES, clock)
        self._changes_of_user = RateLimiter(CHANGES_OF_USER, clock)
        self._costly_reads = TimeBudget(COSTLY_READS, clock)
        self._clock = clock
        self._open: dict[asyncio.Task[None], str] = {}

    def handle(self, message: Message) -> bool:
        """A dbus-next message handler: True when the message was a call and is taken care of."""
        if message.message_type is not MessageType.METHOD_CALL:
            return False
        try:
            job = self._route(message)
            if asyncio.iscoroutine(job):
                self._start(message, job)
            else:
                self._reply(message, *job)
        except Exception as error:  # noqa: BLE001 - a call must never end the connection
            self._fail(message, error)
        return True

    async def stop(self) -> None:
        """Ends the calls that are still open, without a reply."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------ finding the method

    def _route(self, message: Message) -> Any:
        """A coroutine that replies, or the signature and body of the reply."""
        standard = {
            INTROSPECTABLE: self._introspectable,
            PEER: self._peer,
            PROPERTIES: self._properties,
            OBJECT_MANAGER: self._object_manager,
        }.get(message.interface)
        if standard is not None:
            return standard(message)
        interfaces = self._tree.interfaces(message.path)
        if not interfaces:
            raise BusRefusal("UnknownObject", f"there is no object {message.path}")
        if message.interface is not None:
            interfaces = tuple(each for each in interfaces if each.name == message.interface)
            if not interfaces:
                raise BusRefusal("UnknownInterface", f"no interface {message.interface} here")
        for interface in interfaces:
            method = interface.method(message.member)
            if method is not None:
                return self._prepare(message, method)
        raise BusRefusal("UnknownMethod", f"there is no method {message.member}")

    def _prepare(self, message: Message, method: Method) -> Coroutine[Any, Any, None]:
        _expect(message, method.in_signature)
        if method.action != READ:
            self._changes.take(message.sender)
        return self._admit(message, self._call(message, method))

    def _admit(self, message: Message, job: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        """The job, unless too many are unanswered."""
        open_of_sender = sum(sender == message.sender for sender in self._open.values())
        if len(self._open) >= MAX_OPEN_CALLS or open_of_sender >= MAX_OPEN_CALLS_OF_SENDER:
            job.close()
            raise LimitsExceededError(
                f"{open_of_sender} of your calls and {len(self._open)} in all are unanswered",
                hint="wait for the answers first",
            )
        return job

    async def _call(self, message: Message, method: Method) -> None:
        actor = message.sender
        if method.action != READ:
            uid = await self._authorizer.uid(message.sender)
            self._changes_of_user.take(str(uid))
            interactive = bool(message.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)
            await self._authorizer.require(method.action, message.sender, interactive=interactive)
            actor = f"uid {uid} ({message.sender})"

        async def answer() -> None:
            call = Call(message.sender, actor, message.path, message.body)
            result = await method.handler(call)
            self._reply(message, method.out_signature, wire(list(result)))

        await (self._costly(message, answer) if method.costly else answer())

    async def _costly(self, message: Message, answer: Callable[[], Awaitable[None]]) -> None:
        """Answers a read that holds up the loop, within its caller's budget of time."""
        uid = await self._authorizer.uid(message.sender)
        if uid == 0:
            await answer()
            return
        self._costly_reads.check(str(uid))
        began = self._clock()
        try:
            await answer()
        finally:
            self._costly_reads.charge(str(uid), self._clock() - began)

    def _start(self, message: Message, job: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await job
            except Exception as error:  # noqa: BLE001 - the task's top: becomes an error reply
                self._fail(message, error)

        task = asyncio.create_task(run(), name=f"bus {message.member} {message.sender}")
        self._open[task] = message.sender
        task.add_done_callback(lambda done: self._open.pop(done, None))

    # ------------------------------------------------------------ standard interfaces

    def _introspectable(self, message: Message) -> Coroutine[Any, Any, None]:
        _member(message, {"Introspect": ""})

        async def answer() -> None:
            self._reply(message, "s", [self._tree.introspect(message.path)])

        return self._admit(message, self._costly(message, answer))

    def _peer(self, message: Message) -> tuple[str, list[Any]]:
        _member(message, {"Ping": "", "GetMachineId": ""})
        if message.member == "Ping":
            return "", []
        try:
            return "s", [Path("/etc/machine-id").read_text(encoding="ascii").strip()]
        except (OSError, ValueError) as error:
            raise BusRefusal("FileNotFound", f"no machine id: {error}") from error

    def _object_manager(self, message: Message) -> Coroutine[Any, Any, None]:
        if not self._tree.is_manager(message.path):
            raise BusRefusal("UnknownInterface", f"{message.path} manages no objects")
        _member(message, {"GetManagedObjects": ""})

        async def answer() -> None:
            self._reply(message, "a{oa{sa{sv}}}", [self._tree.managed(message.path)])

        return self._admit(message, self._costly(message, answer))

    def _properties(self, message: Message) -> tuple[str, list[Any]]:
        _member(message, {"Get": "ss", "GetAll": "s", "Set": "ssv"})
        interface = self._interface_of_properties(message)
        if message.member == "GetAll":
            if interface is None:
                return "a{sv}", [{}]
            return "a{sv}", [interface.variants(self._values(interface, message.path))]
        name = message.body[1]
        if interface is None or name not in interface.properties:
            raise BusRefusal("UnknownProperty", f"there is no property {name}")
        if message.member == "Set":
            raise BusRefusal("PropertyReadOnly", f"{name} cannot be set; call a method")
        value = self._values(interface, message.path)[name]
        return "v", [variant(interface.properties[name], value)]

    def _interface_of_properties(self, message: Message) -> Interface | None:
        """None for a standard interface, which has no properties."""
        interfaces = self._tree.interfaces(message.path)
        if not interfaces:
            raise BusRefusal("UnknownObject", f"there is no object {message.path}")
        wanted = message.body[0]
        for interface in interfaces:
            if interface.name == wanted:
                return interface
        if wanted in (INTROSPECTABLE, PEER, PROPERTIES, OBJECT_MANAGER):
            return None
        raise BusRefusal("UnknownInterface", f"no interface {wanted} at {message.path}")

    def _values(self, interface: Interface, path: str) -> Any:
        try:
            return interface.values(path)
        except NotFoundError as error:
            raise BusRefusal("UnknownObject", error.message) from error

    # ------------------------------------------------------------ replies

    def _reply(self, message: Message, signature: str, body: list[Any]) -> None:
        if not message.flags & MessageFlag.NO_REPLY_EXPECTED:
            self._send(Message.new_method_return(message, signature, body))

    def _fail(self, message: Message, error: Exception) -> None:
        """One place turns errors into D-Bus errors: name, then message and hint as the body."""
        if isinstance(error, BusRefusal):
            name, body = _STANDARD + error.name, [str(error), ""]
        elif isinstance(error, SchedcpError):
            name, body = ERROR_PREFIX + error.code, [_without_hint(error), error.hint]
        else:
            if isinstance(error, SignatureBodyMismatchError):
                logger.error("a reply to %s has the wrong types", message.member)
            logger.exception(
                "call of %s by %s failed", message.member, message.sender, exc_info=error
            )
            name = ERROR_PREFIX + "Internal"
            body = [f"{message.member} failed inside schedcpd", "the journal has the details"]
        if not message.flags & MessageFlag.NO_REPLY_EXPECTED:
            self._send(
                Message(
                    message_type=MessageType.ERROR,
                    reply_serial=message.serial,
                    destination=message.sender,
                    error_name=name,
                    signature="ss",
                    body=wire(body),
                )
            )


def _without_hint(error: SchedcpError) -> str:
    """The sentence with file, line and field of a ConfigError, and without the hint."""
    text = str(error)
    suffix = f" ({error.hint})"
    return text[: -len(suffix)] if error.hint and text.endswith(suffix) else text


def _member(message: Message, known: dict[str, str]) -> None:
    if message.member not in known:
        raise BusRefusal("UnknownMethod", f"{message.interface} has no method {message.member}")
    _expect(message, known[message.member])


def _expect(message: Message, signature: str) -> None:
    if message.signature != signature:
        raise BusRefusal(
            "InvalidArgs",
            f'{message.member} takes "{signature}", not "{message.signature}"',
        )
