# SPDX-License-Identifier: Apache-2.0
"""`schedbench verify`: believes nothing of a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from schedbench import workload
from schedbench.bundle.verify import Options, State, verify
from schedbench.cli import Commands, Exit, Output, command
from schedbench.run.again import VirtualAgain
from schedcpd.microvm.cache import stderr_progress


def add(commands: Commands) -> None:
    parser = command(commands, "verify", "check a bundle: bytes, signature, results", _verify)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument(
        "--allowed-signers",
        type=Path,
        metavar="FILE",
        help="who is trusted: ssh-keygen(1), ALLOWED SIGNERS",
    )
    parser.add_argument(
        "--unsigned", action="store_true", help="a bundle without signature is fine"
    )
    parser.add_argument(
        "--reruns",
        type=int,
        default=1,
        metavar="N",
        help="virtual clock: take N samples again, chosen by chance (default 1, 0 for none)",
    )


async def _verify(options: argparse.Namespace, output: Output) -> Exit:
    checks = await verify(
        options.bundle,
        Options(
            allowed_signers=options.allowed_signers,
            unsigned_ok=options.unsigned,
            reruns=max(0, options.reruns),
            repeater=VirtualAgain(stderr_progress()),
            known=workload.load_all(),
        ),
    )
    states = {check.state for check in checks}
    lines = [f"{c.state.value:8} {c.name}: " + f"\n{'':9}".join(c.said) for c in checks]
    verified = states == {State.OK}
    if State.FAILED in states:
        verdict = "NOT VERIFIED: it is not what it says"
    elif verified:
        verdict = "verified"
    else:
        verdict = "NOT VERIFIED in full: something could not be checked here"
    output.result(
        {"bundle": str(options.bundle), "verified": verified, "checks": checks},
        "\n".join([*lines, verdict]),
    )
    return Exit.DONE if verified else Exit.REFUSED
