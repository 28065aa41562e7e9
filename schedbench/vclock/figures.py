# SPDX-License-Identifier: Apache-2.0
"""Reads vbench's lines and judges them by the clock's promises. Needs no QEMU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schedbench.vclock.errors import VClockError

PARALLEL_SPREAD = 0.01  # 1, 2 and 4 tasks on as many vCPUs or more
SLEEP_ERROR = 0.001
HOST_RATIO = 3.0  # host seconds, to plain TCG


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of vbench: `name key=value …`; times are nanoseconds of the guest."""

    name: str
    values: dict[str, str]

    def number(self, key: str) -> int:
        """The integer value of `key`. Raises VClockError naming the line if it is not there."""
        try:
            return int(self.values[key])
        except (KeyError, ValueError):
            raise VClockError(f"vbench's line {self.name!r} has no number {key!r}") from None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise, checked: what was found, and whether it holds."""

    promise: str
    found: str
    holds: bool


def parse(lines: Sequence[str]) -> list[Figure]:
    """The figures among a guest's lines, in order. Raises VClockError at a line of vbench's
    complaints."""
    figures = []
    for line in lines:
        if line.startswith("vbench:"):
            raise VClockError(f"in the guest: {line}")
        name, *rest = line.split(" ")
        if rest and all("=" in word for word in rest):
            pairs = (word.split("=", 1) for word in rest)
            figures.append(Figure(name, dict(pairs)))
    return figures


def _one(figures: Sequence[Figure], name: str, **wanted: str) -> Figure | None:
    for figure in figures:
        if figure.name == name and wanted.items() <= figure.values.items():
            return figure
    return None


def same_bytes(runs: Sequence[bytes]) -> Verdict:
    """All runs wrote the same. Two at least are needed to say so."""
    if len(runs) < 2:
        raise VClockError(f"{len(runs)} run cannot show repetition; at least 2 are needed")
    different = [number for number, run in enumerate(runs[1:], start=2) if run != runs[0]]
    found = f"{len(runs)} runs, {len(runs[0])} bytes each"
    if different:
        found = f"run {', '.join(map(str, different))} differs from run 1"
    return Verdict("identical bytes", found, not different)


def judge(figures: Sequence[Figure], vcpus: int) -> list[Verdict]:
    """The promises that one run's figures can show. A missing figure fails its promise."""
    verdicts = []
    counts = [count for count in (1, 2, 4) if count <= vcpus]
    # The clock's own: the scheduler's placement, or a kernel thread on a CPU, can only add to one
    # of the two ways.
    spans = [
        [
            figure.number("makespan")
            for way in ("par", "pinned")
            if (figure := _one(figures, way, tasks=str(count))) is not None
        ]
        for count in counts
    ]
    promise = f"{', '.join(map(str, counts))} tasks within {PARALLEL_SPREAD:.0%}"
    if not all(spans):
        verdicts.append(Verdict(promise, "a makespan is missing", False))
    else:
        values = [min(both) for both in spans]
        spread = max(values) / min(values) - 1
        found = " / ".join(f"{value / 1e6:.3f}" for value in values) + f" ms: {spread:.2%}"
        verdicts.append(Verdict(promise, found, spread <= PARALLEL_SPREAD))
    sleep = _one(figures, "sleep")
    promise = f"sleep within {SLEEP_ERROR:.1%}"
    if sleep is None:
        verdicts.append(Verdict(promise, "the sleep is missing", False))
    else:
        wanted, took = sleep.number("ms") * 1_000_000, sleep.number("took")
        error = took / wanted - 1
        found = f"{took / 1e6:.3f} ms for {wanted / 1e6:.0f}: {error:.3%}"
        verdicts.append(Verdict(promise, found, 0 <= error <= SLEEP_ERROR))
    last, first = (_one(figures, "longtail", order=order) for order in ("last", "first"))
    promise = "the long task first, with priority, is worth something"
    if last is None or first is None:
        verdicts.append(Verdict(promise, "a makespan is missing", False))
    else:
        late, early = last.number("makespan"), first.number("makespan")
        found = f"last {late / 1e6:.3f} ms, first {early / 1e6:.3f} ms"
        verdicts.append(Verdict(promise, found, early < late))
    return verdicts


def host_cost(virtual_s: Sequence[float], plain_s: float) -> Verdict:
    """Host seconds of the unloaded runs against plain TCG with the same script."""
    ratio = min(virtual_s) / plain_s
    found = (
        f"{', '.join(f'{value:.1f}' for value in virtual_s)} s; plain {plain_s:.1f} s: {ratio:.2f}x"
    )
    return Verdict(f"at most {HOST_RATIO:.0f}x plain TCG", found, ratio <= HOST_RATIO)
