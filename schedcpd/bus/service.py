# SPDX-License-Identifier: Apache-2.0
"""schedcp on the bus: connects, answers, publishes changes, and comes back when the bus does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from dbus_next import DBusError, Message, NameFlag, RequestNameReply

from schedcpd import __version__
from schedcpd.bus.control import Control
from schedcpd.bus.interface import Interface
from schedcpd.bus.manager import manager_interface, workload_interface
from schedcpd.bus.objects import ObjectTree
from schedcpd.bus.polkit import Authority
from schedcpd.bus.router import Authorizer, Router
from schedcpd.bus.signals import Publisher
from schedcpd.bus.views import BUS_NAME, ROOT_PATH, object_path
from schedcpd.errors import NotFoundError, SchedcpError
from schedcpd.host.dbus import BusUnreachableError, Connection
from schedcpd.model import WorkloadView

logger = logging.getLogger(__name__)


class BusNameTakenError(SchedcpError):
    """Somebody else owns org.schedcp.SchedCP1: another schedcpd runs."""

    code = "NameTaken"


class Workloads:
    """The workloads as objects, by path; kept current by the observer's calls."""

    def __init__(self) -> None:
        self._views: dict[str, WorkloadView] = {}
        self.interface: Interface

    def paths(self) -> Iterable[str]:
        return tuple(self._views)

    def __contains__(self, path: object) -> bool:
        return path in self._views

    def view(self, path: str) -> WorkloadView:
        try:
            return self._views[path]
        except KeyError:
            raise NotFoundError(
                f"there is no workload {path}", hint="it has ended; schedctl list shows the living"
            ) from None

    def put(self, view: WorkloadView) -> None:
        self._views[object_path(view.profile.id)] = view

    def drop(self, view: WorkloadView) -> None:
        self._views.pop(object_path(view.profile.id), None)

    def replace(self, views: Iterable[WorkloadView]) -> None:
        self._views = {object_path(view.profile.id): view for view in views}


class BusService:
    """Owns org.schedcp.SchedCP1 and translates between the bus and `control`.

    `bus_address` None is the system bus. `authorizer` makes the decision maker for a connection
    (polkit by default). When the bus goes away, scheduling goes on; the service connects and owns
    its name again, trying after 0.1 s and then more and more rarely up to `retry_max_s`.
    """

    def __init__(
        self,
        control: Control,
        *,
        bus_address: str | None = None,
        authorizer: Callable[[Connection], Authorizer] = Authority,
        retry_max_s: float = 5.0,
    ) -> None:
        self._control = control
        self._bus_address = bus_address
        self._authorizer = authorizer
        self._retry_max_s = retry_max_s
        self._workloads = Workloads()
        self._workloads.interface = workload_interface(control, self._workloads.view)
        self._manager = manager_interface(control, __version__)
        self._tree = ObjectTree({ROOT_PATH: (self._manager,)}, {ROOT_PATH: self._workloads})
        self._publisher = Publisher(self._manager, self._workloads, self._emit)
        self._connection: Connection | None = None
        self._router: Router | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the name is owned now."""
        return self._connection is not None and self._connection.connected

    async def start(self) -> None:
        """Returns once the name is owned, or the bus was found absent (then it keeps trying).

        BusNameTakenError: another process owns the name; nothing is left running.
        """
        self._unsubscribe = self._control.subscribe(self._publisher)
        self._workloads.replace(self._control.workloads())
        try:
            await self._connect()
        except BusNameTakenError:
            await self.stop()
            raise
        except BusUnreachableError as error:
            logger.warning("starting without the message bus: %s", error)
        self._keeper = asyncio.create_task(self._keep(), name="bus keeper")

    async def stop(self) -> None:
        """Gives the name back and ends open calls."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        self._publisher.flush()
        await self._disconnect()

    async def _connect(self) -> None:
        connection = Connection(self._bus_address)
        await connection.open()
        router = Router(self._tree, self._authorizer(connection), connection.send)
        connection.add_message_handler(router.handle)
        try:
            (reply,) = await connection.ask(
                "org.freedesktop.DBus",
                "/org/freedesktop/DBus",
                "org.freedesktop.DBus",
                "RequestName",
                "su",
                [BUS_NAME, NameFlag.DO_NOT_QUEUE.value],
                timeout_s=10,
            )
        except (DBusError, TimeoutError) as error:
            connection.close()
            raise BusUnreachableError(
                f"the bus did not give us the name {BUS_NAME}: {error}",
                hint="is the bus policy org.schedcp.SchedCP1.conf installed?",
            ) from error
        if reply != RequestNameReply.PRIMARY_OWNER.value:
            connection.close()
            raise BusNameTakenError(
                f"the name {BUS_NAME} is owned by another process",
                hint="stop the other schedcpd first: systemctl stop schedcpd",
            )
        self._connection, self._router = connection, router
        logger.info("owns %s as %s", BUS_NAME, connection.unique_name)

    async def _keep(self) -> None:
        delay = 0.1
        while True:
            if self._connection is not None:
                await self._connection.closed()
                logger.warning("the message bus went away; scheduling goes on")
                await self._disconnect()
                delay = 0.1
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._retry_max_s)
            try:
                await self._connect()
            except SchedcpError as error:
                logger.info("not on the message bus yet: %s", error)
            except Exception:
                logger.exception("connecting to the message bus failed")

    async def _disconnect(self) -> None:
        connection, router = self._connection, self._router
        self._connection = self._router = None
        if router is not None:
            await router.stop()
        if connection is not None:
            await connection.drained()
            connection.close()

    def _emit(self, path: str, interface: str, member: str, signature: str, body: Any) -> None:
        """Sends a signal, or drops it while there is no bus: clients read afresh when we return."""
        if self._connection is not None and self._connection.connected:
            self._connection.send(Message.new_signal(path, interface, member, signature, body))
