# SPDX-License-Identifier: Apache-2.0
"""Programs of schedcp that need no daemon, each run in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schedcpd.host import process
from schedctl.exits import CallError

_PACKAGES = str(Path(__file__).resolve().parents[1])


def argv(module: str, *words: str) -> list[str]:
    """The program. `-P`: the working directory is no place for its modules."""
    return [sys.executable, "-P", "-m", module, *words]


def _python_path() -> str:
    return os.pathsep.join([_PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])])


def run_here(program: Sequence[str]) -> int:
    """Runs it with this process' terminal; its exit code is ours."""
    environment = {**os.environ, "PYTHONPATH": _python_path()}
    done = subprocess.run(program, env=environment, stdin=subprocess.DEVNULL, check=False)
    return done.returncode if done.returncode >= 0 else 1


async def document(
    program: Sequence[str], name: str, failed: str, *, timeout_s: float
) -> dict[str, Any]:
    """`name` of the JSON document it prints. CallError: there is none; `failed`, and why."""
    done = await process.run(program, timeout_s=timeout_s, env={"PYTHONPATH": _python_path()})
    try:
        return dict(json.loads(done.text)[name])
    except (ValueError, KeyError, TypeError) as error:
        said = "it took too long" if done.timed_out else done.error_text or "no message"
        raise CallError("Failed", f"{failed}: {said}") from error
