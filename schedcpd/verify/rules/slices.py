# SPDX-License-Identifier: Apache-2.0
"""Slices without an end."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify.check import Finding
from schedcpd.verify.source.facts import Node
from schedcpd.verify.source.program import Program

INFINITE = (1 << 64) - 1
LONGEST_NS = 1_000_000_000
_SLICE_ARGUMENT = {
    "scx_bpf_dsq_insert": 2,
    "scx_bpf_dispatch": 2,
    "scx_bpf_dsq_insert_vtime": 2,
    "scx_bpf_dispatch_vtime": 2,
    "scx_bpf_task_set_slice": 1,
}


def check_slices(program: Program) -> Iterator[Finding]:
    """A slice of more than a second is taken only from a scheduler that also cuts slices short."""
    if _cuts(program):
        return
    for call in program.calls_of(*_SLICE_ARGUMENT):
        found = program.values(call.argument(_SLICE_ARGUMENT[call.callee]), call.function)
        if found.known and max(found.known) > LONGEST_NS:
            length = max(found.known)
            shown = "never ends" if length == INFINITE else f"is {length / 1e9:.0f} s long"
            yield Finding(
                "source.slice-endless",
                f"A slice {shown}, and nothing ever takes the CPU back.",
                program.place(call.function, call.node),
                "give slices of milliseconds (SCX_SLICE_DFL is 20), or preempt by "
                "scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT) from a timer or tick",
            )


def _cuts(program: Program) -> bool:
    if any(True for _ in program.calls_of("scx_bpf_kick_cpu", "scx_bpf_task_set_slice")):
        return True
    return any(_sets_slice(node) for function in program.live for node in function.body.walk())


def _sets_slice(node: Node) -> bool:
    return (
        node.kind == "bin"
        and node.sign == "="
        and node.parts[0].kind == "member"
        and node.parts[0].name == "slice"
    )
