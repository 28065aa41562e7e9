# SPDX-License-Identifier: Apache-2.0
"""A run is judged against its control, and against what the machine itself did."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from schedcpd.errors import MicroVmError
from schedcpd.model import CheckStatus, KernelBuild, VerdictClock
from schedcpd.verify.check import Subject, run_check, variants
from schedcpd.verify.checks.behaviour import ATTEMPTS, BehaviourCheck, conclude
from schedcpd.verify.checks.load import LoadCheck
from schedcpd.verify.guest import SPEC, GuestIdentity, GuestRun, run_probe
from schedcpd.verify.judge import control_problem, judge

from .verdict_samples import BYTES, MANIFEST, TUNABLES

S = 1_000_000_000


def measured(**changed: Any) -> dict[str, Any]:
    kinds = {"hog0": "hog", "nice19": "light", "threads": "kthread", "churner": "affinity"}
    return {
        "event": "measured",
        "name": "as given",
        "tunables": {},
        "exit": "",
        "seconds": 10.0,
        "stall_ns": 0,
        "idle": {"0": 0.01, "1": 0.02},
        "healthy": True,
        "workers": {
            name: {
                "kind": kind,
                "progress": 100,
                "max_gap_ns": S // 10,
                "violations": 0,
                "max_late_ns": 0,
                "began": 1,
            }
            for name, kind in kinds.items()
        },
        **changed,
    }


def with_worker(run: dict[str, Any], worker: str, **changed: Any) -> dict[str, Any]:
    run["workers"][worker] |= changed
    return run


CONTROL = measured(event="control", seconds=5.0)


def reasons(run: dict[str, Any], control: dict[str, Any] = CONTROL) -> list[str]:
    return [f.reason for f in judge(control, run)]


def test_a_good_run_has_no_findings() -> None:
    assert reasons(measured()) == []


@pytest.mark.parametrize(
    ("worker", "gap_s", "expected"),
    [
        ("hog0", 2.9, []),
        ("hog0", 3.1, ["behaviour.starved"]),
        ("nice19", 19.9, []),
        ("nice19", 20.1, ["behaviour.starved"]),
        ("threads", 3.1, ["behaviour.kthread-starved"]),
        ("churner", 9.9, ["behaviour.starved"]),
    ],
)
def test_starvation_is_measured(worker: str, gap_s: float, expected: list[str]) -> None:
    run = with_worker(measured(), worker, max_gap_ns=int(gap_s * S))
    assert reasons(run) == expected


def test_what_the_control_shows_too_is_not_held_against_it() -> None:
    control = with_worker(measured(event="control"), "hog0", max_gap_ns=S * 5 // 4)
    run = with_worker(measured(), "hog0", max_gap_ns=int(4.9 * S))
    assert reasons(run, control) == []
    assert reasons(with_worker(run, "hog0", max_gap_ns=int(6.1 * S)), control) != []


def test_the_machines_own_lateness_is_allowed_for() -> None:
    run = with_worker(measured(stall_ns=S), "hog0", max_gap_ns=int(3.9 * S))
    assert reasons(run) == []


def test_a_machine_that_stands_still_only_under_it_is_held_against_it() -> None:
    assert reasons(measured(stall_ns=3 * S)) == ["behaviour.stalled"]
    assert reasons(measured(stall_ns=3 * S), measured(event="control", stall_ns=S)) == []


@pytest.mark.parametrize(
    ("share", "usual", "expected"),
    [
        (0.49, 0.0, []),
        (0.51, 0.0, ["behaviour.idle-cpu"]),
        (0.97, 0.2, ["behaviour.idle-cpu"]),
        (0.75, 0.2, []),
    ],
)
def test_an_idle_cpu_beside_work_is_found(share: float, usual: float, expected: list[str]) -> None:
    control = measured(event="control", idle={"0": 0.0, "1": usual})
    assert reasons(measured(idle={"0": 0.0, "1": share}), control) == expected
    assert reasons(measured(idle={}), control) == []


def test_an_ejected_run_is_judged_by_that_alone() -> None:
    run = with_worker(measured(healthy=False, seconds=0.2, exit="kind 1024"), "hog0", progress=0)
    assert reasons(run) == ["behaviour.ejected"]


def test_a_violated_mask_is_found() -> None:
    assert reasons(with_worker(measured(), "churner", violations=1)) == ["behaviour.affinity"]


def test_a_control_that_starves_judges_nobody() -> None:
    busy = with_worker(measured(event="control", seconds=5.0), "hog0", max_gap_ns=4 * S)
    assert "too busy" in control_problem(busy)
    assert control_problem(CONTROL) == ""


class ScriptedGuest:
    """Answers every run with the next of the prepared outputs."""

    def __init__(self, *runs: GuestRun, clock: VerdictClock = VerdictClock.WALL) -> None:
        self.runs = list(runs)
        self.clock = clock
        self.files: dict[str, bytes] = {}
        self.specs: list[dict[str, Any]] = []
        self.there = GOOD_THERE

    @property
    def elsewhere(self) -> ScriptedGuest:
        return ScriptedGuest(self.there, clock=self.clock)

    async def identity(self) -> GuestIdentity:
        return GuestIdentity(KernelBuild("7.3.4", "#1", "ab" * 20), "0" * 12)

    async def run(self, argv: Any, *, files: Any, timeout_s: float) -> GuestRun:
        self.files = dict(files)
        self.specs.append(json.loads(self.files[SPEC]))
        return self.runs.pop(0)


def said(*events: dict[str, Any], exit_code: int | None = 0, **more: Any) -> GuestRun:
    text = "".join(json.dumps(e) + "\n" for e in events)
    return GuestRun(exit_code, text, more.pop("stderr", ""), **more)


ATTACHING = {"event": "attaching", "name": "as given"}
DONE = {"event": "done"}
GOOD_THERE = said(CONTROL, ATTACHING, measured(), DONE)
SUBJECT = Subject("toy", BYTES, MANIFEST, TUNABLES)


async def outcome(check: Any, *runs: GuestRun) -> tuple[str, str]:
    result = await run_check(check, SUBJECT, ScriptedGuest(*runs))
    return result.status, result.reason


async def test_behaviour_passes_when_every_run_does() -> None:
    run = said(CONTROL, ATTACHING, measured(), DONE)
    assert await outcome(BehaviourCheck(), run) == (CheckStatus.PASSED, "")


@pytest.mark.parametrize(
    ("healthy", "said_of_it", "reason"),
    [
        (True, "", ""),
        (False, "disabled (unregistered from the main kernel)", ""),  # it asks to be loaded again
        (False, "disabled (runtime error)", "behaviour.hotplug"),
    ],
)
async def test_what_holds_here_must_hold_elsewhere_and_through_hotplug(
    healthy: bool, said_of_it: str, reason: str
) -> None:
    plugged = {"event": "hotplug", "name": "as given", "cpu": 3, "healthy": healthy}
    guest = ScriptedGuest(said(CONTROL, ATTACHING, measured(), DONE))
    guest.there = said(CONTROL, measured(), ATTACHING, {**plugged, "exit": said_of_it}, DONE)
    result = await run_check(BehaviourCheck(), SUBJECT, guest)
    assert result.reason == reason
    assert "four CPUs in two caches" in result.sentence
    assert json.loads(guest.files[SPEC])["hotplug"] is False


async def test_bad_on_the_other_topology_alone_is_bad() -> None:
    guest = ScriptedGuest(said(CONTROL, ATTACHING, measured(), DONE))
    guest.there = said(CONTROL, ATTACHING, measured(healthy=False, exit="stall"), DONE)
    result = await run_check(BehaviourCheck(), SUBJECT, guest)
    assert result.reason == "behaviour.ejected"
    assert result.sentence.startswith("On four CPUs")


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (said(CONTROL, ATTACHING, exit_code=None, end="frozen"), "behaviour.frozen"),
        (said(CONTROL, ATTACHING, exit_code=None, end="panic", died=True), "behaviour.crashed"),
        (said(CONTROL, ATTACHING, exit_code=1, stderr="Traceback"), "behaviour.broken"),
        (
            said(
                CONTROL,
                ATTACHING,
                {"event": "not-enabled", "name": "as given", "message": "init failed", "exit": ""},
                DONE,
            ),
            "behaviour.not-enabled",
        ),
        (
            said(CONTROL, ATTACHING, measured(healthy=False, exit="stall"), DONE),
            "behaviour.ejected",
        ),
    ],
)
async def test_what_ends_badly_after_the_attach_fails(run: GuestRun, reason: str) -> None:
    assert await outcome(BehaviourCheck(), run) == (CheckStatus.FAILED, reason)


@pytest.mark.parametrize(
    "run",
    [
        said(exit_code=None, end="frozen"),
        said(exit_code=1, stderr="Traceback"),
        said(CONTROL, exit_code=None, end="frozen"),
        GuestRun(0, "nonsense\nmore\n", ""),
    ],
)
async def test_what_ends_badly_before_the_attach_is_no_verdict(run: GuestRun) -> None:
    with pytest.raises(MicroVmError):
        await outcome(BehaviourCheck(), run)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ("good", CheckStatus.PASSED),
        ("bad good good", CheckStatus.PASSED),
        ("bad bad", CheckStatus.FAILED),
        ("bad good bad", CheckStatus.FAILED),
        ("bad unfair bad", CheckStatus.FAILED),
        ("bad good unfair", CheckStatus.FAILED),
        ("unfair good", CheckStatus.PASSED),
    ],
)
async def test_a_wait_too_long_must_be_seen_twice(seen: str, expected: CheckStatus) -> None:
    slow = with_worker(measured(event="control", seconds=5.0), "hog0", max_gap_ns=4 * S)
    kinds = {
        "good": said(CONTROL, ATTACHING, measured(), DONE),
        "bad": said(CONTROL, ATTACHING, with_worker(measured(), "hog0", max_gap_ns=9 * S), DONE),
        "unfair": said(slow, DONE),
    }
    reason = "behaviour.starved" if expected is CheckStatus.FAILED else ""
    runs = [kinds[kind] for kind in seen.split()]
    assert await outcome(BehaviourCheck(), *runs) == (expected, reason)


async def test_whoever_waited_too_long_is_looked_at_for_longer() -> None:
    bad = said(CONTROL, ATTACHING, with_worker(measured(), "hog0", max_gap_ns=9 * S), DONE)
    guest = ScriptedGuest(bad, bad)
    await run_check(BehaviourCheck(), SUBJECT, guest)
    first, second = guest.specs
    assert second["control_seconds"] == 2 * first["control_seconds"]
    for short, long in zip(first["runs"], second["runs"], strict=True):
        assert long == {**short, "seconds": 2 * short["seconds"]}


async def test_a_machine_that_is_always_busy_gives_no_verdict() -> None:
    control = with_worker(measured(event="control", seconds=5.0), "hog0", max_gap_ns=4 * S)
    with pytest.raises(MicroVmError, match="too busy"):
        await outcome(BehaviourCheck(), *[said(control, DONE)] * ATTEMPTS)


async def test_a_bad_run_at_the_edge_of_the_ranges_fails() -> None:
    edge = with_worker(measured(name="all at maximum"), "hog0", max_gap_ns=9 * S)
    probe = await run_probe(
        ScriptedGuest(said(CONTROL, ATTACHING, measured(), edge, DONE)), "behaviour", b"", {}, 1
    )
    report, again = conclude(probe)
    assert not again
    assert [f.reason for f in report.findings] == ["behaviour.starved"]
    assert report.findings[0].sentence.startswith("(all at maximum)")


def test_the_edges_of_the_ranges_are_tried_too() -> None:
    given, low, high = variants(SUBJECT)
    assert given.tunables == TUNABLES
    assert low.tunables == {"slice_us": 100, "share": 0, "preempt": True}
    assert high.tunables == {"slice_us": 20000, "share": 1, "preempt": True}
    assert len(variants(Subject("toy", BYTES, replace(MANIFEST, tunables={}), {}))) == 1


LOADING = {"event": "loading", "name": "as given"}
REJECTED = {"event": "rejected", "name": "as given"}
PROGRAM = {
    "name": "toy_enqueue",
    "instructions": 12,
    "states": 1,
    "peak_states": 1,
    "max_states": 0,
    "microseconds": 90,
    "stack": 16,
    "log": "",
}

LOADED = {"event": "loaded", "name": "as given", "seconds": 0.1, "programs": [PROGRAM]}


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (
            said(LOADING, LOADED, DONE),
            (CheckStatus.PASSED, ""),
        ),
        (
            said(LOADING, {**REJECTED, "message": "EACCES", "log": "R1 invalid"}, DONE),
            (CheckStatus.FAILED, "load.rejected"),
        ),
        (said(LOADING, exit_code=None, end="slow"), (CheckStatus.FAILED, "load.too-slow")),
    ],
)
async def test_load(run: GuestRun, expected: tuple[CheckStatus, str]) -> None:
    assert await outcome(LoadCheck(), run) == expected


async def test_load_that_could_not_begin_is_no_verdict() -> None:
    for run in (said(exit_code=1, stderr="no python3"), said(LOADING, exit_code=1)):
        with pytest.raises(MicroVmError):
            await outcome(LoadCheck(), run)


async def test_under_the_virtual_clock_one_look_decides() -> None:
    """No host can be to blame: what was seen once would be seen again."""
    late = with_worker(measured(), "hog0", max_gap_ns=9 * S)
    for run, reason in ((measured(), ""), (late, "behaviour.starved")):
        said_once = said(CONTROL, ATTACHING, run, DONE)
        guest = ScriptedGuest(said_once, clock=VerdictClock.VIRTUAL)
        assert (await run_check(BehaviourCheck(), SUBJECT, guest)).reason == reason
        assert guest.runs == []


async def test_under_the_virtual_clock_a_control_that_starves_is_no_verdict() -> None:
    slow = with_worker(measured(event="control", seconds=5.0), "hog0", max_gap_ns=4 * S)
    guest = ScriptedGuest(said(slow, DONE), clock=VerdictClock.VIRTUAL)
    with pytest.raises(MicroVmError, match="in 1 attempts"):
        await run_check(BehaviourCheck(), SUBJECT, guest)


class Slow(ScriptedGuest):
    """The machine elsewhere never ends, and says whether it was ended."""

    ended = False

    @property
    def elsewhere(self) -> Slow:
        return self

    async def run(self, argv: Any, *, files: Any, timeout_s: float) -> GuestRun:
        if not json.loads(files[SPEC])["hotplug"]:
            await asyncio.sleep(0.05)
            return await super().run(argv, files=files, timeout_s=timeout_s)
        try:
            return await asyncio.sleep(60, GOOD_THERE)
        except asyncio.CancelledError:
            self.ended = True
            raise


async def test_both_machines_run_at_once_and_the_other_ends_with_the_first_failure() -> None:
    late = with_worker(measured(), "hog0", max_gap_ns=9 * S)
    guest = Slow(said(CONTROL, ATTACHING, late, DONE), clock=VerdictClock.VIRTUAL)
    check = asyncio.create_task(run_check(BehaviourCheck(), SUBJECT, guest))
    assert (await asyncio.wait_for(check, 20)).reason == "behaviour.starved"
    assert guest.ended
