# SPDX-License-Identifier: Apache-2.0
"""Where the daemon has things examined: by schedcp-verify.service, which may do what that takes.

Compilers need namespaces, QEMU executable memory and gigabytes: nothing that the daemon's own unit
should have. Where the service's socket does not exist (a daemon run from the source tree), children
of the daemon do it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from schedcpd.errors import MicroVmError, SchedcpError, VerifyError
from schedcpd.host.jsonline import EventHandler, Json, JsonLineClient
from schedcpd.model import Candidate, KernelBuild, Tunable, Verdict
from schedcpd.verify.child import TIMEOUT_S, Began
from schedcpd.verify.verdict import verdict_from_json

PROTOCOL = 1
_START_S = 60.0  # systemd starts the service, Python its imports
_MARGIN_S = 60.0  # beyond what the service gives itself
_ids = itertools.count(1)
_T = TypeVar("_T")


class Workshop(Protocol):
    """Does the work somewhere else. See `verify.child.Children` for what each promises."""

    async def examine(
        self, name: str, text: str, *, run: bool, began: Began
    ) -> Mapping[str, Any]: ...

    async def available(self, release: str) -> str: ...

    async def make(
        self, object_path: str, tunables: Mapping[str, Tunable], release: str
    ) -> str: ...


class Door:
    """A `Workshop`: the service behind `socket` if there is one, else `here`."""

    def __init__(self, socket: Path, here: Workshop) -> None:
        self._socket, self._here = socket, here

    async def examine(self, name: str, text: str, *, run: bool, began: Began) -> Mapping[str, Any]:
        if not self._socket.is_socket():
            return await self._here.examine(name, text, run=run, began=began)
        tag = next(_ids)
        params = {"tag": tag, "name": name, "text": text, "run": run}

        def heard(event: str, data: Json) -> None:
            if event == "began" and data.get("tag") == tag:
                began(str(data.get("check", "")))

        answer = await self._ask("examine", params, VerifyError, TIMEOUT_S, heard)
        found: dict[str, Any] = _field(answer, "result", dict, VerifyError)
        return found

    async def available(self, release: str) -> str:
        if not self._socket.is_socket():
            return await self._here.available(release)
        answer = await self._ask("available", {"release": release}, MicroVmError, _START_S)
        return _field(answer, "why_not", str, MicroVmError)

    async def make(self, object_path: str, tunables: Mapping[str, Tunable], release: str) -> str:
        if not self._socket.is_socket():
            return await self._here.make(object_path, tunables, release)
        params = {"object": object_path, "tunables": dict(tunables), "release": release}
        answer = await self._ask("make", params, MicroVmError, TIMEOUT_S)
        return _field(answer, "verdict", str, MicroVmError)

    async def _ask(
        self,
        method: str,
        params: Json,
        unreachable: type[SchedcpError],
        seconds: float,
        heard: EventHandler | None = None,
    ) -> Json:
        """Leaving this call ends the connection, and with it what the service does for it."""
        client = await JsonLineClient.connect(self._socket, unreachable=unreachable, on_event=heard)
        try:
            hello = await client.call("hello", timeout_s=_START_S)
            if hello.get("protocol") != PROTOCOL:
                raise unreachable(
                    f"schedcp-verify speaks protocol {hello.get('protocol')!r}, not {PROTOCOL}",
                    hint="restart schedcp-verify.service after the upgrade",
                )
            return await client.call(method, params, timeout_s=seconds + _MARGIN_S)
        finally:
            await client.close()


def _field(answer: Json, name: str, kind: type[_T], error: type[SchedcpError]) -> _T:
    value = answer.get(name)
    if not isinstance(value, kind):
        raise error(f"schedcp-verify's answer: {name}: expected {kind.__name__}")
    return value


class WorkshopMaker:
    """The gate's `VerdictMaker`."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    async def unavailable(self, kernel: KernelBuild) -> str:
        return await self._workshop.available(kernel.release)

    async def make(self, candidate: Candidate, kernel: KernelBuild) -> Verdict:
        text = await self._workshop.make(candidate.object_path, candidate.tunables, kernel.release)
        return verdict_from_json(text, "the verifier's answer")
