# SPDX-License-Identifier: Apache-2.0
"""Everything that was found out about one file: a source, an object, or policies.

Checks run cheap ones first: for a source `source`, `compile`, `object`, `tunables`, then `load` and
`behaviour` in the micro-VM; for an object those from `object` on; for policies `policy` alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from schedcpd.model import CheckResult, CheckStatus, Verdict
from schedcpd.verify.check import Report, Subject, result_of, skipped
from schedcpd.verify.checks.compile import compile_source
from schedcpd.verify.checks.object import check_object
from schedcpd.verify.checks.policy import PolicySubject, check_policy
from schedcpd.verify.checks.source import check_source
from schedcpd.verify.checks.tunables import check_values
from schedcpd.verify.source.toolchain import Toolchain
from schedcpd.verify.verdict import REQUIRED
from schedcpd.verify.verifier import Verifier

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Examination:
    """The checks of one file. `verdict` is there when a micro-VM was used.

    `missing`: why the candidate was not run, "" when it was or need not be.
    """

    file: str
    kind: str  # "source", "object" or "policy"
    checks: tuple[CheckResult, ...]
    verdict: Verdict | None = None
    missing: str = ""

    @property
    def refused(self) -> bool:
        return any(c.status is CheckStatus.FAILED for c in self.checks)

    @property
    def passed(self) -> bool:
        """Everything that a candidate of this kind needs was checked and held."""
        return not self.refused and not self.missing


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the checks of a source left for the others."""

    checks: tuple[CheckResult, ...]
    subject: Subject | None


async def compile_checked(
    data: bytes,
    toolchain: Toolchain,
    subject: Subject,
    *,
    every: bool,
    progress: Progress = lambda name: None,
) -> Compiled:
    """`source` and `compile`. `subject` has everything but the object, which is put in.

    A source that failed is compiled only if `every`. UnsupportedError: no toolchain works here.
    """
    name = subject.scheduler
    progress("source")
    began = time.monotonic()
    source = await check_source(data, name, toolchain)
    results = [result_of("source", source.report, time.monotonic() - began)]
    if source.report.findings and not every:
        return Compiled((*results, skipped("compile", "source")), None)
    progress("compile")
    began = time.monotonic()
    made = await compile_source(data, name, toolchain)
    results.append(result_of("compile", made.report, time.monotonic() - began))
    if not made.data:
        return Compiled(tuple(results), None)
    return Compiled(tuple(results), replace(subject, data=made.data, source=source.facts))


async def static_checks(
    subject: Subject, *, every: bool, progress: Progress = lambda name: None
) -> tuple[CheckResult, ...]:
    """`object` and `tunables`, which need no machine."""
    results: list[CheckResult] = []
    checks: Sequence[tuple[str, Callable[[], Report]]] = (
        ("object", lambda: check_object(subject.data, subject.source)),
        ("tunables", lambda: check_values(subject)),
    )
    for name, check in checks:
        if not every and any(r.status is CheckStatus.FAILED for r in results):
            results.append(skipped(name, results[0].name))
            continue
        progress(name)
        began = time.monotonic()
        report = await asyncio.to_thread(check)
        results.append(result_of(name, report, time.monotonic() - began))
    return tuple(results)


async def examine_candidate(
    file: str,
    kind: str,
    subject: Subject | None,
    before: tuple[CheckResult, ...],
    verifier: Verifier | None,
    *,
    missing: str,
    every: bool,
    progress: Progress = lambda name: None,
) -> Examination:
    """The rest, from the object on; without a `verifier` what needs no machine, and `missing`.

    MicroVmError: no verdict could be made, which says nothing about the candidate.
    """
    failed = next((r.name for r in before if r.status is CheckStatus.FAILED), "")
    if subject is None or (failed and not every):
        rest = tuple(skipped(name, failed) for name in REQUIRED)
        return Examination(file, kind, (*before, *rest))
    if verifier is None:
        static = await static_checks(subject, every=every, progress=progress)
        checks = (*before, *static)
        refused = any(c.status is CheckStatus.FAILED for c in checks)
        rest = tuple(
            not_run(name, missing) for name in REQUIRED if name not in ("object", "tunables")
        )
        return Examination(file, kind, (*checks, *rest), missing="" if refused else missing)
    verdict = await verifier.verify(subject, every=every, before=before)
    return Examination(file, kind, verdict.checks, verdict)


def examine_policy(subject: PolicySubject) -> Examination:
    """A verdict for what is configuration alone."""
    began = time.monotonic()
    report = check_policy(subject)
    checks = (result_of("policy", report, time.monotonic() - began),)
    return Examination(subject.file, "policy", checks)


def not_run(name: str, why: str) -> CheckResult:
    return CheckResult(name, CheckStatus.SKIPPED, "unavailable", f"Not run: {why}.")
