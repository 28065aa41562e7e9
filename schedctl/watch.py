# SPDX-License-Identifier: Apache-2.0
"""Live events: every signal of the daemon as one line, until the caller stops."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from dbus_next import DBusError, Message, MessageType

from schedcpd.errors import SchedcpError
from schedcpd.host.dbus import BusUnreachableError
from schedctl.client import NAME, WORKLOAD, Daemon, connect, plain, translate
from schedctl.exits import UnreachableError
from schedctl.text import Output, safe

_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_RULES = (
    f"type='signal',sender='{NAME}'",
    "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
    f"member='NameOwnerChanged',arg0='{NAME}'",
)
_MEASURED = frozenset(
    {
        "cpu_usage_usec",
        "cpu_weight",
        "pressure_avg10",
        "pressure_avg60",
        "pressure_total_usec",
        "processes",
        "executables",
        "comm",
        "executable",
    }
)
_COLOURS = {
    "ejected": "bad",
    "rolled-back": "warn",
    "daemon-lost": "bad",
    "scheduler-changed": "good",
    "workload-added": "dim",
    "workload-removed": "dim",
}

Event = dict[str, Any]


async def watch(address: str | None, output: Output) -> None:
    """Prints events until cancelled. UnreachableError: no daemon at the start, or no bus later."""
    async with connect(address) as connection:
        queue: asyncio.Queue[Message] = asyncio.Queue()

        def collect(message: Message) -> bool:
            if message.message_type is MessageType.SIGNAL:
                queue.put_nowait(message)
            return False

        connection.add_message_handler(collect)
        try:
            for rule in _RULES:
                await connection.ask(*_BUS, "AddMatch", "s", [rule])
        except (DBusError, TimeoutError, BusUnreachableError) as error:
            raise translate(error, "the message bus") from error
        control = Daemon(connection, ask_password=False)
        printer = Printer(output)
        await printer.begin(control)
        lost = asyncio.create_task(connection.closed())
        try:
            while True:
                arrival = asyncio.create_task(queue.get())
                await asyncio.wait({arrival, lost}, return_when=asyncio.FIRST_COMPLETED)
                if not arrival.done():
                    arrival.cancel()
                    raise UnreachableError("the message bus went away")
                await printer.handle(arrival.result(), control)
        finally:
            lost.cancel()


class Printer:
    """Turns messages into events and events into lines; remembers the names of workloads."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._names: dict[str, str] = {}

    async def begin(self, control: Daemon) -> None:
        """The first event is the state of things, so that what follows can be understood."""
        status = await control.status()
        self._names = {
            path: values["cgroup"] for path, values in (await control.workloads()).items()
        }
        self._print({"event": "watching", "status": status})

    async def handle(self, message: Message, control: Daemon) -> None:
        if message.member == "NameOwnerChanged":
            owner = message.body[2]
            self._print({"event": "daemon-back" if owner else "daemon-lost"})
            if owner:
                try:
                    await self.begin(control)
                except SchedcpError as error:
                    self._print({"event": "daemon-lost", "reason": error.message})
            return
        event = self._event(message)
        if event is not None:
            self._print(event)

    def _event(self, message: Message) -> Event | None:
        body = message.body
        match message.member:
            case "IntentChanged":
                path, old, new, source = body
                return self._about(
                    path, {"event": "intent-changed", "old": old, "new": new, "source": source}
                )
            case "SchedulerChanged":
                return _named("scheduler-changed", ("old", "new", "reason"), body)
            case "RolledBack":
                return _named("rolled-back", ("old_policy", "new_policy", "reason"), body)
            case "Ejected":
                fields = (
                    "deployment_id",
                    "scheduler",
                    "kind",
                    "kind_name",
                    "code",
                    "reason",
                    "message",
                )
                return _named("ejected", fields, body)
            case "InterfacesAdded":
                values = plain(body[1].get(WORKLOAD, {}))
                self._names[body[0]] = values.get("cgroup", "")
                return self._about(body[0], {"event": "workload-added", "workload": values})
            case "InterfacesRemoved":
                event = self._about(body[0], {"event": "workload-removed"})
                self._names.pop(body[0], None)
                return event
            case "PropertiesChanged":
                changed = plain(body[1])
                if body[0] == NAME:
                    return {"event": "status", "changed": changed}
                return self._about(message.path, {"event": "workload-changed", "changed": changed})
        return None

    def _about(self, path: str, event: Event) -> Event:
        return {**event, "object": path, "cgroup": self._names.get(path, "")}

    def _print(self, event: Event) -> None:
        event = {"at_unix_s": round(time.time(), 3), **event}
        if self._output.json_wanted:
            self._output.event(event)
            return
        sentence = _sentence(event)
        if sentence:
            clock = time.strftime("%H:%M:%S", time.localtime(event["at_unix_s"]))
            line = self._output.paint(safe(sentence), _COLOURS.get(event["event"], ""))
            self._output.line(f"{clock}  {line}")
            self._output.stream.flush()


def _named(name: str, fields: tuple[str, ...], body: list[Any]) -> Event:
    return {"event": name, **dict(zip(fields, body, strict=False))}


def _sentence(event: Event) -> str:
    """For people; "" for what only machines care about."""
    where = event.get("cgroup") or event.get("object", "")
    match event["event"]:
        case "watching":
            status = event["status"]
            return (
                f"{status['state']}: {status['state_reason']}; policy {status['policy']}, "
                f"{status['workloads']} workloads"
            )
        case "intent-changed":
            return f"{where}: {event['old']} -> {event['new']} ({event['source']})"
        case "scheduler-changed":
            old, new = (event[side] or "the kernel's own" for side in ("old", "new"))
            return f"scheduler: {old} -> {new}: {event['reason']}"
        case "rolled-back":
            return f"rolled back: {event['old_policy']} -> {event['new_policy']}: {event['reason']}"
        case "ejected":
            return (
                f"ejected by the kernel: {event['scheduler']}: {event['kind_name']}: "
                f"{event['reason']}: {event['message']}"
            )
        case "workload-added":
            values = event["workload"]
            return f"+ {where}: {values.get('intent', '')} ({values.get('intent_source', '')})"
        case "workload-removed":
            return f"- {where}"
        case "daemon-lost":
            return "schedcpd has gone; scheduling goes on without it"
        case "daemon-back":
            return "schedcpd is back"
        case "status":
            changed = {k: v for k, v in event["changed"].items() if k != "workloads"}
        case _:
            changed = {k: v for k, v in event["changed"].items() if k not in _MEASURED}
            changed = {k: v for k, v in changed.items() if not k.startswith("intent")}
    if not changed:
        return ""
    text = ", ".join(f"{name.replace('_', ' ')}: {value or '-'}" for name, value in changed.items())
    return f"{where}: {text}" if where else text
