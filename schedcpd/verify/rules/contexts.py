# SPDX-License-Identifier: Apache-2.0
"""Kernel functions in ops where the kernel does not allow them.

6.12 finds out when it happens and ejects the scheduler; newer kernels refuse the load. The sets are
those of kernel/sched/ext (scx_kfunc_ids_*), which agree from 6.12 to 7.3 in what is listed here.
"""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify.check import Finding
from schedcpd.verify.source.program import SLEEPABLE, Program

_INSERT = frozenset({"select_cpu", "enqueue", "dispatch"})
_DISPATCH = frozenset({"dispatch"})
_SELECT = frozenset({"select_cpu", "enqueue"})
ALLOWED_IN = {
    "scx_bpf_dsq_insert": _INSERT,
    "scx_bpf_dispatch": _INSERT,
    "scx_bpf_dsq_insert_vtime": _INSERT,
    "scx_bpf_dispatch_vtime": _INSERT,
    "scx_bpf_dsq_move_to_local": _DISPATCH,
    "scx_bpf_consume": _DISPATCH,
    "scx_bpf_dispatch_nr_slots": _DISPATCH,
    "scx_bpf_dispatch_cancel": _DISPATCH,
    "scx_bpf_dsq_move": _DISPATCH,
    "scx_bpf_dsq_move_vtime": _DISPATCH,
    "scx_bpf_dispatch_from_dsq": _DISPATCH,
    "scx_bpf_dispatch_vtime_from_dsq": _DISPATCH,
    "scx_bpf_select_cpu_dfl": _SELECT,
}
MAY_SLEEP = frozenset({"scx_bpf_create_dsq"})


def check_contexts(program: Program) -> Iterator[Finding]:
    for call in program.calls:
        ops = program.ops_of.get(call.function.name, frozenset())
        place = program.place(call.function, call.node)
        if call.callee in ALLOWED_IN:
            wrong = ops - ALLOWED_IN[call.callee]
            if wrong:
                allowed = ", ".join(f"ops.{op}" for op in sorted(ALLOWED_IN[call.callee]))
                yield Finding(
                    "source.kfunc-context",
                    f"{call.callee} runs in ops.{min(wrong)}, where the kernel refuses it.",
                    place,
                    f"it may be called in {allowed}",
                )
        if call.callee in MAY_SLEEP:
            atomic = [
                op for op in sorted(ops) if program.entries[op].section.split("/")[0] != SLEEPABLE
            ]
            if atomic or call.function.name in program.timers:
                where = f"ops.{atomic[0]}" if atomic else "a timer"
                yield Finding(
                    "source.sleeps-in-atomic",
                    f"{call.callee} may sleep and runs in {where}, which must not.",
                    place,
                    "create queues in ops.init, ops.init_task or ops.cgroup_init, marked "
                    'SEC("struct_ops.s/…")',
                )
