# SPDX-License-Identifier: Apache-2.0
"""Taking somebody's virtual-clock sample again: the same arm, or a reason why not."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from schedbench import arms, workload
from schedbench.arms.base import ArmScript, Told
from schedbench.errors import BenchError
from schedbench.model import Clock, Environment, Sample, SampleKey, Workload
from schedbench.records import ArmRecord, RunRecord
from schedbench.run import again, environment
from schedcpd.errors import UnsupportedError

from . import synthetic

KNOB = "/sys/kernel/debug/sched/nr_migrate"


@dataclass
class Runner:
    """Stands in for a machine: remembers what it was asked to run."""

    environment: Environment
    scripts: list[ArmScript] = field(default_factory=list)

    async def take(
        self, key: SampleKey, workload: Workload, arm: ArmScript, order: int
    ) -> tuple[Sample, str]:
        self.scripts.append(arm)
        return synthetic.sample(key, 1.0, order), ""


async def setting(
    monkeypatch: pytest.MonkeyPatch, arm: str = "default", **changes: object
) -> tuple[RunRecord, Sample, Runner]:
    """A record of this tree's longtail, and a machine that differs from it by `changes`."""
    loaded = await arms.load(arm, lambda _: None)
    of = synthetic.record([workload.load("longtail")], [arm], clock=Clock.VIRTUAL)
    of = replace(of, arms=(ArmRecord(arm, loaded.told_intents, loaded.describe()),))
    runner = Runner(replace(of.environment, **changes))  # type: ignore[arg-type]

    async def prepare(*_: object) -> Runner:
        return runner

    monkeypatch.setattr(again, "prepare_virtual", prepare)
    return of, synthetic.sample(SampleKey("longtail", arm, 3), 1.0, 7), runner


async def test_the_same_sample_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    of, sample, runner = await setting(monkeypatch)
    taken = await again.VirtualAgain(lambda _: None).again(of, sample)
    assert (taken.key, taken.order) == (sample.key, 7)
    assert runner.scripts == [ArmScript()]


@pytest.mark.parametrize("name", ["kernel", "image", "qemu", "instrument"])
async def test_another_machine_or_harness_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    of, sample, runner = await setting(monkeypatch, **{name: "another"})
    with pytest.raises(UnsupportedError, match=rf"environment\.{name} differ"):
        await again.VirtualAgain(lambda _: None).again(of, sample)
    assert not runner.scripts


async def test_another_version_of_workload_or_arm_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of, sample, _ = await setting(monkeypatch)
    older = replace(of, workloads=(replace(of.workloads[0], digest="old"),))
    with pytest.raises(UnsupportedError, match=r"workloads\.longtail"):
        await again.VirtualAgain(lambda _: None).again(older, sample)
    other = replace(of, arms=(replace(of.arms[0], description={"scheduler": "another"}),))
    with pytest.raises(UnsupportedError, match=r"arms\.default"):
        await again.VirtualAgain(lambda _: None).again(other, sample)
    gone = replace(sample, key=replace(sample.key, workload="no-such"))
    with pytest.raises(UnsupportedError, match="no-such"):
        await again.VirtualAgain(lambda _: None).again(of, gone)


async def test_a_learner_runs_what_it_had_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    of, sample, runner = await setting(monkeypatch, "bandit")
    with pytest.raises(BenchError, match="does not say what bandit had learned"):
        await again.VirtualAgain(lambda _: None).again(of, sample)
    log: Mapping[str, object] = {"arm": {"configuration": {KNOB: "64"}}}
    await again.VirtualAgain(lambda _: None).again(of, replace(sample, arm_log=log))
    learner = await arms.load("bandit", lambda _: None)
    wanted = learner.configured({KNOB: "64"})  # type: ignore[attr-defined]
    assert runner.scripts == [wanted.script(Told((), {}, 3))]
    assert f"set_knob {KNOB} 64" in runner.scripts[0].start


def test_every_source_that_shapes_a_sample_changes_the_instrument(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = {clock: environment.instrument(clock) for clock in Clock}
    assert before[Clock.WALL] != before[Clock.VIRTUAL]
    copy = tmp_path / "schedbench"
    shutil.copytree(environment.TOP, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(environment, "TOP", copy)
    for clock in Clock:
        assert environment.instrument(clock) == before[clock]
        for name in (*environment.SHAPING, *environment.SHAPING_BY_CLOCK[clock]):
            old = (copy / name).read_bytes()
            (copy / name).write_bytes(old + b"\n")
            assert environment.instrument(clock) != before[clock], name
            (copy / name).write_bytes(old)
