# SPDX-License-Identifier: Apache-2.0
"""One workload's terms of the score for many draws of its boots at once.

A draw is a choice of samples for each side, with repetition: the bootstrap's. The measured samples
themselves are the draw that takes each once, so the point estimate and the rounds share this code.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schedbench.errors import BenchError
from schedbench.evaluate.data import costs_of, lost
from schedbench.model import Better, Sample, Slo, Workload

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]
Draws = tuple[Indices, Indices]  # baseline's and arm's samples: (rounds, samples) each


@dataclass(frozen=True, slots=True)
class Sides:
    """Costs of one workload (metrics x samples), and which samples were lost."""

    workload: Workload
    paired: bool
    before: Floats
    after: Floats
    before_lost: Bools
    after_lost: Bools


@dataclass(frozen=True, slots=True)
class Drawn:
    """What each round says; every array has one entry a round."""

    improvement: Floats  # sum over m of alpha * I
    log_improvement: Floats  # sum over m of alpha * log I
    more_lost: Bools  # the arm lost a larger share of its samples than the baseline
    broken: tuple[tuple[Slo, Bools], ...]
    measured: tuple[Floats, ...]  # measured/baseline of each SLO's metric, in the same order

    @property
    def met(self) -> Bools:
        """Where no hard SLO is broken."""
        failed = self.more_lost.copy()
        for slo, broken in self.broken:
            if slo.hard:
                failed |= broken
        return ~failed


def sides_of(
    workload: Workload, paired: bool, ours: Sequence[Sample], theirs: Sequence[Sample]
) -> Sides:
    return Sides(
        workload,
        paired,
        np.array([costs_of(ours, metric) for metric in workload.metrics]),
        np.array([costs_of(theirs, metric) for metric in workload.metrics]),
        np.array([lost(sample) for sample in ours]),
        np.array([lost(sample) for sample in theirs]),
    )


def each_once(sides: Sides) -> Draws:
    ours, theirs = sides.before.shape[1], sides.after.shape[1]
    return np.arange(ours)[None, :], np.arange(theirs)[None, :]


def bootstrap(sides: Sides, rounds: int, name: str) -> Draws:
    """`rounds` draws, the same ones for the same name on every machine (NumPy's NEP 19)."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    ours, theirs = sides.before.shape[1], sides.after.shape[1]
    first = (random.random_sample((rounds, ours)) * ours).astype(np.int64)
    if sides.paired:
        return first, first
    return first, (random.random_sample((rounds, theirs)) * theirs).astype(np.int64)


def evaluate(sides: Sides, draws: Draws, clip: tuple[float, float]) -> Drawn:
    workload = sides.workload
    effects = _effects(sides, draws)
    alphas = np.array([metric.alpha for metric in workload.metrics])
    if not (alphas >= 0).all() or not alphas.sum() > 0:
        raise BenchError(f"workload {workload.name}: alpha: must be 0 or more, and one positive")
    alphas = (alphas / alphas.sum())[:, None]
    logs = np.clip(effects, *np.log(clip))
    names = [metric.name for metric in workload.metrics]
    broken, measured = [], []
    for slo in workload.slos:
        if slo.metric not in names:
            raise BenchError(f"workload {workload.name}: slos: {slo.metric} is none of its metrics")
        at = names.index(slo.metric)
        lower = workload.metrics[at].better is Better.LOWER
        ratio = np.exp(-effects[at] if lower else effects[at])
        broken.append((slo, ratio > slo.ratio if lower else ratio < slo.ratio))
        measured.append(ratio)
    before = sides.before_lost[draws[0]].mean(axis=1)
    after = sides.after_lost[draws[1]].mean(axis=1)
    return Drawn(
        (alphas * np.exp(logs)).sum(axis=0),
        (alphas * logs).sum(axis=0),
        after > before,
        tuple(broken),
        tuple(measured),
    )


def _effects(sides: Sides, draws: Draws) -> Floats:
    """Hodges-Lehmann log-ratios, positive is better: (metrics, rounds). As in `stats`."""
    rows = []
    with np.errstate(invalid="ignore"):
        for before, after in zip(sides.before, sides.after, strict=True):
            if sides.paired:
                each = _ties(before[draws[0]] - after[draws[1]])
                one, other = np.tril_indices(each.shape[1])
                every = _ties((each[:, one] + each[:, other]) / 2)
            else:
                matrix = before[draws[0]][:, :, None] - after[draws[1]][:, None, :]
                every = _ties(matrix.reshape(matrix.shape[0], -1))
            rows.append(_ties(np.median(every, axis=1)))
    return np.array(rows)


def _ties(values: Floats) -> Floats:
    """A loss against a loss (infinity less infinity) is a tie."""
    values[np.isnan(values)] = 0.0
    return values
