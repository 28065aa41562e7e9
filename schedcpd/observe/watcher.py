# SPDX-License-Identifier: Apache-2.0
"""Watches every cgroup of the tree through inotify and says what happened to each.

Two watches a cgroup: its directory (children appear and go) and its cgroup.events file (the
kernel calls fsnotify for it when `populated` changes, kernfs_notify() in fs/kernfs/file.c).
A watch on the directory alone is not enough: the kernel skips the notification while the
file's inode is not in the cache.

A state is always read after its watch was added, so nothing falls between the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from schedcpd.host.cgroupfs import CgroupFs
from schedcpd.host.clock import Clock
from schedcpd.host.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_ISDIR,
    IN_MODIFY,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    Event,
    Inotify,
    WatchLimitError,
)
from schedcpd.model import Signal, SignalKind

_DIRECTORY = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR
_SCAN_BATCH = 100  # cgroups looked at before the loop may do something else


@dataclass(slots=True)
class Node:
    """One cgroup that is watched."""

    cgroup: str
    cgroup_id: int
    seen_ns: int
    populated: bool = False
    directory_watch: int = -1
    events_watch: int = -1


class CgroupWatcher:
    """Emits CREATED, POPULATED, EMPTIED and VANISHED, in that order for one cgroup.

    `sink` is called on the event loop and must not block. `degraded` is "" while every
    cgroup is watched, else one sentence that says what is missing and how to mend it.
    """

    def __init__(
        self, cgroups: CgroupFs, inotify: Inotify, clock: Clock, sink: Callable[[Signal], None]
    ) -> None:
        self._fs, self._inotify, self._clock, self._sink = cgroups, inotify, clock, sink
        self._nodes: dict[str, Node] = {}
        self._watches: dict[int, tuple[str, bool]] = {}  # watch -> (cgroup, is events file)
        self._children: dict[str, set[str]] = {}
        self._rescan: asyncio.Task[None] | None = None
        self.degraded = ""

    async def start(self) -> None:
        """Watches what exists, emitting CREATED and POPULATED for it, then follows changes."""
        self._inotify.start(self.handle)
        await self._scan()

    async def stop(self) -> None:
        self._inotify.close()
        if self._rescan is not None:
            self._rescan.cancel()
            await asyncio.gather(self._rescan, return_exceptions=True)

    def node(self, cgroup: str) -> Node | None:
        return self._nodes.get(cgroup)

    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._nodes.values())

    def children(self, cgroup: str) -> tuple[str, ...]:
        return tuple(self._children.get(cgroup, ()))

    # ------------------------------------------------------------ events

    def handle(self, events: list[Event]) -> None:
        """Takes one batch of inotify events."""
        now = self._clock.monotonic_ns()
        for event in events:
            if event.mask & IN_Q_OVERFLOW:
                self.rescan()
                continue
            known = self._watches.get(event.watch)
            if known is None:
                continue
            cgroup, is_events_file = known
            if event.mask & IN_IGNORED:
                self._unwatched(event.watch, cgroup, now)
            elif is_events_file:
                if event.mask & IN_MODIFY:
                    self._look(cgroup, now)
            elif event.mask & IN_ISDIR:
                path = f"{'' if cgroup == '/' else cgroup}/{event.name}"
                if event.mask & (IN_CREATE | IN_MOVED_TO):
                    self._appeared(path, now)
                elif event.mask & (IN_DELETE | IN_MOVED_FROM):
                    self._deleted(path, now)

    def _unwatched(self, watch: int, cgroup: str, now: int) -> None:
        """The kernel dropped a watch with its file: whatever has that name now is another one."""
        del self._watches[watch]
        node = self._nodes.get(cgroup)
        if node is not None and node.directory_watch == watch:
            self._forget(cgroup, now)
            self._appeared(cgroup, now)

    def _appeared(self, cgroup: str, now: int) -> None:
        stack = [cgroup]
        while stack:
            path = stack.pop()
            if self._add(path, now):
                # Children made before the watch stood are found by looking after it.
                stack.extend(child for child, _ in self._fs.children(path))

    def _add(self, cgroup: str, now: int) -> bool:
        """Begins to watch one cgroup. False when it is known already, or gone again."""
        known = self._nodes.get(cgroup)
        number = self._fs.id_of(cgroup)
        if known is not None:
            if known.cgroup_id == number:
                return False
            self._forget(cgroup, now)  # another one of the same name took its place
        if number is None:
            return False
        node = Node(cgroup, number, now, populated=cgroup == "/")
        if not self._watch(node):
            return False
        self._nodes[cgroup] = node
        if cgroup == "/":
            return True
        self._children.setdefault(_parent(cgroup), set()).add(cgroup)
        self._emit(SignalKind.CREATED, node, now)
        self._look(cgroup, now)
        return True

    def _watch(self, node: Node) -> bool:
        path = self._fs.absolute(node.cgroup)
        try:
            directory = self._inotify.add(path, _DIRECTORY)
            if directory is None:
                return False
            node.directory_watch = directory
            self._watches[directory] = (node.cgroup, False)
            if node.cgroup != "/":
                events = self._inotify.add(path + "/cgroup.events", IN_MODIFY)
                if events is not None:
                    node.events_watch = events
                    self._watches[events] = (node.cgroup, True)
        except WatchLimitError:
            self.degraded = (
                f"only {len(self._nodes)} cgroups are watched: fs.inotify.max_user_watches is "
                "used up; raise it with sysctl (two watches are needed for each cgroup)"
            )
            if node.directory_watch < 0:
                return False
        return True

    def _look(self, cgroup: str, now: int) -> None:
        node = self._nodes.get(cgroup)
        if node is None:
            return
        populated = self._fs.populated(cgroup)
        if populated is None or populated == node.populated:
            return  # gone: the directory's own event follows
        node.populated = populated
        self._emit(SignalKind.POPULATED if populated else SignalKind.EMPTIED, node, now)

    def _deleted(self, cgroup: str, now: int) -> None:
        node = self._nodes.get(cgroup)
        # A late event of an earlier cgroup of the same name must not end the new one.
        if node is not None and self._fs.id_of(cgroup) != node.cgroup_id:
            self._forget(cgroup, now)

    def _forget(self, cgroup: str, now: int) -> None:
        for child in self.children(cgroup):
            self._forget(child, now)
        node = self._nodes.pop(cgroup)
        self._children.pop(cgroup, None)
        self._children.get(_parent(cgroup), set()).discard(cgroup)
        for watch in (node.directory_watch, node.events_watch):
            if watch >= 0 and self._watches.pop(watch, None) is not None:
                self._inotify.remove(watch)
        if node.populated:
            node.populated = False
            self._emit(SignalKind.EMPTIED, node, now)
        self._emit(SignalKind.VANISHED, node, now)

    def _emit(self, kind: SignalKind, node: Node, now: int) -> None:
        self._sink(Signal(kind, node.cgroup, node.cgroup_id, now))

    # ------------------------------------------------------------ scanning

    def rescan(self) -> None:
        """Looks at everything again, soon and in the background."""
        if self._rescan is None or self._rescan.done():
            self._rescan = asyncio.get_running_loop().create_task(self._scan())

    async def _scan(self) -> None:
        """Compares what is there with what is known; bounded work between two turns of the loop."""
        self.degraded = ""
        now = self._clock.monotonic_ns()
        for index, node in enumerate(self.nodes()):
            current = self._nodes.get(node.cgroup)
            if current is node and self._fs.id_of(node.cgroup) != node.cgroup_id:
                self._forget(node.cgroup, now)
            if index % _SCAN_BATCH == _SCAN_BATCH - 1:
                await asyncio.sleep(0)
        stack, done = ["/"], 0
        while stack:
            path = stack.pop()
            if not self._add(path, now):
                self._look(path, now)
            if path in self._nodes:
                stack.extend(child for child, _ in self._fs.children(path))
            done += 1
            if done % _SCAN_BATCH == 0:
                await asyncio.sleep(0)
                now = self._clock.monotonic_ns()


def _parent(cgroup: str) -> str:
    return cgroup.rsplit("/", 1)[0] or "/"
