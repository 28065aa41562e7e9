# SPDX-License-Identifier: Apache-2.0
"""Loops that the kernel's verifier accepts and that freeze a machine: bpf_loop and bpf_for.

The verifier walks plain loops to their end, so those are its business. It looks at the body of a
bpf_loop once, whatever the count, and at nested ones once for each: 2^46 rounds pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schedcpd.verify.check import Finding
from schedcpd.verify.source.facts import Function, Node
from schedcpd.verify.source.program import Program

MOST = 1 << 22  # rounds in one call of an op: tens of milliseconds with the run queue locked
_ASSUMED = 64  # CPUs, queues: what a global or a kernel function may count
_WAITING = 256  # tasks in a queue that is walked: the loop ends with them
_PLAIN = 1000  # a plain loop whose bound is not a constant, around one of these
_MAP = 4096  # elements of a map that is walked
_COUNTS = frozenset({"scx_bpf_nr_cpu_ids", "scx_bpf_nr_node_ids", "scx_bpf_dsq_nr_queued"})
_BOUNDING = frozenset({"<", "<=", ">", ">="})
_CALLBACK = {"bpf_loop": 1, "bpf_for_each_map_elem": 1}


@dataclass(frozen=True, slots=True)
class _Cost:
    """Rounds at worst, and whether a counted loop is in it."""

    rounds: int
    counted: bool


_ONE = _Cost(1, False)


def check_loops(program: Program) -> Iterator[Finding]:
    yield from _bounds(program)
    cost = _Costs(program)
    said: set[str] = set()
    for function in program.live:
        if not function.section and function.name not in program.timers:
            continue
        found = cost.of_function(function.name)
        worst = cost.worst.get(function.name)
        if not found.counted or found.rounds <= MOST or worst is None:
            continue
        where, node = worst
        place = program.place(where, node)
        if place in said:
            continue
        said.add(place)
        yield Finding(
            "source.loop-nested",
            f"{function.name} can go through {found.rounds} rounds of loops in one call; "
            f"{MOST} are the most allowed.",
            place,
            "bound each loop tightly and do not nest them: ops run with the run queue locked",
        )


def _bounds(program: Program) -> Iterator[Finding]:
    for call in program.calls:
        if call.callee == "bpf_loop":
            bound = call.argument(0)
        elif call.callee == "bpf_iter_num_new":
            bound = call.argument(2)
        else:
            continue
        if bound is not None and not _bounded(program, bound, call.function):
            yield Finding(
                "source.loop-unbounded",
                "The number of rounds of a loop comes from data and has no limit.",
                program.place(call.function, call.node),
                "compare it with a constant first, or loop to a constant and break",
            )


def _bounded(program: Program, node: Node, function: Function, depth: int = 0) -> bool:
    if depth > 6:
        return False
    if node.kind == "int":
        return True
    if node.kind == "call":
        return node.name in _COUNTS or _own_bounded(program, node.name, depth)
    if node.kind == "ref" and node.scope == "global":
        return True
    if node.kind == "ref":
        if _compared(node.name, function):
            return True
        origins = program.origins(node, function)
        return all(o is not None and _bounded(program, o, f, depth + 1) for o, f in origins)
    if node.kind == "bin" and node.sign in ("&", "%"):
        return any(_bounded(program, part, function, depth + 1) for part in node.parts)
    if node.kind in ("bin", "cond", "un", "value-block", "index", "group"):
        parts = node.parts[1:] if node.kind == "cond" else node.parts
        return all(_bounded(program, part, function, depth + 1) for part in parts)
    return False


def _own_bounded(program: Program, name: str, depth: int) -> bool:
    """A function of the source whose every result is bounded."""
    target = program.facts.functions.get(name)
    if target is None:
        return False
    returned = [n.parts[0] for n in target.body.walk() if n.kind == "return" and n.parts]
    return bool(returned) and all(_bounded(program, r, target, depth + 1) for r in returned)


def _compared(name: str, function: Function) -> bool:
    return any(
        node.kind == "bin"
        and node.sign in _BOUNDING
        and any(part.kind == "ref" and part.name == name for part in node.parts)
        for node in function.body.walk()
    )


class _Costs:
    """Rounds of nested counted loops, by function."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._known: dict[str, _Cost] = {}
        self._open: set[str] = set()
        self.worst: dict[str, tuple[Function, Node]] = {}

    def of_function(self, name: str) -> _Cost:
        function = self._program.facts.functions.get(name)
        if function is None or name in self._open:
            return _ONE  # the kernel's, or a recursion, which the verifier refuses
        if name not in self._known:
            self._open.add(name)
            self._known[name] = self._of(function.body, function)
            self._open.discard(name)
        return self._known[name]

    def _of(self, node: Node, function: Function) -> _Cost:
        inner = [self._of(part, function) for part in node.parts]
        worst = max(inner, key=lambda cost: (cost.counted, cost.rounds), default=_ONE)
        if node.kind == "loop":
            return self._loop(node, function, worst)
        if node.kind != "call":
            return worst
        number = _CALLBACK.get(node.name)
        if number is None:
            called = self.of_function(node.name)
            self._inherit(function, node, called)
            return max(worst, called, key=lambda cost: (cost.counted, cost.rounds))
        callback = node.parts[number].name if len(node.parts) > number else ""
        body = self.of_function(callback)
        times = _MAP
        if node.name == "bpf_loop" and node.parts:
            times = self._times(node.parts[0], function)
        cost = _Cost(times * body.rounds, True)
        self._note(function, node, cost)
        return cost

    def _loop(self, node: Node, function: Function, worst: _Cost) -> _Cost:
        start = next((c for c in node.calls() if c.name == "bpf_iter_num_new"), None)
        if start is not None and len(start.parts) == 3 and _own(node, start):
            times = self._times(start.parts[2], function)
            if any(c.name == "bpf_iter_scx_dsq_next" for c in node.calls()):
                times = min(times, _WAITING)
            cost = _Cost(times * worst.rounds, True)
        elif worst.counted:
            cost = _Cost(_plain_bound(node) * worst.rounds, True)
        else:
            return worst
        self._note(function, node, cost)
        return cost

    def _times(self, bound: Node, function: Function) -> int:
        found = self._program.values(bound, function)
        if found.known and found.exact:
            return max(1, max(found.known))
        return _ASSUMED

    def _note(self, function: Function, node: Node, cost: _Cost) -> None:
        if cost.rounds > MOST:
            self.worst.setdefault(function.name, (function, node))

    def _inherit(self, function: Function, node: Node, called: _Cost) -> None:
        if called.rounds > MOST and called.counted:
            self.worst.setdefault(function.name, self.worst.get(node.name, (function, node)))


def _own(loop: Node, start: Node) -> bool:
    """Whether the iterator is this loop's and not that of one inside it."""
    inner = [part for part in loop.walk() if part.kind == "loop" and part is not loop]
    return not any(start is node for part in inner for node in part.walk())


def _plain_bound(loop: Node) -> int:
    for part in loop.parts[:-1]:
        for node in part.walk():
            if node.kind == "bin" and node.sign in _BOUNDING:
                for side in node.parts:
                    if side.kind == "int" and side.value is not None:
                        return max(1, side.value)
    return _PLAIN
