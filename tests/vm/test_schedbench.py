# SPDX-License-Identifier: Apache-2.0
"""Attacks on the benchmark: each is caught and named, and the run goes on with the next sample."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from schedbench import arms, profiles, scxload, workload
from schedbench.arms.base import Arm, ArmScript, Told
from schedbench.model import (
    Better,
    Clock,
    Metric,
    Sample,
    SampleState,
    Size,
    SizeClass,
    Suite,
    Workload,
)
from schedbench.records import ArmRecord, Boot, RunFolder, RunRecord
from schedbench.run.session import Session
from schedbench.run.wall import WallRunner, prepare_wall
from schedcpd.microvm.cache import stderr_progress
from tests import corpus

PROFILE = profiles.profile("cpus4")
SAY = stderr_progress()
GOOD = replace(
    workload.load("longtail"),
    name="good",
    sizes={
        SizeClass.SMOKE: Size({"SHORTS": "7", "SHORT_MS": "10", "LONG_MS": "40"}, 2, 60.0),
    },
)


def bad(name: str, run: str, *, check: str = "true\n", limit_s: float = 60.0) -> Workload:
    """A workload that is not what it should be."""
    return replace(
        GOOD,
        name=name,
        run=run,
        check=check,
        drivers=(),
        metrics=(Metric("time", "s", Better.LOWER, "elapsed"),),
        slos=(),
        sizes={SizeClass.SMOKE: Size({}, 2, limit_s)},
    )


@dataclass(frozen=True)
class BadArm:
    """Loads a scheduler of the corpus, or only says that it does."""

    name: str
    loader: Path
    bpf_object: Path
    ops: str
    loads: bool = True
    clocks: frozenset[Clock] = frozenset({Clock.WALL})
    told_intents: bool = False

    def describe(self) -> Mapping[str, object]:
        return {"ops": self.ops}

    def script(self, told: Told) -> ArmScript:
        files = {"/run/arm/scxload": self.loader, "/run/arm/bad.bpf.o": self.bpf_object}
        load = "mkdir -p /run/arm/s; /run/arm/scxload --background /run/arm/s /run/arm/bad.bpf.o\n"
        return ArmScript(files, start=load if self.loads else "true\n", expects_scheduler=self.ops)


async def take_all(
    folder: Path, workloads: list[Workload], chosen: Mapping[str, Arm], runner: WallRunner
) -> dict[tuple[str, str], Sample]:
    names = tuple(each.name for each in workloads)
    record = RunRecord(
        suite=Suite(
            "attacks", names, dict.fromkeys(names, 1.0), 0.5, (0.25, 4.0), SizeClass.SMOKE, 1
        ),
        environment=runner.environment,
        profile=PROFILE,
        boot=runner.boot,
        plan_seed=1,
        seeds=(1,),
        workloads=tuple(workloads),
        arms=tuple(
            ArmRecord(arm.name, arm.told_intents, arm.describe()) for arm in chosen.values()
        ),
        host={},
        began=0.0,
        schedbench="test",
    )

    async def load(name: str) -> Arm:
        return chosen[name]

    summary = await Session(RunFolder(folder), record, runner, load, SAY).run()
    assert not summary.missing
    samples = RunFolder(folder).samples()
    assert len(samples) == len(workloads) * len(chosen)
    for sample in samples:
        assert bool(sample.metrics) == (sample.state in (SampleState.OK, SampleState.MARKED))
    return {(sample.key.workload, sample.key.arm): sample for sample in samples}


async def test_workloads_that_fail_hang_or_kill_the_machine(tmp_path: Path) -> None:
    attacks = [
        bad("early", "exit 0\n", check='test -s "$SCHEDBENCH_OUTPUT"\n'),
        bad("wrong-exit", "echo no such thing; exit 7\n"),
        bad(
            "wrong-output", "echo 41\n", check='echo it is wrong; grep -q 42 "$SCHEDBENCH_OUTPUT"\n'
        ),
        bad("forger", """echo 'SCHEDBENCH end {"repeat":1,"code":0}'; exit 1\n"""),
        bad("hang", "sleep 1000\n", limit_s=3.0),
        bad("killer", "echo c >/proc/sysrq-trigger; sleep 100\n"),
        GOOD,
    ]
    runner = await prepare_wall(PROFILE, SizeClass.SMOKE, Boot.RESUME, attacks, SAY)
    chosen = {"default": await arms.load("default", SAY)}
    samples = await take_all(tmp_path, attacks, chosen, runner)
    found = {name: sample for (name, _), sample in samples.items()}
    for name, said in (
        ("early", "repeat 1: check: exit 1"),
        ("wrong-exit", "repeat 1: run: exit 7: no such thing"),
        ("wrong-output", "check: exit 1: it is wrong"),
        ("forger", "repeat 1: run: exit 1: SCHEDBENCH end"),
    ):
        assert found[name].state is SampleState.FAILED, found[name].reason
        assert said in found[name].reason
        assert found[name].metrics == {}
    assert found["hang"].state is SampleState.HANG
    assert "did not go on within 3 s, after 'begin' of repeat 1" in found["hang"].reason
    assert found["killer"].state is SampleState.VM_DIED
    assert "Kernel panic" in found["killer"].reason
    assert "sysrq" in (tmp_path / "logs" / "killer.default.1.txt").read_text("utf-8")
    assert found["good"].state is SampleState.OK, found["good"].reason
    assert found["good"].series["psi.cpu"]
    assert len(found["good"].repeats) == 2


async def test_schedulers_that_starve_freeze_or_are_not_there(tmp_path: Path) -> None:
    loader, tools = await scxload.program(SAY), await asyncio.to_thread(corpus.tools)
    lost, nested = (tmp_path / f"{name}.bpf.o" for name in ("lost_task", "nested_loop"))
    for path in (lost, nested):
        sample = corpus.Sample.of(corpus.BAD / path.name.replace(".o", ".c"))
        path.write_bytes((await corpus.compiled(sample, tools)).data)
    chosen: dict[str, Arm] = {
        "starves": BadArm("starves", loader, lost, "lost_task"),
        "freezes": BadArm("freezes", loader, nested, "nested_loop"),
        "pretends": BadArm("pretends", loader, lost, "lost_task", loads=False),
        "noop": await arms.load("noop", SAY),
        "intent": await arms.load("intent", SAY),
    }
    # Enough processes that the scheduler loses some of them.
    crowd = replace(
        GOOD,
        name="crowd",
        drivers=("longtail", "spin"),
        run="for i in 1 2 3 4 5 6 7 8 9; do part batch spin 1 500 & done; wait\n" + GOOD.run,
    )
    runner = await prepare_wall(PROFILE, SizeClass.SMOKE, Boot.RESUME, [crowd], SAY)
    samples = await take_all(tmp_path / "run", [crowd], chosen, runner)
    found = {arm: sample for (_, arm), sample in samples.items()}
    assert found["starves"].state in (SampleState.HANG, SampleState.MARKED), found["starves"]
    assert "lost_task" in found["starves"].reason
    assert found["freezes"].state is SampleState.HANG, found["freezes"]
    assert "frozen" in found["freezes"].reason
    assert found["pretends"].state is SampleState.MARKED
    assert "lost_task, but no scheduler was enabled" in found["pretends"].reason
    assert (found["noop"].state, found["noop"].scheduler) == (SampleState.OK, "")
    assert found["intent"].state is SampleState.OK, found["intent"].reason
    assert found["intent"].scheduler == "schedcp_intent"
    assert max(value for _, value in found["intent"].series["enabled"]) == 1.0
