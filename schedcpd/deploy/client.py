# SPDX-License-Identifier: Apache-2.0
"""The daemon's side of the scheduler host's socket (docs/contracts.md)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from schedcpd.errors import SchedulerHostError
from schedcpd.host.jsonline import JsonLineClient
from schedcpd.model import ExitRecord, IntentClass, SchedulerStatus, Tunable

_CALL_S = 10.0
_START_S = 45.0  # the first connection starts the host's process
_SETS_PER_CALL = 10_000  # keeps a line below the 1 MiB of the contract


class Host(Protocol):
    """One scheduler host. Every failure is a SchedulerHostError or what the host reported."""

    def listen(
        self,
        ejected: Callable[[SchedulerStatus], None],
        closed: Callable[[], None],
    ) -> None:
        """`closed` is called when a connection ends that we did not end."""

    @property
    def connected(self) -> bool: ...

    async def connect(self) -> None: ...

    async def disconnect(self) -> None: ...

    async def load(
        self,
        *,
        scheduler: str,
        object_path: str,
        sha256: str,
        tunables: Mapping[str, Tunable],
        intents: Mapping[int, IntentClass],
        deployment_id: str,
        token: str,
    ) -> SchedulerStatus: ...

    async def run_program(
        self,
        *,
        program: str,
        mode: str,
        sha256: str,
        deployment_id: str,
        token: str,
        timeout_s: float,
    ) -> SchedulerStatus: ...

    async def unload(self, reason: str) -> SchedulerStatus: ...

    async def status(self) -> SchedulerStatus: ...

    async def set_intents(self, set_: Mapping[int, IntentClass], delete: Iterable[int]) -> int: ...

    async def stats(self, cgroups: Iterable[int] | None) -> Mapping[str, Any]: ...

    def end_process(self) -> None:
        """Kills the host, which closes its link: the way back when it does not answer."""


def status_from_json(data: Mapping[str, Any]) -> SchedulerStatus:
    """SchedulerHostError names the field that is not as the contract has it."""
    kinds: dict[str, type[Any]] = {
        "attached": bool,
        "scheduler": str,
        "ops_name": str,
        "object_sha256": str,
        "tunables": dict,
        "deployment_id": str,
        "enable_seq": int,
        "host_pid": int,
        "attached_ns": int,
        "swap_gap_us": int,
    }
    values = {key: data[key] for key in kinds if key in data}
    for key, value in values.items():
        if not isinstance(value, kinds[key]):
            raise SchedulerHostError(
                f"scheduler host's status: {key}: expected {kinds[key].__name__}, "
                f"found {type(value).__name__}"
            )
    if "attached" not in values:
        raise SchedulerHostError("scheduler host's status: attached is missing")
    without = data.get("without", [])
    if not isinstance(without, list):
        raise SchedulerHostError("scheduler host's status: without: expected list")
    exit_ = data.get("last_exit")
    record = None
    if isinstance(exit_, Mapping):
        record = ExitRecord(
            kind=int(exit_.get("kind", 0)),
            code=int(exit_.get("code", 0)),
            reason=str(exit_.get("reason", "")),
            message=str(exit_.get("message", "")),
            dump=str(exit_.get("dump", "")),
        )
    return SchedulerStatus(**values, without=tuple(map(str, without)), last_exit=record)


class HostClient:
    """A `Host` behind a unix socket. Connecting starts the host's unit (socket activation)."""

    def __init__(self, socket: Path, *, load_timeout_s: float = 60.0) -> None:
        self._socket = socket
        self._load_timeout_s = load_timeout_s
        self._client: JsonLineClient | None = None
        self._pid = 0
        self._watch: asyncio.Task[None] | None = None
        self._ejected: Callable[[SchedulerStatus], None] = lambda _status: None
        self._closed: Callable[[], None] = lambda: None

    def listen(
        self,
        ejected: Callable[[SchedulerStatus], None],
        closed: Callable[[], None],
    ) -> None:
        self._ejected, self._closed = ejected, closed

    @property
    def connected(self) -> bool:
        return self._client is not None and not self._client.closed.is_set()

    async def connect(self) -> None:
        if self.connected:
            return
        await self.disconnect()
        client = await JsonLineClient.connect(
            self._socket, unreachable=SchedulerHostError, on_event=self._event
        )
        try:
            hello = await client.call("hello", timeout_s=_START_S)
            if hello.get("protocol") != 1:
                raise SchedulerHostError(
                    f"scheduler host speaks protocol {hello.get('protocol')!r}, not 1",
                    hint="restart schedcp-scheduler.service after the upgrade",
                )
            self._pid = status_from_json(await client.call("status", timeout_s=_CALL_S)).host_pid
        except BaseException:
            await client.close()
            raise
        self._client = client
        self._watch = asyncio.create_task(self._wait_closed(client), name="scheduler host closed")

    async def _wait_closed(self, client: JsonLineClient) -> None:
        await client.closed.wait()
        if self._client is client:
            self._client = None
            self._closed()

    def _event(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "ejected":
            self._ejected(status_from_json(data))

    async def disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        if self._watch is not None and self._watch is not asyncio.current_task():
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._watch = None

    async def _call(
        self, method: str, params: Mapping[str, Any], timeout_s: float = _CALL_S
    ) -> Mapping[str, Any]:
        client = self._client
        if client is None:
            raise SchedulerHostError("not connected to the scheduler host")
        return await client.call(method, params, timeout_s=timeout_s)

    async def load(
        self,
        *,
        scheduler: str,
        object_path: str,
        sha256: str,
        tunables: Mapping[str, Tunable],
        intents: Mapping[int, IntentClass],
        deployment_id: str,
        token: str,
    ) -> SchedulerStatus:
        first = dict(list(intents.items())[:_SETS_PER_CALL])
        status = status_from_json(
            await self._call(
                "load",
                {
                    "scheduler": scheduler,
                    "object": object_path,
                    "sha256": sha256,
                    "tunables": dict(tunables),
                    "intents": _pairs(first),
                    "deployment_id": deployment_id,
                    "token": token,
                },
                self._load_timeout_s,
            )
        )
        if len(intents) > len(first):
            rest = {key: value for key, value in intents.items() if key not in first}
            await self.set_intents(rest, ())
        return status

    async def run_program(
        self,
        *,
        program: str,
        mode: str,
        sha256: str,
        deployment_id: str,
        token: str,
        timeout_s: float,
    ) -> SchedulerStatus:
        told = {
            "program": program,
            "mode": mode,
            "sha256": sha256,
            "deployment_id": deployment_id,
            "token": token,
            "timeout_s": timeout_s,
        }
        answer_s = timeout_s + self._load_timeout_s
        return status_from_json(await self._call("run_program", told, answer_s))

    async def unload(self, reason: str) -> SchedulerStatus:
        return status_from_json(await self._call("unload", {"reason": reason}))

    async def status(self) -> SchedulerStatus:
        return status_from_json(await self._call("status", {}))

    async def set_intents(self, set_: Mapping[int, IntentClass], delete: Iterable[int]) -> int:
        pairs, gone = _pairs(set_), list(delete)
        written = 0
        while pairs or gone:
            answer = await self._call(
                "set_intents", {"set": pairs[:_SETS_PER_CALL], "delete": gone[:_SETS_PER_CALL]}
            )
            written += int(answer.get("written", 0))
            pairs, gone = pairs[_SETS_PER_CALL:], gone[_SETS_PER_CALL:]
        return written

    async def stats(self, cgroups: Iterable[int] | None) -> Mapping[str, Any]:
        return await self._call("stats", {"cgroups": None if cgroups is None else list(cgroups)})

    def end_process(self) -> None:
        # Not SO_PEERCRED: with socket activation that names systemd, which made the socket.
        if self._pid > 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)


def _pairs(intents: Mapping[int, IntentClass]) -> list[list[int | str]]:
    return [[cgroup_id, intent.value] for cgroup_id, intent in intents.items()]
