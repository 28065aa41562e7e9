# SPDX-License-Identifier: Apache-2.0
"""`schedbench run`: takes the samples of a suite into a folder."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import schedcpd
from schedbench import arms, profiles, suites, workload
from schedbench.arms.base import Arm
from schedbench.cli import Commands, Exit, Output, command
from schedbench.errors import BenchError
from schedbench.evaluate import compare
from schedbench.evaluate.stats import most_tests
from schedbench.model import Clock, Profile, SizeClass, Suite, Workload
from schedbench.records import ArmRecord, Boot, RunFolder, RunRecord
from schedbench.run.environment import host_facts
from schedbench.run.session import TRAINING_SEEDS, Runner, Session, Summary
from schedbench.run.virtual import prepare_virtual
from schedbench.run.wall import prepare_wall
from schedcpd.microvm.cache import Progress, stderr_progress

ARMS = "default,intent"
VIRTUAL_SEEDS = 10  # one deterministic run is one sample
BUDGET = 12


def add(commands: Commands) -> None:
    parser = command(commands, "run", "take the samples of a suite", _run)
    parser.add_argument(
        "--suite",
        metavar="SUITE",
        default="smoke",
        help="of `list suites`, or a file; default: smoke",
    )
    parser.add_argument("--workloads", metavar="A,B", help="these instead of the suite's")
    parser.add_argument("--arms", metavar="A,B", default=ARMS, help=f"default: {ARMS}")
    parser.add_argument(
        "--clock",
        metavar="CLOCK",
        type=Clock,
        choices=list(Clock),
        default=Clock.WALL,
        help="wall (default) or virtual",
    )
    parser.add_argument(
        "--profile",
        metavar="PROFILE",
        default=profiles.DEFAULT,
        help=f"the machine, of `list profiles`; default: {profiles.DEFAULT}",
    )
    parser.add_argument(
        "--size",
        metavar="SIZE",
        type=SizeClass,
        choices=list(SizeClass),
        help="smoke, standard or full; default: the suite's",
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--boots", type=int, metavar="N", help="seeds 1 to N; default: the suite's")
    seeds.add_argument("--seeds", metavar="1,4-6", help="these seeds")
    parser.add_argument(
        "--boot",
        metavar="HOW",
        type=Boot,
        choices=[Boot.RESUME, Boot.COLD],
        default=Boot.RESUME,
        help="wall clock: resume (default) the booted machine's snapshot, or cold: power on",
    )
    parser.add_argument(
        "--budget",
        metavar="N",
        type=int,
        default=BUDGET,
        help=f"training samples of a learner, for each workload; default: {BUDGET}",
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        help="virtual clock: samples taken at a time; default: one for each CPU of the host",
    )
    parser.add_argument(
        "--plan-seed", metavar="N", type=int, help="of the order; default: by chance, recorded"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the run")
    where.add_argument("--resume", type=Path, metavar="DIR", help="go on with a run, as it began")


def parse_seeds(text: str) -> tuple[int, ...]:
    """`1,4-6` as (1, 4, 5, 6). Raises BenchError naming the part that is wrong."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise BenchError(f"--seeds: {part!r} is no number or range", hint="write 1,4-6")
        low, high = int(first), int(last or first)
        if not low <= high < TRAINING_SEEDS:
            raise BenchError(f"--seeds: {part!r} is not within 0 to {TRAINING_SEEDS - 1}")
        found += range(low, high + 1)
    if len(set(found)) != len(found):
        raise BenchError("--seeds: a seed stands there twice")
    return tuple(found)


def choose_suite(options: argparse.Namespace) -> Suite:
    """The suite with what the command line changes of it; it is then called `custom`."""
    suite = suites.load(options.suite)
    changed = suite
    if options.workloads:
        names = tuple(dict.fromkeys(options.workloads.split(",")))
        weights = {name: suite.weights.get(name, 1.0) for name in names}
        changed = replace(changed, workloads=names, weights=weights)
    if options.size:
        changed = replace(changed, size=options.size)
    return suite if changed == suite else replace(changed, name="custom")


def choose_seeds(options: argparse.Namespace, suite: Suite) -> tuple[int, ...]:
    if options.seeds:
        return parse_seeds(options.seeds)
    if options.boots is not None:
        if options.boots < 1:
            raise BenchError(f"--boots: {options.boots} is less than 1")
        return tuple(range(1, options.boots + 1))
    boots = suite.boots
    if options.clock is Clock.VIRTUAL:
        boots = max(boots, VIRTUAL_SEEDS)
        while most_tests(boots, paired=True) < len(suite.workloads):
            boots += 1
    return tuple(range(1, boots + 1))


def choose_workloads(suite: Suite, clock: Clock) -> list[Workload]:
    """Raises BenchError for one that is not valid under the clock, or lacks the size."""
    found = [workload.load(name) for name in suite.workloads]
    for each in found:
        if clock not in each.clocks:
            raise BenchError(
                f"the workload {each.name} is not valid under the {clock} clock",
                hint="leave it out with --workloads, or use --clock wall",
            )
        if suite.size not in each.sizes:
            raise BenchError(
                f"the workload {each.name} has no size {suite.size}",
                hint=f"it has: {', '.join(sorted(each.sizes))}",
            )
    return found


async def choose_arms(names: Sequence[str], clock: Clock, progress: Progress) -> list[Arm]:
    """Raises BenchError for one that does not exist, is named twice or cannot run so."""
    if len(set(names)) != len(names):
        raise BenchError("--arms: an arm stands there twice")
    for name in names:
        kind, _ = arms.kind_of(name)
        if clock not in kind.clocks:
            raise BenchError(
                f"the arm {name} cannot run under the {clock} clock",
                hint=f"use --clock {' or '.join(sorted(kind.clocks))}",
            )
    return [await arms.load(name, progress) for name in names]


async def _runner(
    clock: Clock,
    profile: Profile,
    size: SizeClass,
    boot: Boot,
    workloads: list[Workload],
    progress: Progress,
) -> Runner:
    if clock is Clock.WALL:
        return await prepare_wall(profile, size, boot, workloads, progress)
    return await prepare_virtual(profile, size, workloads, progress)


async def _new(options: argparse.Namespace, progress: Progress) -> tuple[RunRecord, Runner]:
    suite = choose_suite(options)
    profile = profiles.profile(options.profile)
    workloads = choose_workloads(suite, options.clock)
    seeds = choose_seeds(options, suite)
    chosen = await choose_arms(options.arms.split(","), options.clock, progress)
    runner = await _runner(options.clock, profile, suite.size, options.boot, workloads, progress)
    plan_seed = options.plan_seed
    if plan_seed is None:
        plan_seed = random.SystemRandom().randrange(1, TRAINING_SEEDS)
    record = RunRecord(
        suite=suite,
        environment=runner.environment,
        profile=profile,
        boot=runner.boot,
        plan_seed=plan_seed,
        seeds=seeds,
        workloads=tuple(workloads),
        arms=tuple(ArmRecord(arm.name, arm.told_intents, arm.describe()) for arm in chosen),
        host=host_facts(),
        began=time.time(),
        schedbench=schedcpd.__version__,
        budget=options.budget,
    )
    return record, runner


async def _again(old: RunRecord, progress: Progress) -> tuple[RunRecord, Runner]:
    """The same run as this machine and this tree would begin it now; Session compares them."""
    clock = old.environment.clock
    workloads = [workload.load(each.name) for each in old.workloads]
    names = [arm.name for arm in old.arms]
    chosen = await choose_arms(names, clock, progress)
    runner = await _runner(clock, old.profile, old.suite.size, old.boot, workloads, progress)
    described = tuple(ArmRecord(a.name, a.told_intents, a.describe()) for a in chosen)
    record = replace(
        old, environment=runner.environment, workloads=tuple(workloads), arms=described
    )
    return record, runner


def choose_jobs(options: argparse.Namespace, clock: Clock) -> int:
    if clock is Clock.WALL:
        if options.jobs not in (None, 1):
            raise BenchError(
                f"--jobs: {options.jobs} samples at a time would disturb each other",
                hint="leave it out, or use --clock virtual",
            )
        return 1
    jobs: int = options.jobs if options.jobs is not None else len(os.sched_getaffinity(0))
    if jobs < 1:
        raise BenchError(f"--jobs: {jobs} is less than 1")
    return jobs


async def _run(options: argparse.Namespace, output: Output) -> Exit:
    progress = stderr_progress()
    if options.budget < 1:
        raise BenchError(f"--budget: {options.budget} is less than 1")
    if options.resume is not None:
        folder = RunFolder(options.resume)
        old = folder.run()
        jobs = choose_jobs(options, old.environment.clock)
        record, runner = await _again(old, progress)
    else:
        path = options.out or Path(time.strftime("schedbench-%Y%m%d-%H%M%S", time.gmtime()))
        folder = RunFolder(path)
        if folder.exists():
            raise BenchError(
                f"{path} holds a run already", hint=f"--resume {path}, or another --out"
            )
        jobs = choose_jobs(options, options.clock)
        record, runner = await _new(options, progress)
    warnings = warnings_of(record)
    for said in warnings:
        progress(f"warning: {said}")
    session = Session(
        folder, record, runner, lambda name: arms.load(name, progress), progress, jobs
    )
    began = time.monotonic()
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, this.cancel)
    try:
        summary = await session.run()
    except asyncio.CancelledError:
        there = len(folder.samples()) if folder.exists() else 0
        output.result(
            {"folder": str(folder.path), "stopped": True, "standing": there},
            f"stopped; {there} samples are in {folder.path}\n"
            f"go on with: schedbench run --resume {folder.path}",
        )
        return Exit.REFUSED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(number)
    return _report(folder, summary, warnings, time.monotonic() - began, output)


def warnings_of(record: RunRecord) -> list[str]:
    """What the run cannot show, however it goes."""
    if len(record.arms) < 2:
        return []
    virtual = record.environment.clock is Clock.VIRTUAL
    said = compare.warning(len(record.seeds), len(record.workloads), paired=virtual)
    return [said] if said else []


def _report(
    folder: RunFolder, summary: Summary, warnings: list[str], seconds: float, output: Output
) -> Exit:
    states = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
    lines = [
        f"{summary.taken} samples taken in {seconds / 60:.1f} min; {summary.standing} in "
        f"{folder.path}: {states or 'none'}"
    ]
    lines += [
        f"not taken, see {folder.path}/samples/*.fault*: {key.workload} / {key.arm} / {key.seed}"
        for key in summary.missing
    ]
    lines += [f"warning: {said}" for said in warnings]
    value = {
        "folder": str(folder.path),
        "stopped": False,
        "taken": summary.taken,
        "standing": summary.standing,
        "states": dict(summary.states),
        "extended": summary.extended,
        "missing": summary.missing,
        "warnings": warnings,
        "seconds": round(seconds, 1),
    }
    output.result(value, "\n".join(lines))
    return Exit.REFUSED if summary.missing else Exit.DONE
