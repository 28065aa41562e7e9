# SPDX-License-Identifier: Apache-2.0
"""Finds policies: by intent and machine, by words, and by how they did for workloads alike.

What is asked for filters; what is left is ordered by the words, then by how policies did for the
workloads nearest to the one given, then by priority and name.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schedcpd.host.manifest import Manifest
from schedcpd.model import IntentClass, Machine, Policy, Shape, Trial
from schedcpd.policy.similarity import nearest

NEAREST = 20  # trials that count, the nearest ones
FAR = 0.6  # beyond it two workloads have too little in common


@dataclass(frozen=True, slots=True)
class Question:
    """`words`: policy -> rank of those that fit the words, None when none were asked for.

    `shape`: the workload to serve. `here`: only what fits this machine now.
    """

    machine: Machine
    desktop: bool
    words: Mapping[str, float] | None = None
    intent: IntentClass | None = None
    shape: Shape | None = None
    here: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A trial in which something like the workload ran. `distance`: 0 alike, 1 nothing alike."""

    trial: Trial
    shape: Shape
    distance: float


@dataclass(frozen=True, slots=True)
class Found:
    """`unfit`: why the policy is not for this machine now. `score` is the sum over neighbours.

    A trial that went well counts for 1 minus its distance, a setback or broken promise against.
    """

    policy: Policy
    unfit: str
    rank: float
    score: float
    neighbours: tuple[Neighbour, ...]


def search(policies: Iterable[Policy], trials: Iterable[Trial], asked: Question) -> list[Found]:
    """Best first."""
    near = neighbours(trials, asked.shape) if asked.shape else ()
    found = []
    for policy in policies:
        unfit = policy.conditions.objection(asked.machine, asked.desktop)
        if asked.intent is not None and asked.intent not in policy.intents:
            continue
        if asked.words is not None and policy.name not in asked.words:
            continue
        if asked.here and unfit:
            continue
        mine = tuple(n for n in near if n.trial.policy == policy.name)
        rank = asked.words[policy.name] if asked.words else 0.0
        found.append(Found(policy, unfit, rank, sum(map(_counts, mine)), mine))
    found.sort(key=lambda f: (-f.rank, -f.score, bool(f.unfit), -f.policy.priority, f.policy.name))
    return found


def neighbours(trials: Iterable[Trial], shape: Shape) -> tuple[Neighbour, ...]:
    """The nearest trials, nearest first; of equally near ones the newest."""
    near = (
        Neighbour(trial, best[1], best[0])
        for trial in trials
        if (best := nearest(shape, trial.workloads)) is not None and best[0] <= FAR
    )
    return tuple(heapq.nsmallest(NEAREST, near, key=lambda n: (n.distance, -n.trial.id)))


def _counts(neighbour: Neighbour) -> float:
    like = 1.0 - neighbour.distance
    if neighbour.trial.did_well:
        return like
    return -like if neighbour.trial.setback or neighbour.trial.missed else 0.0


def words_of(policy: Policy, manifest: Manifest | None) -> str:
    """What full-text search reads of a policy: its own words and its scheduler's."""
    texts = [policy.name, policy.description, policy.scheduler, policy.author]
    texts += [intent.value for intent in policy.intents]
    if manifest is not None:
        texts += [manifest.description, *manifest.suits]
    return " ".join(texts)
