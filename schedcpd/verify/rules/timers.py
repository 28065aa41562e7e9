# SPDX-License-Identifier: Apache-2.0
"""Storms: timers that never rest and interrupts to every CPU for every task."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify.check import Finding
from schedcpd.verify.source.facts import Node
from schedcpd.verify.source.program import Program

LEAST_NS = 100_000
_HOT = frozenset({"enqueue", "select_cpu", "runnable", "running", "stopping", "quiescent", "tick"})


def check_timers(program: Program) -> Iterator[Finding]:
    for call in program.calls_of("bpf_timer_start"):
        period = program.values(call.argument(1), call.function)
        if period.known and min(period.known) < LEAST_NS:
            yield Finding(
                "source.timer-storm",
                f"A timer comes after {min(period.known)} ns; {LEAST_NS} are the least.",
                program.place(call.function, call.node),
                "a millisecond is short enough for a timer; react to events otherwise",
            )


def check_kicks(program: Program) -> Iterator[Finding]:
    for function in program.live:
        hot = program.ops_of.get(function.name, frozenset()) & _HOT
        if not hot:
            continue
        for loop in (node for node in function.body.walk() if node.kind == "loop"):
            kick = next((c for c in loop.calls() if c.name == "scx_bpf_kick_cpu"), None)
            if kick is not None and not _leaves(loop):
                yield Finding(
                    "source.kick-storm",
                    f"ops.{min(hot)} kicks CPUs in a loop that it never leaves early.",
                    program.place(function, kick),
                    "kick one CPU: the idle one that can take the task",
                )


def _leaves(loop: Node) -> bool:
    return any(node.kind in ("break", "return") for node in loop.walk())
