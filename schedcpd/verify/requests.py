# SPDX-License-Identifier: Apache-2.0
"""Has examined what callers hand in as text, one at a time, outside of the daemon.

What is handed in never becomes a deployment: its verdict is an answer and is not kept.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from schedcpd.errors import BusyError, InvalidArgumentError, NotFoundError, SchedcpError
from schedcpd.verify.door import Workshop

KEPT = 16  # results
NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,62}\.(bpf\.c|yaml)")


def file_name(name: str) -> str:
    """`name`; InvalidArgumentError when it is not that of a source or of policies."""
    if not NAME.fullmatch(name):
        raise InvalidArgumentError(
            f"name: {name[:80]!r} is neither NAME.bpf.c nor NAME.yaml",
            hint="lower-case letters, digits, - and _, without a directory",
        )
    return name


class Told(Protocol):
    """Hears how examinations go, on the loop."""

    def verify_progress(self, id_: str, check: str) -> None: ...

    def verify_ended(self, id_: str, passed: bool, sentence: str) -> None: ...


@dataclass(slots=True)
class Examined:
    """One request. `result` is what the workshop found."""

    id: str
    name: str
    check: str = ""  # the last one begun
    ended: bool = False
    trouble: str = ""  # why there is no result
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return bool(self.result.get("passed"))

    @property
    def sentence(self) -> str:
        """How it ended."""
        failed = [c for c in self.result.get("checks", ()) if c.get("status") == "failed"]
        missing = str(self.result.get("missing", ""))
        if failed:
            return f"{failed[0]['sentence']} [{failed[0]['reason']}]"
        return self.trouble or missing or "every check passed"


class Examiner:
    """`begin` and come back with `result`; `told` hears of each check as it begins."""

    def __init__(self, workshop: Workshop, told: Told) -> None:
        self._workshop, self._told = workshop, told
        self._requests: dict[str, Examined] = {}
        self._task: asyncio.Task[None] | None = None

    def begin(self, name: str, text: str, *, run: bool) -> str:
        """The id of the examination. `run` false: only what needs no micro-VM.

        InvalidArgumentError: `name` is not a file name of a source or of policies. BusyError: one
        is under way.
        """
        name = file_name(name)
        if self._task is not None and not self._task.done():
            raise BusyError("something is being verified already", hint="try again in a minute")
        made = Examined(secrets.token_hex(8), name)
        self._requests[made.id] = made
        while len(self._requests) > KEPT:
            del self._requests[next(iter(self._requests))]
        self._task = asyncio.get_running_loop().create_task(
            self._run(made, text, run), name=f"verify {made.id}"
        )
        return made.id

    def result(self, id_: str) -> Mapping[str, Any]:
        """NotFoundError: no such examination, or it was long ago."""
        made = self._requests.get(id_)
        if made is None:
            raise NotFoundError(f"nothing was verified as {id_[:80]!r}", hint="verify it again")
        return {
            "id": made.id,
            "name": made.name,
            "state": "ended" if made.ended else "running",
            "check": made.check,
            "passed": made.passed,
            "sentence": made.sentence if made.ended else "",
            "result": dict(made.result),
        }

    async def close(self) -> None:
        """Ends the one under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, made: Examined, text: str, run: bool) -> None:
        def began(check: str) -> None:
            made.check = check
            self._told.verify_progress(made.id, check)

        try:
            made.result = await self._workshop.examine(made.name, text, run=run, began=began)
        except SchedcpError as error:
            made.trouble = f"it could not be examined: {error}"
        finally:
            made.ended = True
            self._told.verify_ended(made.id, made.passed, made.sentence)
