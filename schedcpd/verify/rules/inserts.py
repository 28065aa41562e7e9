# SPDX-License-Identifier: Apache-2.0
"""A task that is inserted into two queues: the kernel ejects the scheduler."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify.check import Finding
from schedcpd.verify.source.facts import Node
from schedcpd.verify.source.program import Program, plain

INSERTS = frozenset(
    {"scx_bpf_dsq_insert", "scx_bpf_dispatch", "scx_bpf_dsq_insert_vtime", "scx_bpf_dispatch_vtime"}
)


def check_inserts(program: Program) -> Iterator[Finding]:
    """Two insertions of one name among the statements of one block, the name not set between."""
    for function in program.live:
        for block in function.body.walk():
            if block.kind != "block":
                continue
            second = _second(block)
            if second is not None:
                yield Finding(
                    "source.inserted-twice",
                    f"It inserts {second.parts[0].name} into a queue a second time.",
                    program.place(function, second),
                    "insert each task once: return after the first, or use else",
                )


def _second(block: Node) -> Node | None:
    inserted: set[str] = set()
    for statement in block.parts:
        target = statement.parts[0] if statement.kind == "bin" and statement.sign == "=" else None
        if target is not None:
            inserted.discard(target.name)
        if statement.kind != "call" or plain(statement.name) not in INSERTS or not statement.parts:
            continue
        task = statement.parts[0]
        if task.kind == "ref" and task.name in inserted:
            return statement
        inserted.add(task.name)
    return None
