# SPDX-License-Identifier: Apache-2.0
"""plan: which policy, why not the others, and that it does not flap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd.model import (
    AppIdentity,
    AppKind,
    CandidateKind,
    Conditions,
    Intent,
    IntentClass,
    IntentSource,
    Machine,
    Policy,
    PolicyLimits,
    Power,
    SchedulerObject,
    WorkloadProfile,
    WorkloadView,
)
from schedcpd.plan.planner import plan
from schedcpd.plan.situation import (
    Demand,
    HistorySummary,
    Limits,
    Plan,
    Running,
    Situation,
    demand_of,
)

LATENCY, INTERACTIVE, NORMAL, BATCH, BACKGROUND = IntentClass


def policy(
    name: str,
    intents: tuple[IntentClass, ...],
    priority: int = 50,
    *,
    chosen_for: tuple[IntentClass, ...] | None = None,
    scheduler: str = "toy",
    conditions: Conditions | None = None,
) -> Policy:
    return Policy(
        name,
        f"{name}.",
        scheduler,
        MappingProxyType({"slice_us": 100 + len(name)} if scheduler else {}),
        intents,
        chosen_for or intents,
        conditions or Conditions(),
        priority,
        MappingProxyType({}),
        "shipped",
        "f.yaml",
        1,
    )


KERNEL = policy("kernel-default", (NORMAL,), 0, scheduler="")
SERVER = policy("server", (LATENCY, BATCH, BACKGROUND), 60, chosen_for=(LATENCY,))
THROUGHPUT = policy("throughput", (BATCH, BACKGROUND), 70)
BALANCED = policy("balanced", (LATENCY, INTERACTIVE, BATCH, BACKGROUND), 10)
POLICIES = (KERNEL, BALANCED, SERVER, THROUGHPUT)
OBJECTS = {"toy": SchedulerObject("toy", "/b/toy.bpf.o", "aa")}
AT_REST = Running("kernel-default", "", {}, 0.0)


def demand(*classes: IntentClass, desktop: bool = False) -> Demand:
    return Demand(dict.fromkeys(classes, 1), {c: f"app-{c}" for c in classes}, desktop)


def situation(
    *classes: IntentClass,
    running: Running = AT_REST,
    history: HistorySummary | None = None,
    now_s: float = 10_000.0,
    policies: tuple[Policy, ...] = POLICIES,
    objects: Mapping[str, SchedulerObject] = OBJECTS,
    choice: str = "auto",
    killed: bool = False,
    max_per_hour: int = 6,
) -> Situation:
    return Situation(
        demand(*classes),
        Machine(4),
        policies,
        objects,
        running,
        Limits(60.0, max_per_hour),
        now_s,
        history or HistorySummary(),
        choice,
        killed,
    )


def runs(name: str, since_s: float = 0.0) -> Running:
    found = next(p for p in POLICIES if p.name == name)
    return Running(name, "aa", dict(found.tunables), since_s)


def why(made: Plan, name: str) -> str:
    return dict(made.candidate.rejected)[name]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ((), "kernel-default"),
        ((NORMAL,), "kernel-default"),
        ((BATCH,), "throughput"),
        ((NORMAL, BATCH, BACKGROUND), "throughput"),
        ((LATENCY, BATCH), "server"),
        ((INTERACTIVE,), "balanced"),
        ((INTERACTIVE, LATENCY), "balanced"),
    ],
)
def test_the_policy_that_serves_what_is_wanted(wanted: tuple[IntentClass, ...], name: str) -> None:
    made = plan(situation(*wanted))
    assert made.candidate.policy == name
    assert made.change == (name != "kernel-default")
    assert {other for other, _ in made.candidate.rejected} == {p.name for p in POLICIES} - {name}
    assert all(reason for _, reason in made.candidate.rejected)


def test_a_candidate_binds_object_and_every_tunable() -> None:
    candidate = plan(situation(LATENCY)).candidate
    assert candidate.kind is CandidateKind.RECONFIGURE
    assert (candidate.object_path, candidate.object_sha256) == ("/b/toy.bpf.o", "aa")
    assert dict(candidate.tunables) == dict(SERVER.tunables)
    assert candidate.reason == "serves latency (1, such as app-latency)"


def test_a_policy_with_as_many_setbacks_as_its_limit_is_left_to_the_operator() -> None:
    limited = replace(SERVER, limits=PolicyLimits(setbacks=2))
    here = situation(LATENCY, policies=(KERNEL, BALANCED, limited))
    for had, taken in ((1, "server"), (2, "balanced"), (3, "balanced")):
        made = plan(replace(here, history=HistorySummary(setbacks={"server": had})))
        assert made.candidate.policy == taken
    assert why(made, "server") == "had 3 setbacks, its limit is 2"
    by_hand = plan(replace(here, history=HistorySummary(setbacks={"server": 9}), choice="server"))
    assert by_hand.candidate.policy == "server"


def test_the_others_are_told_why_not() -> None:
    made = plan(situation(LATENCY))
    assert why(made, "throughput") == "does not serve latency (1, such as app-latency)"
    assert why(made, "balanced") == "server has priority 60, this one 10"
    assert why(made, "kernel-default").startswith("serves no class but normal")
    batch = plan(situation(BATCH))
    assert why(batch, "server") == "is chosen only when latency is wanted"


@pytest.mark.parametrize(
    ("conditions", "machine", "desktop", "part"),
    [
        (Conditions(power=Power.BATTERY), Machine(4), False, "for battery power"),
        (Conditions(cpus_min=8), Machine(4), False, "8 CPUs or more, there are 4"),
        (Conditions(cpus_max=2), Machine(4), False, "2 CPUs or fewer, there are 4"),
        (Conditions(desktop=True), Machine(4), False, "is for desktops"),
        (Conditions(desktop=False), Machine(4), True, "without a desktop"),
        (Conditions(Power.AC, 4, 4, True), Machine(4), True, ""),
    ],
)
def test_conditions(conditions: Conditions, machine: Machine, desktop: bool, part: str) -> None:
    only = policy("only", (BATCH,), conditions=conditions)
    made = plan(
        replace(
            situation(policies=(KERNEL, only)),
            demand=demand(BATCH, desktop=desktop),
            machine=machine,
        )
    )
    assert made.candidate.policy == ("kernel-default" if part else "only")
    assert not part or part in why(made, "only")


def test_what_is_quarantined_or_missing_never_runs() -> None:
    history = HistorySummary(quarantined={"aa": "ejected: stall"})
    made = plan(situation(LATENCY, history=history))
    assert made.candidate.kind is CandidateKind.DEFAULT
    assert why(made, "server") == "scheduler toy is quarantined: ejected: stall"
    missing = plan(situation(LATENCY, objects={}))
    assert why(missing, "server") == "the object of scheduler toy is missing"
    asked = plan(situation(LATENCY, history=history, choice="server"))
    assert asked.candidate.policy == "kernel-default"
    assert "quarantined" in asked.candidate.reason


def test_quarantine_of_what_runs_is_left_at_once() -> None:
    history = HistorySummary(quarantined={"aa": "stall"}, swaps_s=(9_999.0,) * 6)
    made = plan(situation(LATENCY, history=history, running=runs("server", 9_999.0)))
    assert (made.candidate.policy, made.change) == ("kernel-default", True)


def test_the_kill_switch_stands_above_everything() -> None:
    made = plan(situation(LATENCY, running=runs("server"), choice="server", killed=True))
    assert (made.candidate.policy, made.change) == ("kernel-default", True)
    assert "kill switch" in made.candidate.reason


def test_an_operators_choice_ignores_demand_conditions_and_hold_down() -> None:
    history = HistorySummary(swaps_s=(9_999.0,) * 6)
    made = plan(situation(history=history, running=runs("server", 9_999.0), choice="throughput"))
    assert (made.candidate.policy, made.change) == ("throughput", True)
    assert why(made, "server") == "an operator chose throughput"
    default = plan(situation(LATENCY, running=runs("server"), choice="kernel-default"))
    assert (default.candidate.policy, default.change) == ("kernel-default", True)
    absent = plan(situation(LATENCY, choice="gone"))
    assert "does not exist" in absent.candidate.reason


def test_fewer_setbacks_then_the_closer_fit_then_the_name() -> None:
    same = (
        KERNEL,
        policy("b", (BATCH, BACKGROUND)),
        policy("a", (BATCH, BACKGROUND)),
        policy("c", (BATCH,)),
    )
    fits = plan(situation(BATCH, policies=same))
    assert fits.candidate.policy == "c"
    assert why(fits, "a") == "c fits more closely what is wanted"
    history = HistorySummary(setbacks={"c": 1})
    by_name = plan(situation(BATCH, policies=same, history=history))
    assert by_name.candidate.policy == "a"
    assert why(by_name, "b") == "a comes first by name"
    assert why(by_name, "c") == "a had fewer setbacks (0 against 1)"


def test_what_runs_well_is_left_alone_for_the_hold_down() -> None:
    history = HistorySummary(swaps_s=(9_990.0,))
    held = situation(BATCH, running=runs("server", 9_990.0), history=history)
    made = plan(held)
    assert (made.candidate.policy, made.change, made.retry_in_s) == ("server", False, 50.0)
    assert "held back for 50 s" in why(made, "throughput")
    later = plan(replace(held, now_s=10_050.0))
    assert (later.candidate.policy, later.change) == ("throughput", True)


def test_a_successor_must_be_preferred_for_the_whole_hold_down() -> None:
    since = situation(BATCH, running=runs("server", 100.0), history=HistorySummary())
    fresh = plan(replace(since, preferred=("", 0.0)))
    assert (fresh.candidate.policy, fresh.change, fresh.retry_in_s) == ("server", False, 60.0)
    assert fresh.preferred == "throughput"
    steady = replace(since, preferred=("throughput", since.now_s - 59.0))
    assert plan(steady).retry_in_s == 1.0
    assert plan(replace(steady, now_s=since.now_s + 1.0)).change
    # what was preferred before another one does not count
    assert plan(replace(since, preferred=("balanced", 0.0))).retry_in_s == 60.0
    # what it would return to needs no patience
    assert not plan(replace(since, demand=demand(LATENCY), preferred=("throughput", 0.0))).preferred
    # nor does what is needed
    urgent = situation(LATENCY, running=runs("throughput"), history=HistorySummary())
    assert plan(replace(urgent, preferred=("", 0.0))).change


def test_the_hold_down_doubles_with_every_swap_of_the_last_hour() -> None:
    history = HistorySummary(swaps_s=(100.0, 9_500.0, 9_700.0, 9_990.0))
    made = plan(situation(BATCH, running=runs("server", 9_990.0), history=history))
    assert made.retry_in_s == 230.0  # 60 * 2**2 - 10


def test_a_wanted_class_that_is_not_served_does_not_wait() -> None:
    history = HistorySummary(swaps_s=(9_990.0,))
    made = plan(situation(LATENCY, running=runs("throughput", 9_990.0), history=history))
    assert (made.candidate.policy, made.change) == ("server", True)


def test_but_not_more_often_than_the_hourly_limit() -> None:
    history = HistorySummary(swaps_s=(7_000.0, 9_990.0))
    made = plan(
        situation(LATENCY, running=runs("throughput", 9_990.0), history=history, max_per_hour=2)
    )
    assert (made.candidate.policy, made.change, made.retry_in_s) == ("throughput", False, 600.0)


def test_leaving_for_the_kernels_default_waits_too_when_there_is_no_need() -> None:
    history = HistorySummary(swaps_s=(9_990.0,))
    made = plan(situation(NORMAL, running=runs("server", 9_990.0), history=history))
    assert (made.candidate.policy, made.change, made.retry_in_s) == ("server", False, 50.0)
    gone = replace(runs("server", 9_990.0), policy="removed")
    made = plan(situation(NORMAL, running=gone, history=history))
    assert (made.candidate.policy, made.change) == ("kernel-default", True)


def test_new_tunables_or_new_bytes_are_a_change() -> None:
    running = replace(runs("server"), tunables={"slice_us": 1})
    assert plan(situation(LATENCY, running=running)).change
    running = replace(runs("server"), object_sha256="bb")
    assert plan(situation(LATENCY, running=running)).change
    assert not plan(situation(LATENCY, running=runs("server"))).change


def test_alternating_demand_cannot_make_it_flap() -> None:
    """A request a minute for a day: swaps stay within the limit of every hour."""
    running, swaps = AT_REST, []
    for minute in range(24 * 60):
        now_s = 10_000.0 + 60.0 * minute
        wanted = (LATENCY,) if minute % 2 else (BATCH,)
        made = plan(
            situation(
                *wanted, running=running, history=HistorySummary(swaps_s=tuple(swaps)), now_s=now_s
            )
        )
        if made.change:
            candidate = made.candidate
            running = Running(
                candidate.policy, candidate.object_sha256, dict(candidate.tunables), now_s
            )
            swaps.append(now_s)
    assert swaps
    for start in swaps:
        assert sum(1 for s in swaps if start <= s < start + 3600) <= 6


_classes = st.lists(st.sampled_from(list(IntentClass)), max_size=5)


@settings(max_examples=300, deadline=None)
@given(
    _classes,
    st.sampled_from([AT_REST, *(runs(p.name) for p in POLICIES if p.scheduler)]),
    st.lists(st.floats(0, 10_000), max_size=8),
    st.booleans(),
    st.sampled_from(["auto", "server", "kernel-default", "gone"]),
    st.booleans(),
)
def test_always_one_sound_plan(
    classes: list[IntentClass],
    running: Running,
    swaps: list[float],
    quarantined: bool,
    choice: str,
    killed: bool,
) -> None:
    history = HistorySummary({"aa": "x"} if quarantined else {}, {}, tuple(swaps))
    told = situation(*classes, running=running, history=history, choice=choice, killed=killed)
    made = plan(told)
    assert made == plan(told)
    candidate = made.candidate
    assert candidate.policy in {p.name for p in POLICIES}
    assert dict(candidate.rejected).keys() == {p.name for p in POLICIES} - {candidate.policy}
    assert all(reason for reason in dict(candidate.rejected).values())
    if killed or quarantined:
        assert candidate.kind is CandidateKind.DEFAULT
    if made.retry_in_s is not None:
        assert 0 < made.retry_in_s <= 3600


def test_demand_counts_live_workloads_only() -> None:
    def view(name: str, intent: IntentClass, kind: AppKind, populated: bool) -> WorkloadView:
        profile = WorkloadProfile(f"/{name}", 1, AppIdentity(kind, name), populated, 0)
        return WorkloadView(profile, Intent("1", intent, IntentSource.RULE, "r"), False)

    found = demand_of(
        (
            view("b", BATCH, AppKind.SERVICE, True),
            view("a", BATCH, AppKind.SERVICE, True),
            view("c", LATENCY, AppKind.DESKTOP_APP, False),
        )
    )
    assert (found.counts, found.examples, found.desktop) == ({BATCH: 2}, {BATCH: "a"}, False)
    assert demand_of((view("d", NORMAL, AppKind.DESKTOP_APP, True),)).desktop


EXTERNAL = replace(
    policy("theirs", (LATENCY, BATCH), 90, scheduler="scx_toy"),
    external=True,
    tunables=MappingProxyType({"mode": "gaming"}),
)
WITH_PROGRAM = {**OBJECTS, "scx_toy": SchedulerObject("scx_toy", "/usr/bin/scx_toy", "bb")}


def test_an_external_scheduler_is_a_candidate_of_its_own_kind() -> None:
    asked = situation(
        LATENCY, policies=(*POLICIES, EXTERNAL), objects=WITH_PROGRAM, choice="theirs"
    )
    candidate = plan(asked).candidate
    assert candidate.kind is CandidateKind.EXTERNAL
    assert (candidate.scheduler, candidate.object_path) == ("scx_toy", "/usr/bin/scx_toy")
    assert (candidate.object_sha256, candidate.tunables) == ("bb", {"mode": "gaming"})


def test_a_missing_program_is_never_chosen_and_says_why() -> None:
    policies, why_not = (*POLICIES, EXTERNAL), "scx_toy is not installed"
    told = replace(situation(LATENCY, policies=policies), missing={"scx_toy": why_not})
    made = plan(told)
    assert made.candidate.policy == "server"
    assert why(made, "theirs") == why_not
    made = plan(replace(told, choice="theirs"))
    assert made.candidate.kind is CandidateKind.DEFAULT
    assert why_not in made.candidate.reason


def test_what_runs_must_leave_when_its_program_is_gone() -> None:
    running = Running("theirs", "bb", {"mode": "gaming"}, 0.0)
    told = situation(LATENCY, running=running, policies=(*POLICIES, EXTERNAL))
    assert plan(replace(told, missing={"scx_toy": "is gone"})).candidate.policy == "server"
