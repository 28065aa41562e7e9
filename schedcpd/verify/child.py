# SPDX-License-Identifier: Apache-2.0
"""Examines and proves in child processes that are gone afterwards.

`python -m schedcpd.examine` for what somebody hands in, `python -m schedcpd.verdicts` for what is
to be deployed: neither the ELF parser nor QEMU is in the caller's process.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from schedcpd.errors import MicroVmError, VerifyError
from schedcpd.host import process
from schedcpd.model import Tunable, canonical_json

TIMEOUT_S = 900.0
_AVAILABLE_S = 60.0
_PROGRESS = re.compile(rb"^verify: [^:\n]+: ([a-z]+)$", re.MULTILINE)
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]

Began = Callable[[str], None]


class Children:
    """The `Workshop` in children of this process, with its rights."""

    async def examine(self, name: str, text: str, *, run: bool, began: Began) -> Mapping[str, Any]:
        """What `schedctl verify --json` says; `began` hears of each check.

        `name` is a file name without a directory. `run` false: only what needs no micro-VM.
        VerifyError: it could not be examined.
        """

        def said(chunk: bytes) -> None:
            for check in _PROGRESS.findall(chunk):
                began(check.decode())

        try:
            with tempfile.TemporaryDirectory(prefix="schedcp-verify-") as folder:
                path = Path(folder) / name
                await asyncio.to_thread(path.write_text, text, "utf-8")
                words = ["--json", *([] if run else ["--no-vm"]), "--", str(path)]
                done = await _run("schedcpd.examine", words, TIMEOUT_S, said)
        except (OSError, process.ProcessError) as error:
            raise VerifyError(str(error)) from error
        return _result(done)

    async def available(self, release: str) -> str:
        """Why no verdict for kernel `release` can be made here, in a sentence; "" when it can."""
        words = ["available", "--release", release]
        try:
            done = await _run("schedcpd.verdicts", words, _AVAILABLE_S)
        except process.ProcessError as error:
            raise MicroVmError(error.message, hint=error.hint) from error
        if done.exit_code == 0:
            return ""
        return done.text.strip() or f"it could not be found out: {done.error_text}"

    async def make(self, object_path: str, tunables: Mapping[str, Tunable], release: str) -> str:
        """A verdict of every check on kernel `release`, as JSON. MicroVmError: none was made."""
        words = ["make", object_path, "--release", release]
        words += ["--tunables", canonical_json(dict(tunables)).decode()]
        words += ["--json", "--no-save", "--force"]
        try:
            done = await _run("schedcpd.verdicts", words, TIMEOUT_S)
        except process.ProcessError as error:
            raise MicroVmError(error.message, hint=error.hint) from error
        if done.timed_out or done.exit_code not in (0, 1):
            how = "took too long" if done.timed_out else done.error_text or "no message"
            raise MicroVmError(f"The verifier ended without a verdict: {how}")
        return done.text


async def _run(
    module: str, words: list[str], timeout_s: float, tee: Callable[[bytes], None] | None = None
) -> process.ProcessResult:
    return await process.run(
        [sys.executable, "-P", "-m", module, *words],
        timeout_s=timeout_s,
        env={"PYTHONPATH": str(_PACKAGE_PARENT)},
        tee=tee,
    )


def _result(done: process.ProcessResult) -> Mapping[str, Any]:
    try:
        document = json.loads(done.text)
    except ValueError:
        document = None
    found = document.get("verify") if isinstance(document, dict) else None
    if isinstance(found, dict):
        return found
    if done.timed_out:
        raise VerifyError(f"it took longer than {TIMEOUT_S:.0f} s")
    raise VerifyError(_complaint(done.error_text) or "the verifier ended without a word")


def _complaint(text: str) -> str:
    """The message of a JSON complaint in the last line, else the text."""
    try:
        error = json.loads(text.splitlines()[-1])["error"]
        return f"{error['message']} ({error['hint']})" if error["hint"] else str(error["message"])
    except (ValueError, KeyError, TypeError, IndexError):
        return text
