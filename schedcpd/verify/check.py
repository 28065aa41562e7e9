# SPDX-License-Identifier: Apache-2.0
"""What a check is, what it looks at, and how it answers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from schedcpd.errors import NotFoundError
from schedcpd.host.manifest import Manifest
from schedcpd.model import CheckResult, CheckStatus, Tunable
from schedcpd.verify.guest import Guest
from schedcpd.verify.source.facts import Facts

EVIDENCE_CHARS = 20_000  # of one check, kept in the verdict


@dataclass(frozen=True, slots=True)
class Subject:
    """The candidate as the checks see it: bytes, read once, and what is to be set in them."""

    scheduler: str
    data: bytes
    manifest: Manifest
    tunables: Mapping[str, Tunable]
    source: Facts | None = None  # what its source showed, where there is one

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def read(cls, path: Path, manifest: Manifest, tunables: Mapping[str, Tunable]) -> Subject:
        """NotFoundError when there is no readable file at `path`."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise NotFoundError(
                f"Cannot read the object {path}: {error.strerror}",
                hint="build it with `make bpf`, or reinstall the package",
            ) from error
        return cls(manifest.name, data, manifest, tunables)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a candidate. `reason` is stable and begins with the check's name."""

    reason: str
    sentence: str
    evidence: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. With no `findings` nothing is wrong, and `sentence` says what held."""

    sentence: str
    findings: tuple[Finding, ...] = ()
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """Values of tunables that the candidate is tried with."""

    name: str
    tunables: Mapping[str, Tunable]


def variants(subject: Subject) -> tuple[Variant, ...]:
    """The values given, then every numeric tunable at its minimum, and at its maximum."""
    given = dict(subject.tunables)
    numeric = [s for s in subject.manifest.tunables.values() if s.type != "bool"]
    found = [Variant("as given", given)]
    for name, end in (("all at minimum", "minimum"), ("all at maximum", "maximum")):
        if numeric:
            found.append(Variant(name, given | {s.name: getattr(s, end) for s in numeric}))
    return tuple(found)


class Check(Protocol):
    """One check. It raises only for trouble that is not the candidate's (MicroVmError)."""

    name: str

    async def run(self, subject: Subject, guest: Guest) -> Report: ...


async def run_check(check: Check, subject: Subject, guest: Guest) -> CheckResult:
    """Runs one check and puts what it found into one result, the first finding in front."""
    began = time.monotonic()
    report = await check.run(subject, guest)
    return result_of(check.name, report, time.monotonic() - began)


def result_of(name: str, report: Report, took_s: float) -> CheckResult:
    """One result of what a check found."""
    seconds = round(took_s, 3)
    if not report.findings:
        return CheckResult(
            name,
            CheckStatus.PASSED,
            "",
            report.sentence,
            _cut(report.evidence),
            seconds=seconds,
        )
    first, rest = report.findings[0], report.findings[1:]
    also = [_also(finding) for finding in rest]
    evidence = "\n".join(part for part in (first.evidence, *also, report.evidence) if part)
    return CheckResult(
        name,
        CheckStatus.FAILED,
        first.reason,
        first.sentence,
        _cut(evidence),
        first.hint,
        seconds,
    )


def _also(finding: Finding) -> str:
    lines = [f"also {finding.reason}: {finding.sentence}"]
    lines += [f"  {line}" for line in finding.evidence.splitlines()]
    if finding.hint:
        lines.append(f"  hint: {finding.hint}")
    return "\n".join(lines)


def skipped(name: str, because: str) -> CheckResult:
    """The result of a check that was not run; a verdict with one never passes."""
    return CheckResult(name, CheckStatus.SKIPPED, "skipped", f"Not run: {because} failed first.")


def _cut(text: str) -> str:
    """The start and the end: a verifier's log says what matters last."""
    if len(text) <= EVIDENCE_CHARS:
        return text
    head, tail = EVIDENCE_CHARS // 4, EVIDENCE_CHARS * 3 // 4
    return f"{text[:head]}\n… {len(text) - head - tail} characters left out …\n{text[-tail:]}"
