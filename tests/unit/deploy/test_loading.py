# SPDX-License-Identifier: Apache-2.0
"""The thread that prepares a scheduler, beside one that does or does not serve it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from schedcpd.deploy.scheduler_host import loading
from schedcpd.deploy.scheduler_host.loading import in_thread, ran_ns, wants_to_run


class Made:
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PATIENCE_S", 0.05)


@pytest.mark.usefixtures("soon")
async def test_one_that_is_not_served_has_the_running_scheduler_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served, asked = threading.Event(), []

    def make() -> Made:
        assert served.wait(10)
        return Made()

    async def starved() -> None:
        asked.append(1)
        served.set()

    monkeypatch.setattr(loading, "ran_ns", lambda task: 5)
    monkeypatch.setattr(loading, "wants_to_run", lambda task: True)
    assert not (await in_thread(make, starved)).closed
    assert asked == [1]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("busy", [True, False])
async def test_one_that_computes_or_sleeps_is_left_alone(busy: bool) -> None:
    def make() -> Made:
        end = time.thread_time() + 0.3
        while busy and time.thread_time() < end:
            pass
        time.sleep(0.3)
        return Made()

    async def starved() -> None:
        raise AssertionError("it was served")

    await in_thread(make, starved)


async def test_a_failure_is_what_it_was_and_who_gives_up_leaves_nothing_open() -> None:
    async def starved() -> None:
        raise AssertionError("it was served")

    def fail() -> Made:
        raise OSError(5, "an I/O error")

    with pytest.raises(OSError, match="an I/O error"):
        await in_thread(fail, starved)
    go, made = threading.Event(), Made()

    def make() -> Made:
        go.wait(10)
        return made

    waiting = asyncio.create_task(in_thread(make, starved))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    for _ in range(100):
        if made.closed:
            break
        await asyncio.sleep(0.02)
    assert made.closed


def test_what_the_kernel_says_of_a_task(tmp_path: Path) -> None:
    task = loading.TASKS / str(threading.get_native_id())
    before = ran_ns(task)
    assert before is not None and before > 0
    assert wants_to_run(task)
    assert ran_ns(tmp_path) is None
    (tmp_path / "stat").write_text(f"{os.getpid()} (a) R (b) S 1 1\n")
    assert not wants_to_run(tmp_path)
