# SPDX-License-Identifier: Apache-2.0
"""`policy`: a file of policies says what can be meant. No machine is started for it.

The file is read by `schedcpd.policy`, which refuses what breaks the schema or leaves a tunable's
range; here that becomes findings, and what is well-formed is asked whether it makes sense.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schedcpd.errors import ConfigError
from schedcpd.model import IntentClass, Machine, Policy
from schedcpd.verify.check import Finding, Report

SHORTEST_US = 50.0  # a run delay below a context switch and a timer's slack cannot be promised
_TUNABLE = re.compile(r"\.tunables\b")
_SCHEDULER = re.compile(r"\.scheduler$")
_SLO = re.compile(r"\.slo\b")


@dataclass(frozen=True, slots=True)
class PolicySubject:
    """A file as read: everything wrong with it, or its policies and how many rules it has."""

    file: str
    problems: Sequence[ConfigError]
    policies: Sequence[Policy]
    rules: int
    machine: Machine


def check_policy(subject: PolicySubject) -> Report:
    """Schema, tunables, service-level objectives, and whether anything fits this machine."""
    findings = tuple(_schema(subject))
    if not findings:
        findings = (*_slo(subject.policies), *_empty(subject), *_machine(subject))
    names = ", ".join(policy.name for policy in subject.policies)
    external = [policy.name for policy in subject.policies if policy.external]
    told = f" {len(external)} run external schedulers, which nothing verifies." if external else ""
    return Report(
        f"{len(subject.policies)} policies and {subject.rules} rules hold together.{told}",
        findings,
        f"policies: {names}" if names else "",
    )


def _schema(subject: PolicySubject) -> Iterator[Finding]:
    for problem in subject.problems:
        reason = "policy.schema"
        for pattern, name in (
            (_TUNABLE, "policy.tunable"),
            (_SCHEDULER, "policy.scheduler"),
            (_SLO, "policy.slo"),
        ):
            if pattern.search(problem.field):
                reason = name
        where = f"{problem.field} " if problem.field else "the file "
        place = f"{problem.file}:{problem.line}" if problem.line else problem.file
        yield Finding(reason, f"{where}{problem.message}.", place, problem.hint)


def _empty(subject: PolicySubject) -> Iterator[Finding]:
    if not subject.policies and not subject.rules:
        yield Finding(
            "policy.empty",
            "It has neither policies nor rules.",
            hint="an empty file masks one of the same name; remove it if that is not meant",
        )


def _slo(policies: Sequence[Policy]) -> Iterator[Finding]:
    for policy in policies:
        promised = [
            (c, policy.slo_delay_p99_us[c]) for c in IntentClass if c in policy.slo_delay_p99_us
        ]
        for intent, delay in promised:
            if delay < SHORTEST_US:
                yield _finding(
                    policy,
                    f"it promises {intent} a run delay of {delay:g} us, which no scheduler keeps",
                    f"promise at least {SHORTEST_US:g} us",
                )
            own = policy.tunables.get(f"{intent}_slice_us")
            if isinstance(own, int | float) and delay < own:
                yield _finding(
                    policy,
                    f"it promises {intent} a run delay of {delay:g} us, but two such tasks on one "
                    f"CPU wait for each other's slice of {own:g} us",
                    f"promise at least {own:g} us, or lower {intent}_slice_us",
                )
        for (upper, one), (lower, other) in itertools.pairwise(promised):
            if one > other:
                yield _finding(
                    policy,
                    f"it promises {lower} a shorter run delay ({other:g} us) than {upper} "
                    f"({one:g} us)",
                    f"give {upper} the shorter one: it is served first",
                )


def _finding(policy: Policy, sentence: str, hint: str) -> Finding:
    place = f"{policy.file}:{policy.line}"
    return Finding("policy.slo", f"Policy {policy.name}: {sentence}.", place, hint)


def _machine(subject: PolicySubject) -> Iterator[Finding]:
    """Power and desktop change while the machine runs; its CPUs hardly do."""
    cpus = subject.machine.cpus
    unfit = [p for p in subject.policies if not _fits(p, cpus)]
    if unfit and len(unfit) == len(subject.policies):
        first = unfit[0].conditions
        yield Finding(
            "policy.machine",
            f"None of its policies is for a machine of {cpus} CPUs.",
            f"{unfit[0].name}: cpus_min {first.cpus_min}, cpus_max {first.cpus_max}",
            "widen machines.cpus_min and cpus_max, or check it on the machine it is meant for "
            "(--cpus)",
        )


def _fits(policy: Policy, cpus: int) -> bool:
    low, high = policy.conditions.cpus_min, policy.conditions.cpus_max
    return (low is None or cpus >= low) and (high is None or cpus <= high)
