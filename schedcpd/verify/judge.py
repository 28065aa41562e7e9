# SPDX-License-Identifier: Apache-2.0
"""Judges one measured run against its control: the same load under the kernel's default, beside it.

All numbers come from `probe/measure.py`; times are nanoseconds. Nothing here waits for the
watchdog: a task that is not served for seconds is starved, whatever the kernel says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schedcpd.verify.check import Finding

_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still acceptable. Times in seconds, shares of the length of the run."""

    gap_s: float = 3.0  # a task of usual weight is served within this
    gap_control: float = 4.0  # or within this many times what the control shows
    gap_share: float = 0.6  # but never more than this share of the run
    light_s: float = 20.0  # nice +19: weight 1 in sched_ext, a hundredth of the usual
    stall_s: float = 2.0  # the real-time supervisor itself was late by this
    stall_control: float = 4.0
    idle_share: float = 0.5  # of a CPU's time, while others had more to do than they could
    idle_control: float = 4.0


LIMITS = Limits()


def control_problem(control: Mapping[str, Any], limits: Limits = LIMITS) -> str:
    """Why the control cannot be compared with, "" when it can."""
    length = control["seconds"] * _S
    for name, worker in control["workers"].items():
        light = worker["kind"] == "light"
        if worker["max_gap_ns"] > (limits.light_s * _S if light else limits.gap_share * length):
            return (
                f"under the kernel's default, {name} was not served for "
                f"{worker['max_gap_ns'] / _S:.1f} s: this machine is too busy to judge"
            )
        if worker["violations"]:
            return f"under the kernel's default, {name} ran on a CPU it may not use"
    return ""


def judge(
    control: Mapping[str, Any], run: Mapping[str, Any], limits: Limits = LIMITS
) -> tuple[Finding, ...]:
    """Everything wrong with a run, the worst first; `table` has the numbers."""
    return (
        *_ejected(run),
        *_affinity(run),
        *_starved(control, run, limits),
        *_idle(control, run, limits),
        *_stalled(control, run, limits),
    )


def _ejected(run: Mapping[str, Any]) -> Iterator[Finding]:
    if run["healthy"]:
        return
    said = run.get("exit") or "the kernel gave no reason"
    yield Finding(
        "behaviour.ejected",
        f"The kernel threw it out after {run['seconds']:.1f} s of load.",
        said,
        "the evidence has the kernel's reason",
    )


def _affinity(run: Mapping[str, Any]) -> Iterator[Finding]:
    wrong = [name for name, worker in run["workers"].items() if worker["violations"]]
    if wrong:
        yield Finding(
            "behaviour.affinity",
            f"{', '.join(wrong)} ran on a CPU outside its mask.",
            hint="obey p->cpus_ptr",
        )


def _starved(
    control: Mapping[str, Any], run: Mapping[str, Any], limits: Limits
) -> Iterator[Finding]:
    if not run["healthy"]:
        return  # it was not given its time
    starved: list[str] = []
    threads: list[str] = []
    for name, worker in run["workers"].items():
        if worker["max_gap_ns"] > allowed_gap(worker, control["workers"][name], run, limits):
            (threads if worker["kind"] == "kthread" else starved).append(
                f"{name} for {worker['max_gap_ns'] / _S:.1f} s"
            )
    if threads:
        yield Finding(
            "behaviour.kthread-starved",
            f"Kernel threads of single CPUs were not served: {', '.join(threads)}.",
            hint="serve per-CPU kernel threads at once, as by a local queue "
            "(p->flags & PF_KTHREAD and p->nr_cpus_allowed == 1)",
        )
    if starved:
        yield Finding(
            "behaviour.starved",
            f"Tasks that wanted to run were not served: {', '.join(starved)}.",
            hint="every queue that is filled must be emptied in dispatch, and every task's virtual "
            "time must come round",
        )


def allowed_gap(
    worker: Mapping[str, Any], control: Mapping[str, Any], run: Mapping[str, Any], limits: Limits
) -> float:
    """Nanoseconds that this worker may have gone without running."""
    length = run["seconds"] * _S
    if worker["kind"] == "light":
        allowed = limits.light_s * _S
    else:
        allowed = max(limits.gap_s * _S, limits.gap_control * control["max_gap_ns"])
        allowed = min(allowed, limits.gap_share * length)
    return float(allowed + run["stall_ns"])


def _idle(control: Mapping[str, Any], run: Mapping[str, Any], limits: Limits) -> Iterator[Finding]:
    if not run["healthy"]:
        return
    for cpu, share in sorted(run["idle"].items()):
        usual = control["idle"].get(cpu, 0.0)
        if share > max(limits.idle_share, limits.idle_control * usual):
            yield Finding(
                "behaviour.idle-cpu",
                f"CPU {cpu} was idle {share:.0%} of the time beside tasks that wanted to run on "
                f"any; under the default it was {usual:.0%}.",
                hint="serve one queue from every CPU, or take from the others when one's own is "
                "empty; wake an idle CPU when work is queued",
            )
            return


def _stalled(
    control: Mapping[str, Any], run: Mapping[str, Any], limits: Limits
) -> Iterator[Finding]:
    allowed = max(limits.stall_s * _S, limits.stall_control * control["stall_ns"])
    if run["stall_ns"] > allowed:
        yield Finding(
            "behaviour.stalled",
            f"The whole machine stood still for {run['stall_ns'] / _S:.1f} s; under the default "
            f"it was {control['stall_ns'] / _S:.1f} s.",
            hint="bound every loop: ops run with the run queue locked",
        )


def table(control: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Both sides, one line a worker, to read."""
    lines = [
        f"{'task':16} {'rounds':>8} {'longest wait':>14}   under the default: "
        f"{'rounds':>8} {'longest wait':>14}"
    ]
    for name, worker in run["workers"].items():
        other = control["workers"][name]
        lines.append(
            f"{name:16} {worker['progress']:8} {worker['max_gap_ns'] / 1e6:11.1f} ms"
            f"                      {other['progress']:8} {other['max_gap_ns'] / 1e6:11.1f} ms"
        )
    lines.append(
        f"{run['seconds']:.1f} s, supervisor late by {run['stall_ns'] / 1e6:.1f} ms; default: "
        f"{control['seconds']:.1f} s, {control['stall_ns'] / 1e6:.1f} ms"
    )
    if run["idle"]:
        shares = (
            f"{cpu}: {share:.0%} ({control['idle'].get(cpu, 0.0):.0%})"
            for cpu, share in sorted(run["idle"].items())
        )
        lines.append(f"idle beside work, by CPU (under the default): {', '.join(shares)}")
    return "\n".join(lines)
