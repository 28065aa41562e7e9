# SPDX-License-Identifier: Apache-2.0
"""`schedctl verify`: the verifier in a process of its own, without the daemon."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from schedcpd.host import process
from schedctl.exits import CallError

TIMEOUT_S = 900.0

_PACKAGES = str(Path(__file__).resolve().parents[1])


def argv(options: argparse.Namespace) -> list[str]:
    """The program and its arguments. `-P`: the working directory is no place for its modules."""
    words = [sys.executable, "-P", "-m", "schedcpd.examine"]
    for flag in ("all", "json", "no_vm"):
        if getattr(options, flag):
            words.append(f"--{flag.replace('_', '-')}")
    for name in ("manifest", "tunables", "cpus", "release"):
        value = getattr(options, name)
        if value:
            words += [f"--{name}", str(value)]
    for folder in options.include:
        words += ["--include", folder]
    return [*words, "--", options.file]


def environment() -> dict[str, str]:
    paths = [_PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(options: argparse.Namespace) -> int:
    """Runs it with this process' terminal; its exit code is ours."""
    done = subprocess.run(argv(options), env=environment(), stdin=subprocess.DEVNULL, check=False)
    return done.returncode if done.returncode >= 0 else 1


async def verified(file: str, *, run_it: bool) -> dict[str, Any]:
    """The JSON document of every check of one file. CallError: there is none, and why."""
    words = [sys.executable, "-P", "-m", "schedcpd.examine", "--json", "--all"]
    words += [] if run_it else ["--no-vm"]
    done = await process.run(
        [*words, "--", file], timeout_s=TIMEOUT_S, env={"PYTHONPATH": environment()["PYTHONPATH"]}
    )
    try:
        found = json.loads(done.text)["verify"]
    except (ValueError, KeyError, TypeError) as error:
        said = "it took too long" if done.timed_out else done.error_text or "no message"
        raise CallError("Failed", f"{file} could not be examined: {said}") from error
    return dict(found)
