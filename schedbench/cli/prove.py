# SPDX-License-Identifier: Apache-2.0
"""`schedbench prove`: workloads repeat byte for byte under the virtual clock, shown here.

Each is run several times with the same seed, the last time beside busy loops on the host.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace

from schedbench import profiles, workload
from schedbench.cli import Commands, Exit, Output, command, table
from schedbench.model import SizeClass
from schedbench.virtual import prove, sample
from schedcpd.microvm.cache import stderr_progress

HEAD = ("workload", "arm", "profile", "insn/ns", "virtual s", "host s", "plain TCG s", "")


def add(commands: Commands) -> None:
    parser = command(
        commands, "prove", "show that workloads repeat under the virtual clock", _prove
    )
    parser.add_argument("--workloads", nargs="+", metavar="NAME", help="all that claim the clock")
    parser.add_argument("--arms", nargs="+", default=["default", "intent"], metavar="ARM")
    parser.add_argument("--profiles", nargs="+", default=[profiles.DEFAULT], metavar="PROFILE")
    parser.add_argument("--insn-ps", type=int, nargs="+", metavar="PS", help="the profile's own")
    parser.add_argument("--size", choices=[size.value for size in SizeClass], default="smoke")
    parser.add_argument("--runs", type=int, default=3, help="the last one beside a busy host")
    parser.add_argument("--plain", action="store_true", help="compare the cost with plain TCG")


async def _prove(options: argparse.Namespace, output: Output) -> Exit:
    say = stderr_progress()
    chosen = [workload.load(name) for name in options.workloads or workload.names()]
    machines = [profiles.profile(name) for name in options.profiles]
    if options.insn_ps:
        machines = [replace(each, insn_ps=ps) for each in machines for ps in options.insn_ps]
    prover = prove.Prover(await sample.prepare(say), say)
    proofs = []
    for case in prove.cases(chosen, options.arms, machines, SizeClass(options.size)):
        proofs.append(await prover.prove(case, options.runs, plain=options.plain))
        say(" ".join(prove.row(proofs[-1])))
    holds = bool(proofs) and all(proof.holds for proof in proofs)
    text = table(HEAD, [prove.row(proof) for proof in proofs])
    found = [{**asdict(proof), "holds": proof.holds} for proof in proofs]
    output.result({"proofs": found, "holds": holds}, text)
    return Exit.DONE if holds else Exit.REFUSED
