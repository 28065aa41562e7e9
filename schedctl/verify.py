# SPDX-License-Identifier: Apache-2.0
"""`schedctl verify`: the verifier in a process of its own, or, with --daemon, by schedcpd."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from schedctl.client import daemon
from schedctl.exits import CallError, Exit
from schedctl.offline import argv, document, run_here
from schedctl.text import safe

PROGRAM = "schedcpd.examine"
TIMEOUT_S = 900.0
POLL_S = 0.5


def _argv(options: argparse.Namespace) -> list[str]:
    words = argv(PROGRAM)
    for flag in ("all", "json", "no_vm"):
        if getattr(options, flag):
            words.append(f"--{flag.replace('_', '-')}")
    for name in ("manifest", "tunables", "cpus", "release", "clock"):
        value = getattr(options, name)
        if value:
            words += [f"--{name}", str(value)]
    for folder in options.include:
        words += ["--include", folder]
    return [*words, "--", options.file]


def run(options: argparse.Namespace) -> int:
    """Runs it with this process' terminal; its exit code is ours."""
    if options.daemon:
        path = Path(options.file)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CallError("Failed", f"{path} cannot be read: {error}") from error
        return asyncio.run(_by_daemon(options, path.name, text))
    return run_here(_argv(options))


async def _by_daemon(options: argparse.Namespace, name: str, text: str) -> int:
    """Hands the text in over D-Bus and waits; 0 passed, 1 refused, 5 not all could be checked."""
    told = ""
    async with daemon(options.bus_address, ask_password=not options.no_ask_password) as schedcpd:
        id_ = await schedcpd.verify(name, text, run=not options.no_vm)
        while (found := await schedcpd.verification(id_))["state"] != "ended":
            if found["check"] != told:
                told = str(found["check"])
                print(f"verify: {name}: {told}", file=sys.stderr, flush=True)
            await asyncio.sleep(POLL_S)
    if options.json:
        print(json.dumps({"version": 1, "verify": found}, indent=2))
    else:
        for check in found["result"].get("checks", ()):
            print(safe(f"{check['name']:10} {check['status']:8} {check['sentence']}"))
        print(safe(f"{'passed' if found['passed'] else 'did not pass'}: {found['sentence']}"))
    failed = any(c["status"] == "failed" for c in found["result"].get("checks", ()))
    return Exit.DONE if found["passed"] else Exit.REFUSED if failed else Exit.UNSUPPORTED


async def verified(file: str, *, run_it: bool) -> dict[str, Any]:
    """The JSON document of every check of one file. CallError: there is none, and why."""
    words = ["--json", "--all", *([] if run_it else ["--no-vm"]), "--", file]
    failed = f"{file} could not be examined"
    return await document(argv(PROGRAM, *words), "verify", failed, timeout_s=TIMEOUT_S)
