# SPDX-License-Identifier: Apache-2.0
"""Turns what the daemon observes into D-Bus signals, in order and off the daemon's hot path."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from schedcpd.bus.interface import Interface, wire
from schedcpd.bus.objects import OBJECT_MANAGER, PROPERTIES
from schedcpd.bus.views import (
    ROOT_PATH,
    changed,
    manager_values,
    object_path,
    workload_values,
)
from schedcpd.model import SchedulerStatus, Status, WorkloadView

logger = logging.getLogger(__name__)

Emit = Callable[[str, str, str, str, Any], None]


class Store(Protocol):
    """The exported workloads (`service.Workloads`)."""

    interface: Interface

    def put(self, view: WorkloadView) -> None: ...

    def drop(self, view: WorkloadView) -> None: ...


SIGNALS_PER_TURN = 64
"""Changes published before the event loop gets its turn again: some 15 ms of work."""


class Publisher:
    """The bus' `Observer`. Each call costs an append; signals go out in the loop's next turns."""

    def __init__(self, manager: Interface, workloads: Store, emit: Emit) -> None:
        self._manager = manager
        self._workloads = workloads
        self._emit = emit
        self._waiting: deque[Callable[[], None]] = deque()

    def status_changed(self, old: Status, new: Status) -> None:
        self._later(lambda: self._status(old, new))

    def workload_added(self, view: WorkloadView) -> None:
        self._workloads.put(view)
        self._later(lambda: self._added(view))

    def workload_changed(self, old: WorkloadView, new: WorkloadView) -> None:
        self._workloads.put(new)
        self._later(lambda: self._changed(old, new))

    def workload_removed(self, view: WorkloadView) -> None:
        self._workloads.drop(view)
        self._later(lambda: self._removed(view))

    def ejected(self, status: SchedulerStatus) -> None:
        self._later(lambda: self._ejected(status))

    def rolled_back(self, old_policy: str, new_policy: str, reason: str) -> None:
        self._later(lambda: self._signal("RolledBack", old_policy, new_policy, reason))

    def verify_progress(self, id_: str, check: str) -> None:
        self._later(lambda: self._signal("VerifyProgress", id_, check))

    def verify_ended(self, id_: str, passed: bool, sentence: str) -> None:
        self._later(lambda: self._signal("VerifyEnded", id_, passed, sentence))

    def flush(self) -> None:
        """Sends all that waits, in the order in which it happened."""
        while self._waiting:
            self._publish(len(self._waiting))

    def _turn(self) -> None:
        self._publish(SIGNALS_PER_TURN)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)

    def _publish(self, at_most: int) -> None:
        for _ in range(min(at_most, len(self._waiting))):
            publish = self._waiting.popleft()
            try:
                publish()
            except Exception:
                logger.exception("a change could not be published on the bus")

    def _later(self, publish: Callable[[], None]) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        self._waiting.append(publish)

    # ------------------------------------------------------------ what is sent

    def _status(self, old: Status, new: Status) -> None:
        self._properties(
            ROOT_PATH, self._manager, changed(manager_values(old, ""), manager_values(new, ""))
        )
        if old.scheduler != new.scheduler:
            self._signal("SchedulerChanged", old.scheduler, new.scheduler, new.reason)

    def _added(self, view: WorkloadView) -> None:
        interface = self._workloads.interface
        body = {interface.name: interface.variants(workload_values(view))}
        path = object_path(view.profile.id)
        self._emit(ROOT_PATH, OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, body])

    def _changed(self, old: WorkloadView, new: WorkloadView) -> None:
        path = object_path(new.profile.id)
        self._properties(
            path, self._workloads.interface, changed(workload_values(old), workload_values(new))
        )
        before, after = old.intent.intent_class, new.intent.intent_class
        if before is not after:
            self._signal("IntentChanged", path, before.value, after.value, new.intent.source.value)

    def _removed(self, view: WorkloadView) -> None:
        body = [object_path(view.profile.id), [self._workloads.interface.name]]
        self._emit(ROOT_PATH, OBJECT_MANAGER, "InterfacesRemoved", "oas", body)

    def _ejected(self, status: SchedulerStatus) -> None:
        last = status.last_exit
        self._signal(
            "Ejected",
            status.deployment_id,
            status.scheduler,
            last.kind if last else 0,
            last.kind_name if last else "",
            last.code if last else 0,
            last.reason if last else "",
            last.message if last else "",
        )

    def _properties(self, path: str, interface: Interface, values: dict[str, Any]) -> None:
        if values:
            body = [interface.name, interface.variants(values), []]
            self._emit(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", body)

    def _signal(self, name: str, *values: Any) -> None:
        signature = self._manager.signal(name).signature
        self._emit(ROOT_PATH, self._manager.name, name, signature, wire(list(values)))
