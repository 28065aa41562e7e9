# SPDX-License-Identifier: Apache-2.0
"""How alike two workloads are, in numbers a person can follow.

A Gower distance (J. C. Gower, Biometrics 27, 1971): each feature gives 0 (same) to 1 (as far apart
as it gets), and the weighted mean of them is the distance. Counts are compared by their ratio.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from schedcpd.model import Policy, Shape, WorkloadView

MAX_SHAPES = 32
MAX_STRING = 64
_FACTOR_OF_PROCESSES = 256.0  # as far apart as 1 process and 256
_FACTOR_OF_WEIGHT = 100.0
_WEIGHTS = (4.0, 3.0, 1.0, 1.0, 1.0, 1.0)


def shape_of(view: WorkloadView) -> Shape:
    who = view.profile.identity
    return Shape(
        name=who.name[:MAX_STRING],
        executable=who.executable[:MAX_STRING],
        kind=who.kind,
        intent=view.intent.intent_class,
        processes=max(view.profile.nr_procs, 0),
        weight=view.profile.cpu_weight,
        pressure=view.profile.pressure.avg60,
    )


def shapes_of(views: Iterable[WorkloadView]) -> tuple[Shape, ...]:
    """Those of the workloads that used the CPU most, at most MAX_SHAPES."""
    living = [view for view in views if view.profile.populated]
    living.sort(key=lambda view: -view.profile.cpu_usage_us)
    return tuple(shape_of(view) for view in living[:MAX_SHAPES])


def distance(one: Shape, other: Shape) -> float:
    """0 for the same, at most 1."""
    parts = (
        float(not one.executable or one.executable != other.executable),
        float(one.intent is not other.intent),
        float(one.kind is not other.kind),
        _apart(one.processes, other.processes, _FACTOR_OF_PROCESSES),
        _apart(one.weight, other.weight, _FACTOR_OF_WEIGHT),
        min(abs(one.pressure - other.pressure) / 100.0, 1.0),
    )
    weighted = sum(weight * part for weight, part in zip(_WEIGHTS, parts, strict=True))
    return weighted / sum(_WEIGHTS)


def _apart(one: int, other: int, factor: float) -> float:
    ratio = max(one, other, 1) / max(min(one, other), 1)
    return min(math.log(ratio) / math.log(factor), 1.0)


def nearest(shape: Shape, others: Sequence[Shape]) -> tuple[float, Shape] | None:
    """The most alike of `others`, with its distance."""
    found = [(distance(shape, other), other) for other in others]
    return min(found, key=lambda each: each[0]) if found else None


def missed(policy: Policy, measures: Mapping[str, float]) -> tuple[str, ...]:
    """The policy's promises that the measures break, as sentences."""
    said = []
    for intent, promised in policy.slo_delay_p99_us.items():
        measured = measures.get(f"{intent.value}_delay_p99_us")
        if measured is not None and measured > promised:
            said.append(f"{intent.value} waited {measured:.0f} us (p99), promised {promised:.0f}")
    return tuple(said)
