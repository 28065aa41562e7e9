# SPDX-License-Identifier: Apache-2.0
"""CPU numbers that nobody checked: a wrong one ejects the scheduler."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify.check import Finding
from schedcpd.verify.source.facts import Function, Node
from schedcpd.verify.source.program import Program

TAKES_CPU = {
    "scx_bpf_kick_cpu": 0,
    "scx_bpf_cpuperf_set": 0,
    "scx_bpf_cpuperf_cap": 0,
    "scx_bpf_cpuperf_cur": 0,
    "scx_bpf_test_and_clear_cpu_idle": 0,
    "scx_bpf_cpu_rq": 0,
    "scx_bpf_cpu_curr": 0,
    "scx_bpf_cpu_node": 0,
}
_INSERTS = {
    "scx_bpf_dsq_insert": 1,
    "scx_bpf_dispatch": 1,
    "scx_bpf_dsq_move": 2,
    "scx_bpf_dispatch_from_dsq": 2,
}
_LOCAL_ON = 0b11 << 62
# What these return is a CPU that exists.
_GOOD = frozenset(
    {
        "bpf_get_smp_processor_id",
        "scx_bpf_task_cpu",
        "scx_bpf_select_cpu_dfl",
        "scx_bpf_pick_any_cpu",
        "scx_bpf_pick_any_cpu_node",
    }
)
_COMPARES = frozenset({"<", "<=", ">", ">=", "==", "!="})
_TESTS = frozenset({"bpf_cpumask_test_cpu", "bpf_cpumask_test_and_clear_cpu"})
_CPU_COUNTS = frozenset({"scx_bpf_nr_cpu_ids", "bpf_num_possible_cpus"})
_HINT = (
    "compare it with 0 and scx_bpf_nr_cpu_ids(), or take one that the kernel gave: "
    "scx_bpf_task_cpu(), scx_bpf_pick_any_cpu()"
)


def check_cpus(program: Program) -> Iterator[Finding]:
    for call in program.calls_of(*TAKES_CPU, *_INSERTS):
        if call.callee in TAKES_CPU:
            cpu = call.argument(TAKES_CPU[call.callee])
        else:
            cpu = _local_on(call.argument(_INSERTS[call.callee]))
        if cpu is not None and not _good(program, cpu, call.function):
            yield Finding(
                "source.cpu-unchecked",
                f"{call.callee} gets a CPU number that nothing checked.",
                program.place(call.function, call.node),
                _HINT,
            )
    yield from _selected(program)


def _selected(program: Program) -> Iterator[Finding]:
    entry = program.entries.get("select_cpu")
    if entry is None:
        return
    body = program.facts.functions.get(f"____{entry.name}", entry)
    for node in body.body.walk():
        if node.kind == "return" and node.parts and not _good(program, node.parts[0], body):
            yield Finding(
                "source.cpu-unchecked",
                "ops.select_cpu returns a CPU number that nothing checked.",
                program.place(body, node),
                _HINT,
            )


def _local_on(queue: Node | None) -> Node | None:
    """x of `SCX_DSQ_LOCAL_ON | x`."""
    if queue is None or queue.kind != "bin" or queue.sign not in ("|", "+"):
        return None
    for part, other in (queue.parts, queue.parts[::-1]):
        if part.kind == "int" and (part.value or 0) & _LOCAL_ON == _LOCAL_ON:
            return other
    return None


def _good(program: Program, node: Node, function: Function, depth: int = 0) -> bool:
    if depth > 6:
        return False
    if node.kind == "int":
        return node.value == 0
    if node.kind == "call":
        return node.name in _GOOD or _own_good(program, node, depth)
    if node.kind == "bin" and node.sign == "%":
        return _counts_cpus(program, node.parts[1], function)
    if node.kind == "cond" and len(node.parts) == 3:
        if _checked(node.parts[0], node.parts[1]) or _checked(node.parts[0], node.parts[2]):
            return True
        return all(_good(program, part, function, depth + 1) for part in node.parts[1:])
    if node.kind == "value-block" and node.parts:
        return _good(program, node.parts[-1], function, depth + 1)
    if node.kind in ("ref", "member", "index", "un") and _checked(function.body, node):
        return True
    if node.kind == "index" and node.parts[0].scope == "global":
        return _stored_good(program, node.parts[0].name, depth)
    if node.kind == "ref" and node.scope in ("local", "param"):
        if program.is_op_parameter(function, node.name):
            return True
        origins = program.origins(node, function)
        return all(o is not None and _good(program, o, f, depth + 1) for o, f in origins)
    return False


def _own_good(program: Program, call: Node, depth: int) -> bool:
    """A function of the source whose every result is good."""
    target = program.facts.functions.get(call.name)
    if target is None:
        return False
    returned = [n.parts[0] for n in target.body.walk() if n.kind == "return" and n.parts]
    return bool(returned) and all(_good(program, r, target, depth + 1) for r in returned)


def _stored_good(program: Program, array: str, depth: int) -> bool:
    """A global array into which only good numbers are stored."""
    stored = [
        (node.parts[1], function)
        for function in program.live
        for node in function.body.walk()
        if node.kind == "bin"
        and node.sign == "="
        and node.parts[0].kind == "index"
        and node.parts[0].parts[0].name == array
    ]
    return bool(stored) and all(_good(program, value, f, depth + 1) for value, f in stored)


def _checked(body: Node, wanted: Node) -> bool:
    for node in body.walk():
        if node.kind == "bin" and node.sign in _COMPARES and _same_in(node.parts, wanted):
            return True
        if node.kind == "call" and node.name in _TESTS and _same_in(node.parts[:1], wanted):
            return True
    return False


def _same_in(parts: tuple[Node, ...], wanted: Node) -> bool:
    return any(_same(part, wanted) for part in parts)


def _same(one: Node, other: Node) -> bool:
    return (one.kind, one.name, one.sign) == (other.kind, other.name, other.sign) and (
        len(one.parts) == len(other.parts)
        and all(_same(a, b) for a, b in zip(one.parts, other.parts, strict=True))
    )


def _counts_cpus(program: Program, node: Node, function: Function) -> bool:
    if node.kind == "call":
        return node.name in _CPU_COUNTS
    if node.kind == "ref" and node.scope == "global":
        return "cpu" in node.name
    if node.kind == "ref":
        origins = program.origins(node, function)
        return all(o is not None and _counts_cpus(program, o, f) for o, f in origins)
    return False
