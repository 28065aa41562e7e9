# SPDX-License-Identifier: Apache-2.0
"""A run's course, with a runner that needs no machine: records, faults, training, resuming."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from schedbench.arms.base import Arm, ArmScript, Told, Trial
from schedbench.arms.default import DefaultArm
from schedbench.errors import BenchError, UnlikeError
from schedbench.model import Clock, Environment, Sample, SampleKey, SampleState, Workload
from schedbench.records import ArmRecord, Boot, RunFolder, RunRecord
from schedbench.run.session import TRAINING_SEEDS, Session, Summary, told

from .test_records import a_run, a_sample

Verdict = Callable[[SampleKey, int], tuple[SampleState, float]]


def always_ok(key: SampleKey, order: int) -> tuple[SampleState, float]:
    return SampleState.OK, 1.0


@dataclass
class FakeRunner:
    """Gives each sample the state and the metric that `verdict` says."""

    verdict: Verdict = always_ok
    environment: Environment = field(default_factory=lambda: a_run().environment)
    boot: Boot = Boot.RESUME
    taken: list[SampleKey] = field(default_factory=list)
    scripts: list[ArmScript] = field(default_factory=list)
    stop_after: int = 10**9

    async def take(
        self, key: SampleKey, workload: Workload, arm: ArmScript, order: int
    ) -> tuple[Sample, str]:
        if len(self.taken) == self.stop_after:
            raise asyncio.CancelledError
        self.taken.append(key)
        self.scripts.append(arm)
        state, value = self.verdict(key, order)
        metrics = {"seconds": value} if state is SampleState.OK else {}
        reason = "" if state is SampleState.OK else "because"
        sample = a_sample(key, state=state, metrics=metrics, order=order, reason=reason, arm_log={})
        return sample, "the console"


@dataclass
class Learner:
    """Tries the numbers 0, 1, ... and keeps the last."""

    trials: int
    name: str = "learner"
    first_seed: int = TRAINING_SEEDS
    chosen: object = None
    clocks: frozenset[Clock] = frozenset(Clock)
    told_intents: bool = False

    def describe(self) -> Mapping[str, object]:
        return {"chosen": self.chosen}

    def script(self, told: Told) -> ArmScript:
        return ArmScript(start=f"echo {self.chosen}\n")

    def configured(self, configuration: Mapping[str, object]) -> Arm:
        return replace(self, chosen=configuration["n"])

    async def train(self, workload: str, trial: Trial, budget: int, seed: int) -> None:
        for n in range(self.trials):
            sample = await trial({"n": n}, self.first_seed + n)
            assert sample.key.workload == workload
            self.chosen = n


def a_record(*arms: str, extend_to: int = 0) -> RunRecord:
    run = a_run()
    names = arms or ("default", "noop")
    return replace(
        run,
        suite=replace(run.suite, extend_to=extend_to),
        arms=tuple(ArmRecord(name, False, {}) for name in names),
    )


async def load(name: str) -> Arm:
    return DefaultArm(name)


async def go(
    folder: Path,
    runner: FakeRunner,
    record: RunRecord | None = None,
    loader: Callable[[str], Awaitable[Arm]] = load,
    say: Callable[[str], None] = lambda text: None,
    budget: int = 3,
    jobs: int = 1,
) -> Summary:
    record = replace(record or a_record(), budget=budget)
    session = Session(RunFolder(folder), record, runner, loader, say, jobs)
    return await session.run()


async def test_a_run_takes_every_sample_and_says_how_long_it_takes(tmp_path: Path) -> None:
    said: list[str] = []
    summary = await go(tmp_path, FakeRunner(), say=said.append)
    assert (summary.taken, summary.standing, summary.missing) == (6, 6, ())
    assert summary.states == {"ok": 6}
    assert [sample.order for sample in RunFolder(tmp_path).samples()] == list(range(6))
    assert said[0].startswith("[1/6] xz / ") and "about" in said[0]
    assert "left" not in said[-1]


async def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    first = FakeRunner(stop_after=2)
    with pytest.raises(asyncio.CancelledError):
        await go(tmp_path, first)
    assert len(RunFolder(tmp_path).samples()) == 2
    second = FakeRunner()
    summary = await go(tmp_path, second)
    assert (summary.taken, summary.standing) == (4, 6)
    assert not set(first.taken) & set(second.taken)
    assert sorted(s.order for s in RunFolder(tmp_path).samples()) == list(range(6))
    assert (await go(tmp_path, FakeRunner(stop_after=0))).taken == 0


async def test_several_at_a_time_are_the_same_samples(tmp_path: Path) -> None:
    @dataclass
    class Slow(FakeRunner):
        now: int = 0
        most: int = 0

        async def take(
            self, key: SampleKey, workload: Workload, arm: ArmScript, order: int
        ) -> tuple[Sample, str]:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            return await super().take(key, workload, arm, order)

    runner = Slow()
    summary = await go(tmp_path, runner, jobs=4)
    assert (summary.taken, summary.standing, runner.most) == (6, 6, 4)
    assert sorted(s.order for s in RunFolder(tmp_path).samples()) == list(range(6))


async def test_another_run_is_not_put_into_the_folder(tmp_path: Path) -> None:
    await go(tmp_path, FakeRunner())
    other = replace(a_record(), plan_seed=9, boot=Boot.RESUME)
    with pytest.raises(UnlikeError, match="boot, plan_seed"):
        await go(tmp_path, FakeRunner(), other)


@pytest.mark.parametrize(
    "state", [SampleState.FAILED, SampleState.HANG, SampleState.VM_DIED, SampleState.MARKED]
)
async def test_losses_stand_with_their_console_and_the_run_goes_on(
    tmp_path: Path, state: SampleState
) -> None:
    def verdict(key: SampleKey, order: int) -> tuple[SampleState, float]:
        return (state if key.arm == "noop" else SampleState.OK), 1.0

    summary = await go(tmp_path, FakeRunner(verdict))
    assert summary.states == {"ok": 3, state.value: 3}
    assert (tmp_path / "logs" / "xz.noop.1.txt").read_text() == "the console"
    assert not (tmp_path / "logs" / "xz.default.1.txt").exists()


async def test_faults_of_the_environment_are_kept_and_taken_again(tmp_path: Path) -> None:
    def verdict(key: SampleKey, order: int) -> tuple[SampleState, float]:
        return (SampleState.INFRASTRUCTURE if order in (1, 2) else SampleState.OK), 1.0

    summary = await go(tmp_path, FakeRunner(verdict))
    assert (summary.states, summary.missing) == ({"ok": 6}, ())
    faults = RunFolder(tmp_path).faults()
    assert [sample.order for sample in faults] == [1, 2]
    assert len(list((tmp_path / "logs").iterdir())) == 2


async def test_an_arm_that_never_starts_is_given_up_on_but_stays_in_the_data(
    tmp_path: Path,
) -> None:
    def verdict(key: SampleKey, order: int) -> tuple[SampleState, float]:
        broken = key.arm == "noop"
        return (SampleState.INFRASTRUCTURE if broken else SampleState.OK), 1.0

    runner = FakeRunner(verdict)
    summary = await go(tmp_path, runner)
    assert {key.arm for key in summary.missing} == {"noop"} and len(summary.missing) == 3
    assert len(runner.taken) == 3 + 3 + 3 + 1  # the last one gets one attempt
    assert len(RunFolder(tmp_path).faults()) == 7


async def test_an_unstable_workload_is_extended_for_every_arm_and_once(tmp_path: Path) -> None:
    def verdict(key: SampleKey, order: int) -> tuple[SampleState, float]:
        return SampleState.OK, 1.0 + (key.seed if key.arm == "noop" else 0)

    record = a_record(extend_to=5)
    summary = await go(tmp_path, FakeRunner(verdict), record)
    assert summary.extended == ("xz",)
    samples = RunFolder(tmp_path).samples()
    for arm in ("default", "noop"):
        assert sorted(s.key.seed for s in samples if s.key.arm == arm) == [1, 2, 3, 4, 5]
    assert (await go(tmp_path, FakeRunner(verdict, stop_after=0), record)).taken == 0
    assert (await go(tmp_path / "stable", FakeRunner(), record)).extended == ()
    virtual = replace(record.environment, clock=Clock.VIRTUAL)
    runner = FakeRunner(verdict, environment=virtual)
    there = tmp_path / "virtual"
    assert (await go(there, runner, replace(record, environment=virtual))).extended == ()


async def test_a_learner_is_trained_first_with_its_samples_apart(tmp_path: Path) -> None:
    async def loader(name: str) -> Arm:
        return Learner(3)

    runner = FakeRunner()
    await go(tmp_path, runner, a_record("learner"), loader)
    assert [key.seed for key in runner.taken[:3]] == [TRAINING_SEEDS + n for n in range(3)]
    assert [script.start for script in runner.scripts] == [
        f"echo {n}\n" for n in (0, 1, 2, 2, 2, 2)
    ]
    samples = RunFolder(tmp_path).samples()
    assert [sample.key.seed for sample in samples] == [1, 2, 3]
    assert {sample.overuse for sample in samples} == {0.0}
    assert samples[0].arm_log["arm"] == {"chosen": 2}
    trained = RunFolder(tmp_path).training()
    assert [sample.arm_log["configuration"] for sample in trained] == [{"n": n} for n in range(3)]
    # going on does not train again
    assert (await go(tmp_path, FakeRunner(stop_after=0), a_record("learner"), loader)).taken == 0


async def test_more_training_than_the_budget_is_overuse(tmp_path: Path) -> None:
    async def loader(name: str) -> Arm:
        return Learner(6)

    await go(tmp_path, FakeRunner(), a_record("learner"), loader, budget=4)
    assert {sample.overuse for sample in RunFolder(tmp_path).samples()} == {0.5}


async def test_training_on_what_is_measured_is_refused(tmp_path: Path) -> None:
    async def loader(name: str) -> Arm:
        return Learner(1, first_seed=2)

    with pytest.raises(BenchError, match="trains on seed 2"):
        await go(tmp_path, FakeRunner(), a_record("learner"), loader)


def test_only_arms_that_are_told_see_the_parts() -> None:
    workload = a_run().workloads[0]
    assert told(workload, DefaultArm("x"), 1).parts == ()
    assert told(workload, DefaultArm("x", told_intents=True), 1).parts == workload.parts
    assert told(workload, DefaultArm("x"), 1).visible == {"title": "t"}
