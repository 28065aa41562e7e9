# SPDX-License-Identifier: Apache-2.0
"""A verdict for a person to read."""

from __future__ import annotations

from collections.abc import Sequence

from schedcpd.model import CheckResult, CheckStatus, Verdict
from schedcpd.verify.examination import Examination

_MARKS = {CheckStatus.PASSED: "ok", CheckStatus.FAILED: "FAILED", CheckStatus.SKIPPED: "-"}


def report(verdict: Verdict, known: bool = False) -> str:
    """A line a check; evidence and hint where one failed."""
    lines = [
        f"{verdict.scheduler} {verdict.object_sha256[:12]} on kernel {verdict.kernel.release}"
        f"{' (known before)' if known else ''}"
    ]
    lines += check_lines(verdict.checks)
    word = "passed" if verdict.passed else "did not pass"
    lines.append(f"  verdict {verdict.id[:12]}: {word}")
    return "\n".join(lines)


def check_lines(checks: Sequence[CheckResult]) -> list[str]:
    """A line a check; evidence and hint where one failed."""
    lines = []
    for check in checks:
        seconds = f" ({check.seconds:.1f} s)" if check.seconds >= 0.1 else ""
        lines.append(f"  {_MARKS[check.status]:7} {check.name:10} {check.sentence}{seconds}")
        if check.status is CheckStatus.FAILED:
            lines.append(f"          reason: {check.reason}")
            lines += [f"          | {line}" for line in check.evidence.splitlines()]
            if check.hint:
                lines.append(f"          hint: {check.hint}")
    return lines


def examination_report(found: Examination) -> str:
    """For a person: what was checked, what was found, and what it means."""
    kernel = f" on kernel {found.verdict.kernel.release}" if found.verdict else ""
    lines = [f"{found.file}{kernel}", *check_lines(found.checks)]
    if found.refused:
        lines.append("  refused")
    elif found.missing:
        lines.append(f"  not proved: {found.missing}")
    elif found.verdict is not None:
        lines.append(f"  passed; verdict {found.verdict.id[:12]}")
    else:
        lines.append("  passed")
    return "\n".join(lines)
