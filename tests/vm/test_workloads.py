# SPDX-License-Identifier: Apache-2.0
"""The workloads on a real kernel at the size `smoke`, under the kernel's own scheduler.

A few of them by default; `SCHEDBENCH_WORKLOADS=all` takes every one (some minutes), or name some:
`SCHEDBENCH_WORKLOADS="redis memory"`.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace

import pytest
import pytest_asyncio

from schedbench import profiles, workload
from schedbench.arms.base import ArmScript
from schedbench.model import Sample, SampleKey, SampleState, SizeClass, Workload
from schedbench.records import Boot
from schedbench.run.wall import WallRunner, prepare_wall
from schedcpd.microvm.cache import stderr_progress

in_session = pytest.mark.asyncio(loop_scope="session")
SHIPPED = workload.load_all()
DEFAULT = "mixed make sqlite"  # drivers and parts; a build; Debian's programs with known results
asked = os.environ.get("SCHEDBENCH_WORKLOADS", DEFAULT)
CHOSEN = sorted(SHIPPED) if asked == "all" else asked.split()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def runner() -> WallRunner:
    profile = profiles.profile("cpus4")
    wanted = list(SHIPPED.values())
    return await prepare_wall(profile, SizeClass.SMOKE, Boot.RESUME, wanted, stderr_progress())


async def take(runner: WallRunner, one: Workload, seed: int = 1) -> Sample:
    sample, _ = await runner.take(SampleKey(one.name, "none", seed), one, ArmScript(), 0)
    return sample


@in_session
@pytest.mark.parametrize("name", CHOSEN)
async def test_it_runs_and_its_figures_are_read(name: str, runner: WallRunner) -> None:
    one = SHIPPED[name]
    sample = await take(runner, one)
    assert sample.state is SampleState.OK, sample
    assert len(sample.repeats) == one.sizes[SizeClass.SMOKE].repeats
    assert set(sample.metrics) == {metric.name for metric in one.metrics}
    assert all(math.isfinite(value) and value > 0 for value in sample.metrics.values())
    took = ", ".join(f"{repeat.seconds:.1f}" for repeat in sample.repeats)
    figures = ", ".join(f"{key} {value:.6g}" for key, value in sample.metrics.items())
    print(f"{name}: {figures} (repeats {took} s, all {sample.seconds:.1f} s)")


BROKEN = {
    "a program that fails": ("sqlite", "run", "part clients /usr/bin/sqlite3 :memory: 'no sql'\n"),
    "a program that is not run": ("sqlite", "run", "true\n"),
    "one row too few": ("sqlite", "setup", "sed -i 's/i < [0-9]*)/i < 17)/' client3.sql\n"),
    "a source that was changed": ("make", "setup", "sed -i 's/x . 3 -/x * 5 -/' tree/u*.c\n"),
    "a program killed by a signal": ("mixed", "run", "kill -9 $$\n"),
    "another number of tasks": ("mixed", "run", "TASKS=3\n"),
}


@in_session
@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_run_is_a_failure(what: str, runner: WallRunner) -> None:
    name, where, script = BROKEN[what]
    one = SHIPPED[name]
    if where == "setup":
        one = replace(one, setup=one.setup + script)
    elif script.startswith("TASKS"):
        one = replace(one, run=script + one.run)
    else:
        one = replace(one, run=script)
    sample = await take(runner, one)
    assert sample.state is SampleState.FAILED, what
    assert sample.reason and not sample.metrics


def test_the_default_ones_exist() -> None:
    assert set(CHOSEN) <= set(SHIPPED), f"of {asked}, there are only {', '.join(SHIPPED)}"
