# SPDX-License-Identifier: Apache-2.0
"""The virtual clock's command line.

python -m schedbench.vclock build            compile the plugin, print its path
python -m schedbench.vclock accepted         is the clock proved on this QEMU? (exit 0 or 1)
python -m schedbench.vclock check [OPTIONS]  the proof; exit 1 if a promise does not hold
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from schedbench.vclock import build, check, qemu
from schedbench.vclock.machine import Machine
from schedcpd.errors import SchedcpError
from schedcpd.microvm.cache import stderr_progress


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m schedbench.vclock",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build")
    commands.add_parser("accepted")
    proof = commands.add_parser("check")
    proof.add_argument("--vcpus", type=int, nargs="+", default=[4])
    proof.add_argument("--insn-ps", type=int, nargs="+", default=[1000])
    proof.add_argument("--scheduler", nargs="+", default=[check.DEFAULT])
    proof.add_argument("--quantum-ns", type=int, default=Machine().quantum_ns)
    proof.add_argument("--runs", type=int, default=3, help="the last one beside a busy host")
    proof.add_argument("--soak", type=int, default=0, metavar="SECONDS", help="of virtual time")
    proof.add_argument("--no-plain", action="store_true", help="do not compare with plain TCG")
    proof.add_argument("--keep", type=Path, metavar="DIR", help="copies of all serial output")
    return parser


async def _check(args: argparse.Namespace) -> int:
    prover = check.Prover(stderr_progress(), args.keep)
    holds = True
    for scheduler in args.scheduler:
        for vcpus in args.vcpus:
            for insn_ps in args.insn_ps:
                machine = Machine(vcpus=vcpus, insn_ps=insn_ps, quantum_ns=args.quantum_ns)
                case = check.Case(machine, scheduler, args.soak)
                outcome = await prover.prove(case, args.runs, plain=not args.no_plain)
                print(check.table(outcome), flush=True)
                holds = holds and outcome.holds
    return 0 if holds else 1


async def _main(args: argparse.Namespace) -> int:
    if args.command == "build":
        print(await build.plugin(stderr_progress()))
        return 0
    if args.command == "accepted":
        found = qemu.find()
        verdict = f"accepted ({found.accepted})" if found.accepted else "not accepted"
        print(f"{found.binary} build id {found.build_id or 'none'}: {verdict}")
        return 0 if found.accepted else 1
    return await _check(args)


def main() -> int:
    """Returns the exit code: 0, 1 if a promise does not hold, 2 for an error."""
    try:
        return asyncio.run(_main(_parser().parse_args()))
    except SchedcpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
