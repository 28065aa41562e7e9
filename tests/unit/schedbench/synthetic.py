# SPDX-License-Identifier: Apache-2.0
"""Runs that were never taken, with a known truth: what the evaluation is held against."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from schedbench.evaluate.data import Data, read
from schedbench.model import (
    Better,
    Clock,
    Environment,
    Metric,
    Part,
    Profile,
    Repeat,
    Sample,
    SampleKey,
    SampleState,
    Size,
    SizeClass,
    Slo,
    Suite,
    Workload,
)
from schedbench.records import ArmRecord, Boot, RunFolder, RunRecord

TIME = Metric("time", "s", Better.LOWER, "elapsed", alpha=0.75)
RATE = Metric("rate", "1/s", Better.HIGHER, r"regex:rate ([0-9.]+)", alpha=0.25)
# arm, workload's number, seed -> how long it takes, in seconds
Truth = Callable[[str, int, int], float]


def workload(name: str, **changes: object) -> Workload:
    made = Workload(
        name=name,
        title=f"Workload {name}",
        why="To be judged.",
        packages=(),
        drivers=(),
        programs=(),
        parts=(Part("all", "batch"),),
        setup="",
        run="true",
        check="true",
        metrics=(TIME, RATE),
        slos=(Slo("time", 1.25, hard=True), Slo("rate", 0.9, hard=False)),
        sizes={SizeClass.SMOKE: Size({}, 3, 60.0)},
        clocks=frozenset(Clock),
        visible=(),
        perturbation="none",
        digest=f"digest of {name}",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def record(
    workloads: Iterable[Workload] | int = 4,
    arms: Iterable[str] = ("default", "other"),
    seeds: Iterable[int] = range(1, 7),
    clock: Clock = Clock.WALL,
) -> RunRecord:
    if isinstance(workloads, int):
        workloads = [workload(f"w{number:02d}") for number in range(workloads)]
    chosen = tuple(workloads)
    names = tuple(each.name for each in chosen)
    suite = Suite("made-up", names, dict.fromkeys(names, 1.0), 0.5, (0.25, 4.0), SizeClass.SMOKE, 6)
    return RunRecord(
        suite=suite,
        environment=Environment(
            clock, "vcpus4", SizeClass.SMOKE, "7.3.4 abc", "def", "10.0.2", "tcg", "a sum"
        ),
        profile=Profile("vcpus4"),
        boot=Boot.INITRAMFS if clock is Clock.VIRTUAL else Boot.COLD,
        plan_seed=1,
        seeds=tuple(seeds),
        workloads=chosen,
        arms=tuple(ArmRecord(arm, False, {"kind": arm}) for arm in arms),
        host={"cpus": 4},
        began=1.0e9,
        schedbench="0.1.0",
        budget=2,
    )


def sample(key: SampleKey, seconds: float, order: int = 0, *, series: bool = True) -> Sample:
    """An ok sample whose median repeat takes `seconds`; metrics agree with what was printed."""
    repeats = tuple(_repeat(seconds * factor) for factor in (0.99, 1.0, 1.01))
    return Sample(
        key=key,
        state=SampleState.OK,
        reason="",
        repeats=repeats,
        metrics=dict(repeats[1].metrics),
        began=1.0e9 + order,
        seconds=seconds + 5,
        order=order,
        series=_series(key.seed, seconds) if series else {},
        scheduler="" if key.arm == "default" else "schedcp_intent",
    )


def _series(seed: int, seconds: float) -> dict[str, tuple[tuple[float, float], ...]]:
    times = [step / 10 for step in range(40)]
    return {
        "psi_cpu_some": tuple((t, 50 + 30 * math.sin(2 * t + seed)) for t in times),
        "run_delay_ms": tuple((t, 10 * t * seconds) for t in times),
    }


def _repeat(seconds: float) -> Repeat:
    output = f"work done\nrate {100 / seconds:.6f}\n"
    rate = float(output.split()[-1])
    return Repeat({"time": seconds, "rate": rate}, 0, 0, seconds, output)


def lose(one: Sample, state: SampleState = SampleState.FAILED) -> Sample:
    return replace(one, state=state, reason=f"it ended as {state}", metrics={})


def noisy(seed: int, spread: float = 0.03, **effects: float) -> Truth:
    """Log-normal noise about one second for a workload; `effects` are factors of arms' times."""
    chance = random.Random(seed)

    def truth(arm: str, number: int, _: int) -> float:
        return effects.get(arm, 1.0) * (1 + number) * math.exp(chance.gauss(0, spread))

    return truth


def write(path: Path, of: RunRecord, truth: Truth, change: Callable[[Sample], Sample]) -> RunFolder:
    folder = RunFolder(path)
    folder.write_run(of)
    order = 0
    for seed in of.seeds:
        for number, each in enumerate(of.workloads):
            for arm in of.arms:
                key = SampleKey(each.name, arm.name, seed)
                folder.write(change(sample(key, truth(arm.name, number, seed), order)))
                order += 1
    return folder


def data(
    of: RunRecord,
    truth: Truth,
    change: Callable[[Sample], Sample] = lambda s: s,
    *,
    series: bool = True,
) -> Data:
    """As `read` of what `write` leaves, without the files."""
    samples = [
        change(
            sample(
                SampleKey(each.name, arm.name, seed),
                truth(arm.name, number, seed),
                series=series,
            )
        )
        for seed in of.seeds
        for number, each in enumerate(of.workloads)
        for arm in of.arms
    ]
    return Data(of, frozenset(one.key for one in samples), tuple(samples))


def reread(path: Path) -> Data:
    return read(RunFolder(path))


def scribble(path: Path, **changes: object) -> None:
    """Alters fields of a JSON record in place."""
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, **changes}))
