# SPDX-License-Identifier: Apache-2.0
"""The proof for workloads, from the command line.

python -m schedbench.virtual prove [OPTIONS]   exit 1 if a promise does not hold

Each workload that claims the virtual clock is run several times with the same seed, the last time
beside busy loops; all bytes of the console must be equal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from schedbench import profiles, workload
from schedbench.model import SizeClass
from schedbench.virtual import prove, sample
from schedcpd.errors import SchedcpError
from schedcpd.microvm.cache import stderr_progress


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m schedbench.virtual",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = parser.add_subparsers(dest="command", required=True).add_parser("prove")
    command.add_argument("--workloads", nargs="+", metavar="NAME", help="all that claim the clock")
    command.add_argument("--arms", nargs="+", default=["default", "intent"])
    command.add_argument("--profiles", nargs="+", default=[profiles.DEFAULT])
    command.add_argument("--insn-ps", type=int, nargs="+", metavar="PS", help="the profile's own")
    command.add_argument("--size", choices=list(SizeClass), default=SizeClass.SMOKE)
    command.add_argument("--runs", type=int, default=3, help="the last one beside a busy host")
    command.add_argument("--plain", action="store_true", help="compare the cost with plain TCG")
    command.add_argument("--json", type=Path, metavar="FILE", help="one JSON object for each case")
    return parser


async def _prove(args: argparse.Namespace) -> int:
    say = stderr_progress()
    chosen = [workload.load(name) for name in args.workloads or workload.names()]
    machines = [profiles.profile(name) for name in args.profiles]
    if args.insn_ps:
        machines = [replace(each, insn_ps=ps) for each in machines for ps in args.insn_ps]
    prover = prove.Prover(await sample.prepare(say), say)
    print("| workload | arm | profile | instructions/ns | virtual s | host s | |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    holds = True
    for case in prove.cases(chosen, args.arms, machines, SizeClass(args.size)):
        proof = await prover.prove(case, args.runs, plain=args.plain)
        print(prove.line(proof), flush=True)
        if args.json is not None:
            with args.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**asdict(proof), "holds": proof.holds}) + "\n")
        holds = holds and proof.holds
    return 0 if holds else 1


def main() -> int:
    """Returns the exit code: 0, 1 if a promise does not hold, 2 for an error."""
    try:
        return asyncio.run(_prove(_parser().parse_args()))
    except SchedcpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
