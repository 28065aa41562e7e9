# SPDX-License-Identifier: Apache-2.0
"""The gate: nothing passes without a passing verdict for its exact bytes on this kernel.

The rules, in order (docs/adr/0002-verdicts.md):

1. a verdict for these bytes on this kernel that covers the tunables decides, either way;
2. none, but one can be made here: it is made, kept, and decides;
3. none can be made here: with `require_local_verdict` off, a verdict made when the package was
   built, for the same bytes on another kernel, is accepted and says so; otherwise it is refused.

An external scheduler is the exception: the administrator's word is all there is
(docs/adr/0004-external-schedulers.md).
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from schedcpd.errors import MicroVmError, VerifyError
from schedcpd.host.program_file import Programs
from schedcpd.model import (
    Candidate,
    CandidateKind,
    CheckStatus,
    KernelBuild,
    Verdict,
    VerdictOrigin,
)
from schedcpd.verify.external import UNVERIFIED, external_verdict
from schedcpd.verify.store import VerdictStore


class VerdictMaker(Protocol):
    """Makes verdicts on this machine, away from the daemon's process and event loop."""

    async def unavailable(self, kernel: KernelBuild) -> str:
        """Why no verdict for `kernel` can be made here, in a sentence; "" when it can."""

    async def make(self, candidate: Candidate, kernel: KernelBuild) -> Verdict:
        """Every check on `kernel` in the micro-VM: a minute or two. MicroVmError: it could not."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What let a candidate through: the verdict, and one sentence for `explain`."""

    verdict: Verdict
    sentence: str


class Gate:
    """Asks the store, else the maker, else policy. One verdict is made at a time."""

    def __init__(
        self,
        store: VerdictStore,
        maker: VerdictMaker,
        *,
        require_local_verdict: bool,
        programs: Programs | None = None,
    ) -> None:
        self._store = store
        self._maker = maker
        self._require_local = require_local_verdict
        self._programs = programs or Programs()
        self._making = asyncio.Lock()

    async def admit(self, candidate: Candidate, kernel: KernelBuild) -> Verdict:
        """The passing verdict for the candidate; VerifyError with the reason and what to do.

        Of an external scheduler: a verdict that did not pass, which only says that.
        """
        return (await self.explain(candidate, kernel)).verdict

    async def explain(self, candidate: Candidate, kernel: KernelBuild) -> Admission:
        """Like `admit`, and says which rule let the candidate through."""
        if candidate.kind is CandidateKind.EXTERNAL:
            programs = self._programs
            word = await asyncio.to_thread(external_verdict, candidate, kernel, programs)
            return Admission(word, f"{candidate.scheduler} is {UNVERIFIED}.")
        await asyncio.to_thread(_check_bytes, candidate)
        async with self._making:
            found = await asyncio.to_thread(
                self._store.find, candidate.scheduler, candidate.object_sha256, kernel
            )
            if found is not None and (not found.passed or covers(found, candidate)):
                return self._decided(found, candidate, "was made before")
            why_not = await self._maker.unavailable(kernel)
            if not why_not:
                return await self._make(candidate, kernel)
        return await asyncio.to_thread(self._by_policy, candidate, kernel, why_not)

    async def _make(self, candidate: Candidate, kernel: KernelBuild) -> Admission:
        try:
            verdict = await self._maker.make(candidate, kernel)
        except MicroVmError as error:
            raise VerifyError(
                f"No verdict for {candidate.scheduler} on {kernel.release} could be made: {error}",
                hint="try again when the machine is less busy, or see `make vm-shell`",
            ) from error
        if verdict.kernel.build_id != kernel.build_id:
            raise VerifyError(
                f"The micro-VM ran kernel {verdict.kernel.release}, not {kernel.release}",
                hint="the maker must boot the running kernel",
            )
        if verdict.object_sha256 != candidate.object_sha256:
            raise VerifyError(
                f"{candidate.object_path} changed while it was verified",
                hint="reload schedcpd, so that it reads its schedulers again",
            )
        await asyncio.to_thread(self._store.save, verdict)
        return self._decided(verdict, candidate, "was made now")

    def _by_policy(self, candidate: Candidate, kernel: KernelBuild, why_not: str) -> Admission:
        name = f"{candidate.scheduler} ({candidate.object_sha256[:12]})"
        if self._require_local:
            raise VerifyError(
                f"{name} has no verdict for kernel {kernel.release}, and none can be made here: "
                f"{why_not}",
                hint="install what the micro-VM needs, or set require_local_verdict: false "
                "to accept verdicts made when the package was built",
            )
        others = self._store.find_any_kernel(candidate.scheduler, candidate.object_sha256)
        shipped = [v for v in others if v.origin is VerdictOrigin.SHIPPED and v.passed]
        for verdict in shipped:
            if covers(verdict, candidate):
                return Admission(
                    verdict,
                    f"{name} passed on kernel {verdict.kernel.release} when the package was built; "
                    f"policy accepts that for {kernel.release}, since no verdict can be made here "
                    f"({why_not}).",
                )
        if shipped:
            raise _uncovered(shipped[0], candidate)
        raise VerifyError(
            f"{name} has no verdict for any kernel, and none can be made here: {why_not}",
            hint="reinstall the package, or install what the micro-VM needs",
        )

    def _decided(self, verdict: Verdict, candidate: Candidate, when: str) -> Admission:
        name = f"{candidate.scheduler} ({candidate.object_sha256[:12]})"
        if not verdict.passed:
            failed = next((c for c in verdict.checks if c.status is CheckStatus.FAILED), None)
            raise VerifyError(
                f"{name} failed on kernel {verdict.kernel.release}: "
                + (f"{failed.sentence} [{failed.reason}]" if failed else "not every check was run"),
                hint=failed.hint if failed else "make the verdict again",
            )
        if not covers(verdict, candidate):
            raise _uncovered(verdict, candidate)
        return Admission(
            verdict,
            f"{name} passed every check on kernel {verdict.kernel.release}; the verdict "
            f"({verdict.origin}) {when}.",
        )


def covers(verdict: Verdict, candidate: Candidate) -> bool:
    """Whether the verdict holds for the candidate's bytes and every one of its tunables."""
    return verdict.object_sha256 == candidate.object_sha256 and not verdict.uncovered(
        candidate.tunables
    )


def _uncovered(verdict: Verdict, candidate: Candidate) -> VerifyError:
    names = ", ".join(verdict.uncovered(candidate.tunables))
    return VerifyError(
        f"The verdict for {candidate.scheduler} does not cover these values of {names}",
        hint="keep them within the ranges of the scheduler's manifest",
    )


def _check_bytes(candidate: Candidate) -> None:
    """The file must hold the bytes that the candidate names, or the verdict says nothing of it."""
    path = Path(candidate.object_path)
    try:
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise VerifyError(
            f"Cannot read the object {path}: {error.strerror}", hint="reinstall the package"
        ) from error
    if actual != candidate.object_sha256:
        raise VerifyError(
            f"{path} changed: it is {actual[:12]} now, the candidate is for "
            f"{candidate.object_sha256[:12]}",
            hint="reload schedcpd, so that it reads its schedulers again",
        )
