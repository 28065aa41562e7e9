# SPDX-License-Identifier: Apache-2.0
"""Runs the checks in order, cheap ones first, and makes a verdict of what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from schedcpd.model import CheckResult, CheckStatus, Verdict, VerdictOrigin
from schedcpd.verify.check import Check, Subject, run_check, skipped
from schedcpd.verify.checks.behaviour import BehaviourCheck
from schedcpd.verify.checks.load import LoadCheck
from schedcpd.verify.checks.object import ObjectCheck
from schedcpd.verify.checks.tunables import TunablesCheck
from schedcpd.verify.guest import Guest
from schedcpd.verify.verdict import make_verdict, ranges_of


def all_checks() -> tuple[Check, ...]:
    """Every check of a verdict, in the order they run."""
    return (ObjectCheck(), TunablesCheck(), LoadCheck(), BehaviourCheck())


class Verifier:
    """Makes verdicts in one guest. `progress` is told the name of each check as it begins."""

    def __init__(
        self,
        guest: Guest,
        checks: Sequence[Check] | None = None,
        progress: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._guest = guest
        self._checks = tuple(checks) if checks is not None else all_checks()
        self._progress = progress

    async def verify(
        self,
        subject: Subject,
        *,
        origin: VerdictOrigin = VerdictOrigin.LOCAL,
        every: bool = False,
        before: Sequence[CheckResult] = (),
    ) -> Verdict:
        """The verdict on the guest's kernel. Stops at the first failed check unless `every`.

        `before`: results of checks of its source, which count like the others.

        MicroVmError: no verdict could be made, which says nothing about the candidate.
        """
        machine = await self._guest.identity()
        results = list(before)
        failed = next((r.name for r in before if r.status is CheckStatus.FAILED), "")
        for check in self._checks:
            if failed and not every:
                results.append(skipped(check.name, failed))
                continue
            self._progress(check.name)
            result = await run_check(check, subject, self._guest)
            results.append(result)
            if result.status is CheckStatus.FAILED:
                failed = failed or check.name
        return make_verdict(
            scheduler=subject.scheduler,
            object_sha256=subject.sha256,
            tunables=subject.tunables,
            ranges=ranges_of(subject.manifest),
            kernel=machine.kernel,
            vm_image=machine.image,
            checks=results,
            made_unix_s=int(time.time()),
            origin=origin,
            clock=self._guest.clock,
        )
