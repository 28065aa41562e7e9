# SPDX-License-Identifier: Apache-2.0
"""A verdict for a person to read."""

from __future__ import annotations

from schedcpd.model import CheckStatus, Verdict

_MARKS = {CheckStatus.PASSED: "ok", CheckStatus.FAILED: "FAILED", CheckStatus.SKIPPED: "-"}


def report(verdict: Verdict, known: bool = False) -> str:
    """A line a check; evidence and hint where one failed."""
    lines = [
        f"{verdict.scheduler} {verdict.object_sha256[:12]} on kernel {verdict.kernel.release}"
        f"{' (known before)' if known else ''}"
    ]
    for check in verdict.checks:
        seconds = f" ({check.seconds:.1f} s)" if check.seconds >= 0.1 else ""
        lines.append(f"  {_MARKS[check.status]:7} {check.name:10} {check.sentence}{seconds}")
        if check.status is CheckStatus.FAILED:
            lines.append(f"          reason: {check.reason}")
            lines += [f"          | {line}" for line in check.evidence.splitlines()]
            if check.hint:
                lines.append(f"          hint: {check.hint}")
    word = "passed" if verdict.passed else "did not pass"
    lines.append(f"  verdict {verdict.id[:12]}: {word}")
    return "\n".join(lines)
