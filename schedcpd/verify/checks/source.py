# SPDX-License-Identifier: Apache-2.0
"""`source`: what a person who knows sched_ext would refuse on reading it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from schedcpd.verify.check import Finding, Report
from schedcpd.verify.rules.contexts import check_contexts
from schedcpd.verify.rules.cpus import check_cpus
from schedcpd.verify.rules.inserts import check_inserts
from schedcpd.verify.rules.loops import check_loops
from schedcpd.verify.rules.names import check_asm, check_calls, check_licence, check_sections
from schedcpd.verify.rules.ops import check_ops
from schedcpd.verify.rules.queues import check_queues
from schedcpd.verify.rules.returns import check_returns
from schedcpd.verify.rules.slices import check_slices
from schedcpd.verify.rules.text import check_directives, check_text
from schedcpd.verify.rules.timers import check_kicks, check_timers
from schedcpd.verify.rules.writes import check_writes
from schedcpd.verify.source.facts import Facts
from schedcpd.verify.source.program import Program
from schedcpd.verify.source.reader import read_source
from schedcpd.verify.source.toolchain import Toolchain

Rule = Callable[[Program], Iterable[Finding]]
# What may not be there at all first, then what is wrong with what may.
RULES: Sequence[Rule] = (
    check_asm,
    check_sections,
    check_licence,
    check_calls,
    check_ops,
    check_contexts,
    check_loops,
    check_queues,
    check_inserts,
    check_returns,
    check_cpus,
    check_slices,
    check_writes,
    check_timers,
    check_kicks,
)
MAX_FINDINGS = 40


@dataclass(frozen=True, slots=True)
class SourceResult:
    """The report, and what clang saw when it got that far."""

    report: Report
    facts: Facts | None


async def check_source(data: bytes, name: str, toolchain: Toolchain) -> SourceResult:
    """Every rule over one source. UnsupportedError: the toolchain does not work here."""
    findings = tuple(check_text(data))
    if findings:
        return SourceResult(Report("", findings), None)
    reading = await read_source(data, name, toolchain)
    findings = (*check_directives(reading.directives), *reading.findings)
    if reading.facts is None:
        return SourceResult(Report("", findings), None)
    kfuncs = await asyncio.to_thread(toolchain.kfuncs)
    program = Program(reading.facts, data.decode("utf-8"), name, kfuncs)
    report = judge_program(program)
    findings = (*findings, *report.findings)[:MAX_FINDINGS]
    return SourceResult(Report(report.sentence, findings, report.evidence), reading.facts)


def judge_program(program: Program) -> Report:
    """Every rule over what clang saw."""
    findings = tuple(finding for rule in RULES for finding in rule(program))
    ops = ", ".join(program.ops[0].members) if program.ops else ""
    return Report(
        f"{len(program.live)} functions hold to {len(RULES)} rules.",
        findings[:MAX_FINDINGS],
        "" if findings else f"ops: {ops}",
    )
