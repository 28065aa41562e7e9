# SPDX-License-Identifier: Apache-2.0
"""The verifier behind its socket: asked as the daemon asks, by one process at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schedcpd.errors import BusyError, InvalidArgumentError, MicroVmError, VerifyError
from schedcpd.host.activation import bound_socket
from schedcpd.host.jsonline import JsonLineClient
from schedcpd.model import Tunable
from schedcpd.verify.child import Began, Children
from schedcpd.verify.door import Door
from schedcpd.verify.service.__main__ import Service

ROOT = Path(__file__).resolve().parents[3]
WRONG = "version: 1\npolicies: [{name: X}]\n"


class Slow:
    """A workshop that begins a check and goes on until it is cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()

    async def examine(self, name: str, text: str, *, run: bool, began: Began) -> Mapping[str, Any]:
        began("source")
        await self._for_ever()
        raise AssertionError

    async def available(self, release: str) -> str:
        return f"not for {release}"

    async def make(self, object_path: str, tunables: Mapping[str, Tunable], release: str) -> str:
        await self._for_ever()
        raise AssertionError

    async def _for_ever(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


class Never:
    """No call may come to it."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked of the daemon itself")


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest_asyncio.fixture
async def door(slow: Slow, tmp_path: Path) -> AsyncIterator[Door]:
    path = tmp_path / "verify.sock"
    serving = asyncio.create_task(Service(slow).serve(bound_socket(path)))
    yield Door(path, Never())
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def eventually(check: Callable[[], bool]) -> None:
    for _ in range(600):
        if check():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within 30 s")


async def examine(door: Door, began: Began = lambda _check: None) -> Mapping[str, Any]:
    return await door.examine("mine.bpf.c", "x", run=False, began=began)


async def test_each_check_is_told_and_a_second_one_is_busy(door: Door, slow: Slow) -> None:
    told: list[str] = []
    first = asyncio.create_task(examine(door, told.append))
    await asyncio.wait_for(slow.begun.wait(), 5)
    with pytest.raises(BusyError):
        await examine(door)
    assert await door.available("7.3.4") == "not for 7.3.4"  # needs no turn
    assert told == ["source"]
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_who_leaves_is_not_worked_for_any_more(door: Door, slow: Slow) -> None:
    asked = asyncio.create_task(door.make("/x.bpf.o", {}, "7.3.4"))
    await asyncio.wait_for(slow.begun.wait(), 5)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await asyncio.wait_for(slow.cancelled.wait(), 5)
    slow.begun.clear()
    again = asyncio.create_task(door.make("/x.bpf.o", {}, "7.3.4"))
    await asyncio.wait_for(slow.begun.wait(), 5)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"tag": 1, "name": "../x.bpf.c", "text": "", "run": False}, "NAME.bpf.c"),
        ({"tag": "1", "name": "x.bpf.c", "text": "", "run": False}, "tag"),
        ({"tag": 1, "name": "x.bpf.c", "text": "", "run": 1}, "run"),
        ({"tag": 1, "name": "x.bpf.c", "run": False}, "text"),
    ],
)
async def test_what_is_wrong_is_named(door: Door, params: dict[str, Any], names: str) -> None:
    client = await JsonLineClient.connect(door._socket, unreachable=VerifyError)
    with pytest.raises(InvalidArgumentError, match=names):
        await client.call("examine", params, timeout_s=5)
    await client.close()


async def test_without_anybody_it_ends(slow: Slow, tmp_path: Path) -> None:
    service = Service(slow, idle_exit_s=0.2)
    await asyncio.wait_for(service.serve(bound_socket(tmp_path / "s")), 5)


async def test_a_process_of_its_own_examines(tmp_path: Path) -> None:
    path = tmp_path / "verify.sock"
    argv = [sys.executable, "-m", "schedcpd.verify.service", "--listen", str(path)]
    process = await asyncio.create_subprocess_exec(
        *argv, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        await eventually(path.is_socket)
        door = Door(path, Never())
        assert path.stat().st_mode & 0o777 == 0o600
        told: list[str] = []
        found = await door.examine("mine.yaml", WRONG, run=False, began=told.append)
        assert found["checks"][0]["status"] == "failed"
        assert "policy." in found["checks"][0]["reason"]
        with pytest.raises(MicroVmError, match="verdict"):
            await door.make(str(tmp_path / "gone.bpf.o"), {}, "7.3.4")
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_without_a_socket_the_daemons_children_do_it(tmp_path: Path) -> None:
    door = Door(tmp_path / "none.sock", Children())
    found = await door.examine("mine.yaml", WRONG, run=False, began=lambda _check: None)
    assert found["checks"][0]["status"] == "failed"


async def test_a_service_that_does_not_answer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "verify.sock"
    bound_socket(path).close()  # the file stays, nobody listens
    with pytest.raises(MicroVmError, match=r"verify\.sock"):
        await Door(path, Never()).available("7.3.4")
