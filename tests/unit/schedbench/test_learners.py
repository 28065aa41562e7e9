# SPDX-License-Identifier: Apache-2.0
"""Learning arms on made-up machines where the best configuration is known."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from schedbench.arms import bandit, random_search, search
from schedbench.arms.base import Arm, ArmScript, LearningArm, Told
from schedbench.arms.search import LEFT_ALONE, Learner, Purse, Space, space_of, worth
from schedbench.errors import BenchError
from schedbench.model import Clock, Sample, SampleKey, SampleState
from schedcpd.host.manifest import check_tunables, load_manifest

from . import synthetic

INTENT = Path(__file__).parents[3] / "bpf/schedulers/intent/manifest.yaml"
SPACE = Space({"a": (3, 1, 2, 4, 5, 6), "b": (0, 1, 2, 3)})  # the default is 3, 0
LEARNERS = (random_search.RandomSearch, bandit.SequentialHalving)
FIRST = 1_000_000


class Machine:
    """The time is best at a=5, b=2, and grows with the distance."""

    def __init__(self, noise: float = 0.0, seed: int = 1) -> None:
        self.noise, self.chance = noise, random.Random(seed)
        self.asked: list[tuple[Mapping[str, object], int]] = []

    def seconds(self, configuration: Mapping[str, object]) -> float:
        a, b = configuration["a"], configuration["b"]
        assert isinstance(a, int) and isinstance(b, int)
        return 1.0 + 0.2 * abs(a - 5) + 0.1 * abs(b - 2)

    async def trial(self, configuration: Mapping[str, object], seed: int) -> Sample:
        self.asked.append((dict(configuration), seed))
        shared = random.Random(seed).gauss(0, 1)  # seeds differ more than configurations do
        spread = math.exp(shared + self.chance.gauss(0, self.noise))
        key = SampleKey("w00", "learner", seed)
        return synthetic.sample(key, self.seconds(configuration) * spread)


class Fixed:
    """The arm of one configuration."""

    name, clocks, told_intents = "learner", frozenset(Clock), False

    def __init__(self, chosen: Mapping[str, object]) -> None:
        self.chosen = chosen

    def describe(self) -> Mapping[str, object]:
        return {"chosen": dict(self.chosen)}

    def script(self, told: Told) -> ArmScript:
        return ArmScript(start=repr(dict(self.chosen)))


def made(kind: type[Learner]) -> Learner:
    return kind("learner", SPACE, Fixed, lambda name: synthetic.workload(name))


def chosen(learner: Learner) -> Mapping[str, object]:
    found = learner.describe()["configuration"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("budget", [1, 2, 5, 12, 13, 24, 60])
async def test_no_learner_takes_more_than_its_budget(kind: type[Learner], budget: int) -> None:
    machine = Machine(noise=0.05)
    learner = made(kind)
    await learner.train("w00", machine.trial, budget, FIRST)
    assert 1 <= len(machine.asked) <= budget
    assert len(machine.asked) >= 0.6 * budget or SPACE.size() <= budget
    assert all(seed >= FIRST for _, seed in machine.asked)
    assert machine.asked[0][0] == SPACE.default()


@pytest.mark.parametrize("kind", LEARNERS)
async def test_with_budget_enough_the_best_is_found(kind: type[Learner]) -> None:
    machine = Machine()
    learner = made(kind)
    await learner.train("w00", machine.trial, SPACE.size() * 5, FIRST)
    assert chosen(learner) == {"a": 5, "b": 2}


@pytest.mark.parametrize("kind", LEARNERS)
async def test_learning_beats_the_default_on_average(kind: type[Learner]) -> None:
    gains = []
    for seed in range(20):
        machine = Machine(noise=0.1, seed=seed)
        learner = made(kind)
        await learner.train("w00", machine.trial, 12, FIRST + 1000 * seed)
        gains.append(machine.seconds(SPACE.default()) / machine.seconds(chosen(learner)))
    assert sum(gains) / len(gains) > 1.15


async def test_halving_tells_noise_from_merit_better_than_random_search() -> None:
    """The reason to have it: two candidates alike but for noise must not win by luck."""

    async def mean(kind: type[Learner]) -> float:
        found = []
        for seed in range(60):
            machine = Machine(noise=0.5, seed=seed)
            learner = made(kind)
            await learner.train("w00", machine.trial, 48, FIRST + 1000 * seed)
            found.append(machine.seconds(chosen(learner)))
        return sum(found) / len(found)

    assert await mean(bandit.SequentialHalving) < await mean(random_search.RandomSearch)


async def test_a_round_of_halving_gives_all_the_same_seeds() -> None:
    machine = Machine()
    await made(bandit.SequentialHalving).train("w00", machine.trial, 24, FIRST)
    by: dict[str, list[int]] = {}
    for configuration, seed in machine.asked:
        by.setdefault(repr(configuration), []).append(seed)
    assert len(by) == bandit.candidates_for(24) == 8
    survivors = [seeds for seeds in by.values() if len(seeds) > 1]
    assert sorted(len(seeds) for seeds in by.values()) == [1, 1, 1, 1, 3, 3, 7, 7]
    for seeds in survivors:
        assert seeds == sorted(set(seeds))
        assert seeds[:3] == survivors[0][:3]


@pytest.mark.parametrize("kind", LEARNERS)
async def test_the_same_seed_trains_in_the_same_way(kind: type[Learner]) -> None:
    asked = []
    for _ in range(2):
        machine = Machine(noise=0.1)
        await made(kind).train("w00", machine.trial, 12, FIRST)
        asked.append(machine.asked)
    assert asked[0] == asked[1]


@pytest.mark.parametrize("kind", LEARNERS)
async def test_where_everything_fails_or_ties_the_default_stays(kind: type[Learner]) -> None:
    for state in (SampleState.FAILED, SampleState.HANG, SampleState.INFRASTRUCTURE, None):

        async def trial(
            configuration: Mapping[str, object], seed: int, state: SampleState | None = state
        ) -> Sample:
            one = synthetic.sample(SampleKey("w00", "learner", seed), 1.0)
            return one if state is None else synthetic.lose(one, state)

        learner = made(kind)
        await learner.train("w00", trial, 12, FIRST)
        assert chosen(learner) == SPACE.default()


@pytest.mark.parametrize("kind", LEARNERS)
async def test_a_configuration_that_loses_samples_is_not_chosen_for_being_fast(
    kind: type[Learner],
) -> None:
    machine = Machine()

    async def trial(configuration: Mapping[str, object], seed: int) -> Sample:
        one = await machine.trial(configuration, seed)
        return synthetic.lose(one) if configuration["a"] == 5 else one

    learner = made(kind)
    await learner.train("w00", trial, SPACE.size() * 5, FIRST)
    assert chosen(learner)["a"] in (4, 6)


@pytest.mark.parametrize("kind", LEARNERS)
async def test_what_was_learned_is_what_is_measured(kind: type[Learner]) -> None:
    learner = made(kind)
    told = Told((), {}, 7)
    assert learner.script(told).start == repr(dict(SPACE.default()))
    assert "configuration" not in learner.describe()
    await learner.train("w00", Machine().trial, 200, FIRST)
    assert learner.script(told).start == repr({"a": 5, "b": 2})
    assert isinstance(learner, LearningArm)
    again = learner.configured({"b": 2, "a": 5})  # as JSON may give it back
    assert again.script(told) == learner.script(told)
    with pytest.raises(BenchError, match="not in its space"):
        learner.configured({"a": 99})
    with pytest.raises(BenchError, match="budget: 0"):
        await learner.train("w00", Machine().trial, 0, FIRST)


async def test_the_purse_gives_no_credit() -> None:
    purse = Purse(synthetic.workload("w00"), Machine().trial, 1)
    await purse.try_(SPACE.default(), FIRST)
    with pytest.raises(BenchError, match="spent"):
        await purse.try_(SPACE.default(), FIRST)


def test_worth_is_the_log_of_the_scores_improvement() -> None:
    each = synthetic.workload("w00")
    key = SampleKey("w00", "learner", 1)
    fast, slow = (worth(each, synthetic.sample(key, s)) for s in (1.0, 1.5))
    assert fast is not None and slow is not None
    assert fast - slow == pytest.approx(math.log(1.5), rel=1e-5)
    one = synthetic.sample(key, 1.0)
    assert worth(each, synthetic.lose(one)) == -math.inf
    assert worth(each, synthetic.lose(one, SampleState.INFRASTRUCTURE)) is None
    assert worth(each, replace(one, metrics={})) == -math.inf


def test_every_drawn_configuration_is_one_that_the_scheduler_takes() -> None:
    manifest, wrong = load_manifest(INTENT)
    assert manifest is not None and not wrong
    space = space_of(manifest)
    assert space.values.keys() == manifest.tunables.keys()
    assert space.default() == manifest.defaults()
    assert all(len(values) == len(set(values)) >= 2 for values in space.values.values())
    drawn = space.draw(50, random.Random(1))
    assert len(drawn) == 50
    for configuration in drawn:
        assert check_tunables(manifest, configuration) == configuration
    small = Space({"x": (1, 2), "y": (True, False)})
    assert len(small.draw(50, random.Random(1))) == 4


async def test_the_kernels_knobs_are_left_alone_by_default() -> None:
    arm: Arm = await bandit.make("bandit", "", lambda _: None)
    assert isinstance(arm, LearningArm) and not arm.told_intents
    told = Told((), {}, 1)
    assert "set_knob /" not in arm.script(told).start
    name = next(iter(search.KNOBS))
    knob = arm.configured(  # type: ignore[attr-defined]
        {name: "1000000", "/proc/sys/kernel/sched_autogroup_enabled": LEFT_ALONE}
    )
    assert f"set_knob {name} 1000000" in knob.script(told).start
    assert "autogroup" not in knob.script(told).start
