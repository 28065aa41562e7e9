# SPDX-License-Identifier: Apache-2.0
"""Changes that meet: an operator's word goes before what the daemon does by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from schedcpd.errors import BusyError, SchedcpError
from schedcpd.model import DaemonState

from .rig import Rig, candidate


async def started(path: Path, *, word_wait_s: float = 5.0) -> Rig:
    rig = Rig(path, word_wait_s=word_wait_s)
    await rig.manager.start()
    return rig


def deploy(rig: Rig, name: str, *, asked: bool) -> asyncio.Task[None]:
    source = "operator" if asked else "auto"
    return asyncio.create_task(
        rig.manager.deploy(candidate(name), source=source, asked=asked), name=name
    )


async def test_a_word_waits_for_a_swap_that_nobody_asked_for(tmp_path: Path) -> None:
    rig = await started(tmp_path)
    rig.admission.mint_wait = asyncio.Event()
    own = deploy(rig, "a", asked=False)
    await asyncio.sleep(0.01)
    word = deploy(rig, "b", asked=True)
    await asyncio.sleep(0.01)
    with pytest.raises(BusyError):  # one word is waiting already
        await deploy(rig, "c", asked=True)
    with pytest.raises(BusyError):
        await deploy(rig, "c", asked=False)
    rig.admission.mint_wait.set()
    await asyncio.gather(own, word)
    assert rig.machine.loads == ["sha-a", "sha-b"]
    assert rig.manager.wanted == ("b", "operator")
    await deploy(rig, "c", asked=True)  # the turn is free again
    assert rig.kernel.ops == "c"


async def test_a_word_waits_only_so_long(tmp_path: Path) -> None:
    rig = await started(tmp_path, word_wait_s=0.05)
    rig.admission.mint_wait = asyncio.Event()
    own = deploy(rig, "a", asked=False)
    await asyncio.sleep(0.01)
    with pytest.raises(BusyError):
        await rig.manager.resume()
    rig.admission.mint_wait.set()
    await own
    await rig.manager.resume()


async def test_a_word_overtakes_what_nobody_asked_for_at_the_gate(tmp_path: Path) -> None:
    rig = await started(tmp_path)
    rig.admission.wait = asyncio.Event()
    own = deploy(rig, "a", asked=False)
    await asyncio.sleep(0.01)
    word = deploy(rig, "b", asked=True)
    await asyncio.sleep(0.01)
    with pytest.raises(BusyError):
        await deploy(rig, "c", asked=False)
    rig.admission.wait.set()
    with pytest.raises(BusyError):
        await own
    await word
    assert rig.machine.loads == ["sha-b"]


async def test_a_resume_that_waited_does_not_undo_a_kill_after_it(tmp_path: Path) -> None:
    rig = await started(tmp_path)
    rig.admission.mint_wait = asyncio.Event()
    own = deploy(rig, "a", asked=False)
    await asyncio.sleep(0.01)
    resume = asyncio.create_task(rig.manager.resume())
    await asyncio.sleep(0.01)
    kill = asyncio.create_task(rig.manager.kill("enough"))
    await asyncio.sleep(0.01)
    rig.admission.mint_wait.set()
    for task in (own, resume):
        with pytest.raises(SchedcpError):
            await task
    assert await kill == ""
    assert rig.manager.view().state is DaemonState.KILLED
    assert rig.kernel.ops == ""
