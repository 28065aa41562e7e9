# SPDX-License-Identifier: Apache-2.0
"""What a guest's machine says of itself: kernel messages, series, and the marks that follow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedbench.arms.base import ANY_SCHEDULER
from schedbench.model import SampleState
from schedbench.reading import Reading
from schedbench.run.observations import kernel_warnings, last_time, series
from schedbench.run.wall import mark

DMESG = """<4>[    1.000000] old warning
<6>[    5.000000] information
<3>[    6.000001] sched_ext: BPF scheduler "x" disabled (runtime error)
<30>[    7.000000] systemd[1]: a program's message
<12>[    8.000000] user's warning
"""
LOST = '[6.000001] sched_ext: BPF scheduler "x" disabled (runtime error)'


def test_only_the_kernels_own_new_warnings_count() -> None:
    assert kernel_warnings(DMESG, 1.0) == (LOST,)
    assert len(kernel_warnings(DMESG)) == 2
    assert last_time(DMESG) == 8.0
    assert last_time("") == -1.0


def test_counters_become_rates() -> None:
    text = (
        "t 1000000000\npsi.cpu 0\nswitches 100\nenabled 0\nscx.A 0\nscx.B 0\n"
        "t 1500000000\npsi.cpu 250000\nswitches 200\nenabled 1\nscx.A 0\nscx.B 5\n"
        "t 2500000000\npsi.cpu 250000\nswi"
    )
    assert series(text) == {
        "enabled": ((0.5, 1.0),),
        "psi.cpu": ((0.5, 0.5),),
        "scx.B": ((0.5, 10.0),),
        "switches": ((0.5, 200.0),),
    }


@given(st.text("t 0123456789.\nabc", max_size=300))
def test_any_text_is_read_without_a_complaint(text: str) -> None:
    for points in series(text).values():
        assert all(time > 0 for time, _ in points)


OK = Reading(SampleState.OK, "", metrics={"a": 1.0}, schedulers=("x", "x"))


@pytest.mark.parametrize(
    ("messages", "expected", "state", "said"),
    [
        ((), "x", SampleState.OK, ""),
        ((), ANY_SCHEDULER, SampleState.OK, ""),
        ((), "", SampleState.MARKED, "the arm's scheduler is none, but x was enabled"),
        ((), "y", SampleState.MARKED, "the arm's scheduler is y, but x was enabled"),
        ((LOST,), "x", SampleState.MARKED, "the kernel said: [6.000001] sched_ext"),
        (("[1.0] a harmless warning",), "x", SampleState.OK, ""),
    ],
)
def test_marks(messages: tuple[str, ...], expected: str, state: SampleState, said: str) -> None:
    marked = mark(OK, messages, expected)
    assert marked.state is state
    assert marked.reason.startswith(said) and bool(marked.reason) == bool(said)


def test_a_loss_stays_what_it_is_and_gets_the_kernels_words() -> None:
    lost = Reading(SampleState.HANG, "it did not go on", schedulers=("x",))
    marked = mark(lost, (LOST,), "x")
    assert marked.state is SampleState.HANG
    assert marked.reason == f"it did not go on; the kernel said: {LOST}"
    fault = Reading(SampleState.INFRASTRUCTURE, "no machine")
    assert mark(fault, (LOST,), "x") == fault
