# SPDX-License-Identifier: Apache-2.0
"""External schedulers at the gate: nothing about them can be proved, and the verdict says so.

What is checked is only who could have written the program: root, and nobody else.
"""

from __future__ import annotations

import time

from schedcpd.errors import SchedcpError, VerifyError
from schedcpd.host.program_file import Programs
from schedcpd.model import (
    Candidate,
    CheckResult,
    CheckStatus,
    KernelBuild,
    Verdict,
    VerdictOrigin,
)
from schedcpd.verify.verdict import make_verdict

REASON = "external.not-verified"
UNVERIFIED = "not verified by schedcp: run because the administrator installed and enabled it"


def external_verdict(candidate: Candidate, kernel: KernelBuild, programs: Programs) -> Verdict:
    """A verdict that did not pass and is never kept; it names the program's bytes.

    VerifyError: external schedulers are switched off, or the program is gone, not trustworthy
    or another one than the candidate names.
    """
    try:
        found = programs.find(candidate.scheduler)
    except SchedcpError as error:
        raise VerifyError(error.message, hint=error.hint) from error
    if (found.path, found.sha256) != (candidate.object_path, candidate.object_sha256):
        raise VerifyError(
            f"{found.path} is {found.sha256[:12]} now, the candidate is for "
            f"{candidate.object_path} {candidate.object_sha256[:12]}",
            hint="reload schedcpd, so that it reads its schedulers again",
        )
    return make_verdict(
        scheduler=candidate.scheduler,
        object_sha256=candidate.object_sha256,
        tunables=candidate.tunables,
        ranges={},
        kernel=kernel,
        vm_image="none",
        checks=[CheckResult("external", CheckStatus.SKIPPED, REASON, UNVERIFIED)],
        made_unix_s=int(time.time()),
        origin=VerdictOrigin.EXTERNAL,
    )
