# SPDX-License-Identifier: Apache-2.0
"""Stores into the kernel's own structures."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify.check import Finding
from schedcpd.verify.source.facts import Node
from schedcpd.verify.source.program import Program

# kernel/sched/ext: bpf_scx_btf_struct_access()
WRITABLE = {"sched_ext_entity": frozenset({"slice", "dsq_vtime", "disallow"})}
KERNEL = frozenset({"task_struct", "sched_ext_entity", "cgroup", "rq", "cpumask", "scx_dispatch_q"})


def check_writes(program: Program) -> Iterator[Finding]:
    for function in program.live:
        for node in function.body.walk():
            target = _target(node)
            if target is None or target.kind != "member" or target.of not in KERNEL:
                continue
            if target.name not in WRITABLE.get(target.of, frozenset()):
                yield Finding(
                    "source.kernel-write",
                    f"It writes {target.of}.{target.name}, which belongs to the kernel.",
                    program.place(function, node),
                    "only p->scx.slice, p->scx.dsq_vtime and p->scx.disallow may be written; keep "
                    "state in task storage",
                )


def _target(node: Node) -> Node | None:
    if node.kind == "bin" and node.sign.endswith("=") and node.sign not in ("==", "!=", "<=", ">="):
        return node.parts[0]
    if node.kind == "un" and node.sign in ("++", "--"):
        return node.parts[0]
    return None
