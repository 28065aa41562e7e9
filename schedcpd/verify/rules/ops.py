# SPDX-License-Identifier: Apache-2.0
"""The struct sched_ext_ops, against what the target kernel's types have."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify import allow
from schedcpd.verify.check import Finding
from schedcpd.verify.source.facts import Node, Variable
from schedcpd.verify.source.program import SLEEPABLE, Program

# kernel/sched/ext: bpf_scx_check_member() refuses a sleepable program for any other op.
SLEEPABLE_OPS = frozenset(
    {"init", "exit", "init_task", "cgroup_init", "cgroup_exit", "cgroup_prep_move"}
    | {"cpu_online", "cpu_offline", "sub_attach", "sub_detach"}
)
_ALL, _INTERNAL = "SCX_OPS_ALL_FLAGS", ("__SCX_OPS_INTERNAL_MASK", "SCX_OPS_HAS_CPU_PREEMPT")


def check_ops(program: Program) -> Iterator[Finding]:
    if len(program.ops) != 1:
        yield Finding(
            "source.ops-count",
            f"It has {len(program.ops)} struct sched_ext_ops; a scheduler has exactly one.",
            ", ".join(v.name for v in program.ops),
            'declare one SEC(".struct_ops.link") struct sched_ext_ops',
        )
        return
    ops = program.ops[0]
    if ops.section != ".struct_ops.link":
        yield Finding(
            "source.ops-section",
            f"Its ops are in {ops.section or 'no section'}: without a link nothing can take it "
            "back.",
            hint='use SEC(".struct_ops.link")',
        )
    yield from _members(program, ops)
    yield from _flags(program, ops)
    yield from _numbers(ops)
    yield from _functions(program)


def _members(program: Program, ops: Variable) -> Iterator[Finding]:
    known = program.facts.ops_members
    if any(name.startswith("#") for name in ops.members):
        yield Finding(
            "source.ops-member",
            "Its ops are given by position, which differs from kernel to kernel.",
            hint="name each: .enqueue = …",
        )
        return
    for name in ops.members:
        if known and name not in known:
            yield Finding(
                "source.ops-member",
                f"The target kernel's sched_ext has no op {name[:80]}.",
                f"it has {', '.join(known)}",
                "leave it out, or fill it in through a compatibility header",
            )
    given = ops.members.get("name")
    label = given.name.strip('"') if given is not None and given.kind == "str" else ""
    if not allow.OPS_NAME.fullmatch(label):
        yield Finding(
            "source.ops-name",
            f"Its ops are named {label[:80]!r}.",
            hint='set .name = "…" of at most 127 letters, digits, _ . and -',
        )


def _flags(program: Program, ops: Variable) -> Iterator[Finding]:
    node = ops.members.get("flags")
    if node is None:
        return
    if node.kind != "int" or node.value is None:
        yield Finding("source.ops-flags", "Its flags are not a constant.", hint="or them together")
        return
    known = {
        name: bit for name, bit in program.facts.ops_flags.items() if name not in (_ALL, *_INTERNAL)
    }
    unknown = node.value & ~sum(set(known.values())) if known else 0
    unknown |= node.value & ~sum(allow.OPS_FLAGS)
    if unknown:
        yield Finding(
            "source.ops-flags",
            f"The target kernel does not know the flags {unknown:#x}, or they are not allowed.",
            f"flags = {node.value:#x}",
            f"known and allowed: {', '.join(allow.OPS_FLAGS.values())}",
        )
    if node.value & allow.ENQ_LAST and "enqueue" not in ops.members:
        yield Finding(
            "source.enq-last-without-enqueue",
            "It sets ENQ_LAST but has no enqueue, so the last task of a CPU would be lost.",
            hint="write ops.enqueue, or drop SCX_OPS_ENQ_LAST",
        )


def _numbers(ops: Variable) -> Iterator[Finding]:
    timeout = ops.members.get("timeout_ms")
    if timeout is not None and not (
        timeout.kind == "int" and 0 <= (timeout.value or 0) <= allow.MAX_TIMEOUT_MS
    ):
        yield Finding(
            "source.ops-timeout",
            f"Its watchdog timeout is {timeout.value} ms; the kernel allows "
            f"{allow.MAX_TIMEOUT_MS}.",
            hint=f"set timeout_ms to at most {allow.MAX_TIMEOUT_MS}",
        )
    if "hotplug_seq" in ops.members:
        yield Finding(
            "source.ops-hotplug-seq", "Its ops fix hotplug_seq at build time.", hint="leave it out"
        )


def _functions(program: Program) -> Iterator[Finding]:
    for op, function in program.entries.items():
        if function.section.split("/")[0] == SLEEPABLE and op not in SLEEPABLE_OPS:
            yield Finding(
                "source.sleepable-op",
                f"ops.{op} is marked as one that may sleep; the run queue is locked there.",
                f"{function.name}: {function.section}",
                'use SEC("struct_ops/…") for it',
            )
    start = program.entries.get("init")
    returned = [] if start is None else list(_returned(program, start.name))
    if returned and all(_negative(node) for node in returned):
        yield Finding(
            "source.init-fails",
            "ops.init returns an error whatever happens.",
            hint="return 0 when everything was made",
        )


def _returned(program: Program, name: str) -> Iterator[Node]:
    """What the op that BPF_PROG wrapped returns."""
    body = program.facts.functions.get(f"____{name}") or program.facts.functions[name]
    for node in body.body.walk():
        if node.kind == "return" and node.parts:
            yield node.parts[0]


def _negative(node: Node) -> bool:
    if node.kind == "int" and node.value is not None:
        return node.value < 0 or node.value >> 31 & 1 == 1
    return False
