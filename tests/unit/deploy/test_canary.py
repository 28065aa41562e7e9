# SPDX-License-Identifier: Apache-2.0
"""A scheduler on trial: what promotes it, what takes it back, and what may be tried again."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.deploy.feedback import Look, tail_us, window
from schedcpd.errors import BusyError, VerifyError
from schedcpd.host.vitals import SysVitals, Vitals
from schedcpd.model import Candidate, DaemonState, IntentClass, OutcomeKind

from .rig import Rig, candidate

USUAL, DOUBLED = 22, 23  # buckets: 4 to 8 ms, 8 to 16 ms


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    rig.machine.classes = {}
    await rig.manager.start()
    return rig


async def deploy(rig: Rig, one: Candidate | str, *, asked: bool = True) -> None:
    wanted = candidate(one) if isinstance(one, str) else one
    await rig.manager.deploy(wanted, source="operator", asked=asked)


async def seconds(rig: Rig, count: int, bucket: int, name: str = "normal") -> None:
    """`count` looks, a second apart, one CPU busy; 500 runs in each waited as `bucket` says."""
    for _ in range(count):
        rig.clock.pass_s(1)
        one = rig.machine.classes.setdefault(name, {"runs": 0, "run_ns": 0, "delay_hist": [0] * 64})
        one["runs"] += 500
        one["delay_hist"][bucket] += 500
        await rig.manager.look()


def runs(rig: Rig) -> str:
    current = rig.manager.view().current
    return current.policy if current else "kernel-default"


async def test_it_is_promoted_only_after_the_canary(rig: Rig) -> None:
    await deploy(rig, "a")
    await seconds(rig, 15, USUAL)
    assert rig.told.promoted == []
    assert "on trial for 20 s" in rig.manager.view().reason
    await seconds(rig, 8, USUAL)
    assert rig.told.promoted == ["a"]
    assert "on trial" not in rig.manager.view().reason
    await rig.restart_daemon()
    assert rig.manager.view().current.promoted  # type: ignore[union-attr]


async def test_what_was_just_attached_is_not_looked_at_seldom(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.limits = replace(rig.limits, watch_s=1.0)  # ten while nothing is on trial
    await rig.restart_daemon()
    watching = asyncio.create_task(rig.manager.run())
    await asyncio.sleep(0.1)
    await deploy(rig, "a")
    await asyncio.wait_for(rig.machine.asked.wait(), 8)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert runs(rig) == "a"


async def test_a_tail_that_doubles_after_ten_seconds_is_taken_back(rig: Rig) -> None:
    await deploy(rig, "a")
    await seconds(rig, 25, USUAL)
    await deploy(rig, "b")
    await seconds(rig, 10, USUAL)
    assert runs(rig) == "b"
    await seconds(rig, 5, DOUBLED)
    assert runs(rig) == "a"
    assert rig.manager.view().current.source == "fallback"  # type: ignore[union-attr]
    ended = rig.told.outcomes[-1]
    assert (ended.policy, ended.kind) == ("b", OutcomeKind.ROLLED_BACK)
    assert "p99 run delay of normal" in ended.reason
    assert ended.measures["normal_delay_p99_us"] > 8000
    assert rig.told.rollbacks == [("b", "a", ended.reason)]
    with pytest.raises(VerifyError, match="quarantined"):
        await deploy(rig, "b", asked=False)


async def test_worse_than_what_ran_before_from_the_start(rig: Rig) -> None:
    await deploy(rig, "a")
    await seconds(rig, 25, USUAL)
    await deploy(rig, "b")
    await seconds(rig, 9, DOUBLED)
    assert runs(rig) == "a"


async def test_one_bad_window_is_chance(rig: Rig) -> None:
    await deploy(rig, "a")
    await seconds(rig, 10, USUAL)
    trial = rig.manager.trial
    assert trial is not None
    rig.machine.classes["normal"]["delay_hist"][DOUBLED + 2] += 100
    await seconds(rig, 1, USUAL)
    assert trial.suspect
    await seconds(rig, 6, USUAL)
    assert runs(rig) == "a"
    assert not trial.suspect


async def test_more_load_than_before_is_no_regression(rig: Rig) -> None:
    await deploy(rig, "a")
    await seconds(rig, 25, USUAL)
    await deploy(rig, "b")
    for _ in range(30):
        rig.vitals.busy_s += 3  # four CPUs' worth, it was one
        await seconds(rig, 1, DOUBLED)
    assert runs(rig) == "b"
    assert rig.told.promoted[-1] == "b"


async def test_a_longer_queue_on_a_busy_machine_is_no_regression(rig: Rig) -> None:
    await deploy(rig, "a")
    await seconds(rig, 10, USUAL)
    rig.vitals.runnable = 8  # as many CPUs are busy, twice as many tasks want them
    await seconds(rig, 15, DOUBLED)
    assert rig.told.promoted == ["a"]


async def test_batch_may_wait_longer(rig: Rig) -> None:
    await deploy(rig, "a")
    await seconds(rig, 25, USUAL, "batch")
    await deploy(rig, "b")
    await seconds(rig, 25, DOUBLED, "batch")
    assert rig.told.promoted[-1] == "b"


async def test_normal_may_wait_longer_beside_latency(rig: Rig) -> None:
    for name, bucket in (("a", USUAL), ("b", DOUBLED)):
        await deploy(rig, name)
        for _ in range(25):
            await seconds(rig, 1, bucket)
            rig.machine.classes.setdefault("latency", {"delay_hist": [0] * 64})
            rig.machine.classes["latency"]["delay_hist"][USUAL] += 500
    assert rig.told.promoted == ["a", "b"]


@pytest.mark.parametrize("promised_us, kept", [(20_000, True), (5000, False)])
async def test_what_the_policy_promises_is_held_against_it(
    rig: Rig, promised_us: float, kept: bool
) -> None:
    promising = replace(candidate("a"), slo_delay_p99_us={IntentClass.LATENCY: promised_us})
    await deploy(rig, promising)
    await seconds(rig, 10, USUAL, "latency")  # just below 8 ms
    assert (runs(rig) == "a") is kept


async def test_a_promise_holds_after_the_canary_too(rig: Rig) -> None:
    await deploy(rig, replace(candidate("a"), slo_delay_p99_us={IntentClass.LATENCY: 10_000.0}))
    await seconds(rig, 25, USUAL, "latency")
    assert rig.told.promoted == ["a"]
    await seconds(rig, 8, DOUBLED, "latency")
    assert runs(rig) == "kernel-default"
    assert "its policy promises 10000" in rig.manager.view().reason


async def test_a_longer_tail_after_the_canary_is_no_breach_without_a_promise(rig: Rig) -> None:
    await deploy(rig, "a")
    await seconds(rig, 25, USUAL)
    await seconds(rig, 10, DOUBLED + 3)
    assert runs(rig) == "a"


async def test_pressure_of_more_work_is_no_regression(rig: Rig) -> None:
    await seconds(rig, 3, USUAL)  # the kernel's default
    await deploy(rig, "a")  # since a build begins, say
    for _ in range(30):
        assert rig.vitals.waited_us is not None
        rig.vitals.waited_us += 900_000
        rig.vitals.busy_s += 3
        await seconds(rig, 1, USUAL)
    assert rig.told.promoted == ["a"]


async def test_pressure_that_rises_ends_a_trial(rig: Rig) -> None:
    await seconds(rig, 3, USUAL)  # the kernel's default
    await deploy(rig, "a")
    for _ in range(10):
        assert rig.vitals.waited_us is not None
        rig.vitals.waited_us += 700_000
        await seconds(rig, 1, USUAL)
    assert runs(rig) == "kernel-default"
    assert "tasks wait for a CPU" in rig.manager.view().reason


@pytest.mark.parametrize(("busy", "stays"), [(4.0, True), (2.0, False)])
async def test_a_crowd_on_full_cpus_waits_under_every_scheduler(
    rig: Rig, busy: float, stays: bool
) -> None:
    """Where CPUs are left over, tasks that wait are not served: theirs is the scheduler's fault."""
    for second in range(14):
        assert rig.vitals.waited_us is not None
        crowd = second >= 4
        work = busy if crowd else 3.6
        rig.vitals.busy_s, rig.vitals.idle_s = (
            rig.vitals.busy_s + work,
            rig.vitals.idle_s + 4 - work,
        )
        rig.vitals.waited_us += 950_000 if crowd else 100_000
        rig.vitals.runnable = 24 if crowd else 4
        await seconds(rig, 1, USUAL)
        if second == 3:
            await deploy(rig, "a")
    assert (runs(rig) == "a") == stays


@pytest.mark.parametrize(
    ("ended", "idle_s", "stays"),
    [(10, 3.2, False), (USUAL, 3.2, True), (10, 0.0, True)],
    ids=["left waiting", "bound to one CPU, in turn", "CPUs are full"],
)
async def test_who_waits_beside_idle_cpus_is_served(
    rig: Rig, ended: int, idle_s: float, stays: bool
) -> None:
    """From its third second on, and under more work than before: nothing compares."""
    await seconds(rig, 3, 10)  # the kernel's default, without work
    await deploy(rig, "a")
    await seconds(rig, 3, 10)
    for _ in range(12):
        assert rig.vitals.waited_us is not None
        rig.vitals.waited_us += 900_000
        rig.vitals.busy_s += 0.8
        rig.vitals.idle_s += idle_s
        await seconds(rig, 1, ended)
    assert (runs(rig) == "a") == stays
    assert stays or "CPUs that rest leave them so" in rig.told.outcomes[-1].reason


async def test_the_kernels_error_counters_end_it_at_any_time(rig: Rig) -> None:
    await deploy(rig, "a")
    await seconds(rig, 25, USUAL)
    for _ in range(6):
        rig.vitals.errors += 1000
        await seconds(rig, 1, USUAL)
    assert runs(rig) == "kernel-default"
    assert "errors of it a second" in rig.manager.view().reason


async def test_a_host_that_does_not_answer_is_ended(rig: Rig) -> None:
    await deploy(rig, "a")
    await seconds(rig, 25, USUAL)
    await deploy(rig, "b")
    rig.machine.deaf = True
    for _ in range(rig.limits.heartbeats):
        await rig.manager.look()
    rig.machine.deaf = False
    assert runs(rig) == "a"
    assert "no answer to 3 looks" in rig.told.rollbacks[-1][2]
    await rig.settle()
    assert runs(rig) == "a"  # the end of the host's process is no operator's stop


async def test_the_same_object_with_other_tunables_may_run(rig: Rig) -> None:
    await deploy(rig, candidate("a", slice=5))
    await seconds(rig, 25, USUAL)
    await deploy(rig, candidate("a", slice=9))
    await seconds(rig, 9, DOUBLED)
    assert rig.manager.view().current.tunables == {"slice": 5}  # type: ignore[union-attr]
    assert rig.manager.quarantined("sha-a", {"slice": 9})
    assert not rig.manager.quarantined("sha-a", {"slice": 5})
    rig.clock.pass_s(rig.limits.quarantine_s)
    assert not rig.manager.quarantined("sha-a", {"slice": 9})


async def test_after_three_setbacks_nothing_is_tried_unasked(rig: Rig) -> None:
    for name in ("b", "c", "d"):
        await deploy(rig, name, asked=False)
        await seconds(rig, 6, USUAL)
        await seconds(rig, 5, DOUBLED)
        assert runs(rig) == "kernel-default"
        rig.clock.pass_s(300)
    with pytest.raises(BusyError, match="3 schedulers failed in the last hour"):
        await deploy(rig, "e", asked=False)
    await rig.restart_daemon()
    with pytest.raises(BusyError, match="3 schedulers failed"):
        await deploy(rig, "e", asked=False)
    await deploy(rig, "e")  # an operator's word
    await deploy(rig, replace(candidate("f")), asked=True)
    await rig.manager.resume()
    await deploy(rig, "g", asked=False)
    assert rig.manager.view().state is DaemonState.ACTIVE


HISTOGRAM = st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any)


@given(HISTOGRAM, st.floats(0.01, 1.0))
def test_twice_the_delays_is_twice_the_tail(histogram: list[int], share: float) -> None:
    once, twice = tail_us(histogram, share), tail_us([0, *histogram], share)
    assert twice == pytest.approx(2 * once)
    bucket = next(
        n for n in range(len(histogram)) if sum(histogram[: n + 1]) >= share * sum(histogram)
    )
    assert 2**bucket / 1000 <= once <= 2 ** (bucket + 1) / 1000 * (1 + 1e-9)


def test_a_window_is_of_what_happened_in_it() -> None:
    first = Look.of(
        10**9, Vitals(1000, 5, 9.0), {"classes": {"normal": {"delay_hist": [0, 900, 0]}}}
    )
    last = Look.of(
        3 * 10**9,
        Vitals(501_000, 45, 10.0),
        {"classes": {"normal": {"delay_hist": [0, 900, 600]}}},
    )
    seen = window(first, last)
    assert seen.tails == {IntentClass.NORMAL: pytest.approx(0.008, rel=0.02)}
    assert (seen.seconds, seen.waited, seen.errors_per_s) == (2.0, 0.25, 20.0)
    assert seen.busy == 0.5
    assert seen.served == pytest.approx(600 * 6e-9 / 2)  # each of 4 to 8 ns
    assert window(last, last).tails == {}
    assert window(Look(0, first.vitals), Look(10**9, first.vitals)).served is None


def test_vitals_are_read_and_may_be_missing(tmp_path: Path) -> None:
    assert SysVitals(tmp_path).read() == Vitals(None, 0)
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "proc/pressure/cpu").write_text(
        "some avg10=0.10 avg60=0.05 avg300=0.01 total=1234567\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    events = tmp_path / "sys/kernel/sched_ext/root/events"
    events.parent.mkdir(parents=True)
    events.write_text(
        "SCX_EV_SELECT_CPU_FALLBACK 7\nSCX_EV_ENQ_SKIP_EXITING 1000\nSCX_EV_INSERT_NOT_OWNED 2\n"
    )
    (tmp_path / "proc/stat").write_text("cpu  100 5 50 9000 40 1 4 0 0 0\ncpu0 1 2 3\n")
    busy_s, idle_s = (ticks / os.sysconf("SC_CLK_TCK") for ticks in (160, 9040))
    (tmp_path / "proc/loadavg").write_text("0.20 0.18 0.12 3/80 11206\n")
    assert SysVitals(tmp_path).read() == Vitals(1234567, 9, busy_s, 3, idle_s)
