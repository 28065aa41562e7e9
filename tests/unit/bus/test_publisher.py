# SPDX-License-Identifier: Apache-2.0
"""Signals leave in order, and never hold up the loop for long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schedcpd.bus.interface import Interface, Signal, args
from schedcpd.bus.signals import SIGNALS_PER_TURN, Publisher
from schedcpd.model import WorkloadView


class Nothing:
    interface = Interface("a.b")

    def put(self, view: WorkloadView) -> None:
        raise AssertionError(view)

    def drop(self, view: WorkloadView) -> None:
        raise AssertionError(view)


def publisher(sent: list[str], broken: str = "") -> Publisher:
    def emit(_path: str, _interface: str, _member: str, _signature: str, body: Any) -> None:
        if body[2] == broken:
            raise ValueError("cannot be sent")
        sent.append(body[2])

    manager = Interface(
        "a.b", signals=(Signal("RolledBack", args("s old_policy, s new_policy, s reason")),)
    )
    return Publisher(manager, Nothing(), emit)


async def test_a_burst_takes_turns_with_the_rest() -> None:
    sent: list[str] = []
    published = publisher(sent)
    reasons = [str(number) for number in range(3 * SIGNALS_PER_TURN + 1)]
    for reason in reasons:
        published.rolled_back("a", "b", reason)
    assert sent == []
    seen = []
    while len(sent) < len(reasons):
        await asyncio.sleep(0)
        seen.append(len(sent))
    assert [after - before for before, after in zip([0, *seen], seen, strict=False)] == [
        SIGNALS_PER_TURN,
        SIGNALS_PER_TURN,
        SIGNALS_PER_TURN,
        1,
    ]
    assert sent == reasons


async def test_flush_sends_all_at_once() -> None:
    sent: list[str] = []
    published = publisher(sent)
    for number in range(200):
        published.rolled_back("a", "b", str(number))
    published.flush()
    assert sent == [str(number) for number in range(200)]


async def test_one_bad_change_does_not_hide_the_others(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[str] = []
    published = publisher(sent, broken="two")
    for reason in ("one", "two", "three"):
        published.rolled_back("a", "b", reason)
    await asyncio.sleep(0)
    assert sent == ["one", "three"]
    assert "could not be published" in caplog.text
