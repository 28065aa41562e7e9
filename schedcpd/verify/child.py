# SPDX-License-Identifier: Apache-2.0
"""The gate's maker of verdicts: `python -m schedcpd.verdicts` in a child process."""

from __future__ import annotations

import sys
from pathlib import Path

from schedcpd.errors import MicroVmError
from schedcpd.host import process
from schedcpd.model import Candidate, KernelBuild, Verdict, canonical_json
from schedcpd.verify.verdict import verdict_from_json

TIMEOUT_S = 900.0
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class ChildMaker:
    """`gate.VerdictMaker`: asks, and makes, in children that are gone afterwards."""

    async def unavailable(self, kernel: KernelBuild) -> str:
        result = await self._run(["available", "--release", kernel.release], 60)
        if result.exit_code == 0:
            return ""
        return result.text.strip() or f"it could not be found out: {result.error_text}"

    async def make(self, candidate: Candidate, kernel: KernelBuild) -> Verdict:
        argv = ["make", candidate.object_path, "--release", kernel.release]
        argv += ["--tunables", canonical_json(dict(candidate.tunables)).decode()]
        argv += ["--json", "--no-save", "--force"]
        result = await self._run(argv, TIMEOUT_S)
        if result.timed_out or result.exit_code not in (0, 1):
            how = "took too long" if result.timed_out else result.error_text or "no message"
            raise MicroVmError(f"The verifier ended without a verdict: {how}")
        return verdict_from_json(result.text, "the verifier's answer")

    async def _run(self, arguments: list[str], timeout_s: float) -> process.ProcessResult:
        argv = [sys.executable, "-m", "schedcpd.verdicts", *arguments]
        try:
            return await process.run(
                argv, timeout_s=timeout_s, env={"PYTHONPATH": str(_PACKAGE_PARENT)}
            )
        except process.ProcessError as error:
            raise MicroVmError(error.message, hint=error.hint) from error
