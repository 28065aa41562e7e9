# SPDX-License-Identifier: Apache-2.0
"""Questions that the rules ask of a source: who calls whom, from which op, with which values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from schedcpd.verify.source.facts import Facts, Function, Node, Variable

_STATEMENTS = {"block", "void", "case", "default", "switch"}
_DEPTH = 8
SLEEPABLE = "struct_ops.s"


@dataclass(frozen=True, slots=True)
class Call:
    """A call in its function. `use`: used, ignored, or unread (kept in a variable nobody reads)."""

    function: Function
    node: Node
    use: str
    in_loop: bool

    @property
    def callee(self) -> str:
        """Without a `___suffix`, which libbpf strips too."""
        return plain(self.node.name)

    def argument(self, number: int) -> Node | None:
        return self.node.parts[number] if number < len(self.node.parts) else None


@dataclass(frozen=True, slots=True)
class Values:
    """What an expression can be. `exact`: nothing else than `known`."""

    known: frozenset[int]
    exact: bool

    def __or__(self, other: Values) -> Values:
        return Values(self.known | other.known, self.exact and other.exact)


NOTHING = Values(frozenset(), True)
UNKNOWN = Values(frozenset(), False)


def plain(name: str) -> str:
    return name.split("___")[0] if not name.startswith("____") else name


@dataclass(eq=False)
class Program:
    """One source as its rules see it. `text` is what its author wrote."""

    facts: Facts
    text: str
    name: str = "source"
    kfuncs: frozenset[str] = frozenset()  # of the target kernel; empty: not known

    @cached_property
    def ops(self) -> tuple[Variable, ...]:
        """The struct sched_ext_ops variables."""
        return tuple(
            v
            for v in self.facts.variables
            if v.type.removeprefix("struct ").split("___")[0] == "sched_ext_ops"
        )

    @cached_property
    def entries(self) -> Mapping[str, Function]:
        """The function of each op, by the op's name."""
        found = {}
        for variable in self.ops:
            for op, node in variable.members.items():
                function = self.facts.functions.get(node.name)
                if node.kind == "ref" and function is not None:
                    found[op] = function
        return found

    @cached_property
    def _edges(self) -> Mapping[str, frozenset[str]]:
        known = self.facts.functions
        return {
            name: frozenset(
                node.name
                for node in function.body.walk()
                if (node.kind == "call" or node.scope == "func") and node.name in known
            )
            for name, function in known.items()
        }

    def reach(self, start: str) -> frozenset[str]:
        """Functions that `start` calls or hands on as a callback, and itself."""
        seen, todo = {start}, [start]
        while todo:
            for name in self._edges.get(todo.pop(), ()):
                if name not in seen:
                    seen.add(name)
                    todo.append(name)
        return frozenset(seen)

    @cached_property
    def live(self) -> tuple[Function, ...]:
        """Functions that end up in the object, in the order of the source."""
        names: set[str] = set()
        for name, function in self.facts.functions.items():
            if function.section or not function.static:
                names |= self.reach(name)
        return tuple(f for name, f in self.facts.functions.items() if name in names)

    @cached_property
    def timers(self) -> frozenset[str]:
        """Functions that run from a timer."""
        found: set[str] = set()
        for call in self.calls:
            callback = call.argument(1)
            if call.callee == "bpf_timer_set_callback" and callback is not None:
                found |= self.reach(callback.name)
        return frozenset(found)

    @cached_property
    def ops_of(self) -> Mapping[str, frozenset[str]]:
        """By function: the ops it runs in. A timer's callback runs in none of them."""
        found: dict[str, set[str]] = {}
        for op, function in self.entries.items():
            for name in self._reach_inline(function.name):
                found.setdefault(name, set()).add(op)
        return {name: frozenset(ops) for name, ops in found.items()}

    def _reach_inline(self, start: str) -> frozenset[str]:
        callbacks = {
            call.node.parts[1].name
            for call in self.calls
            if call.callee == "bpf_timer_set_callback" and len(call.node.parts) > 1
        }
        seen, todo = {start}, [start]
        while todo:
            for name in self._edges.get(todo.pop(), frozenset()) - callbacks:
                if name not in seen:
                    seen.add(name)
                    todo.append(name)
        return frozenset(seen)

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every call in a live function."""
        return tuple(call for function in self.live for call in _calls(function))

    def calls_of(self, *names: str) -> Iterator[Call]:
        return (call for call in self.calls if call.callee in names)

    # ------------------------------------------------------------ values

    def values(self, node: Node | None, function: Function, depth: int = 0) -> Values:
        """What `node` can be in `function`, as far as constants tell."""
        if node is None or depth > _DEPTH:
            return UNKNOWN
        if node.kind == "int":
            return UNKNOWN if node.value is None else Values(frozenset({node.value}), True)
        if node.kind == "cond" and len(node.parts) == 3:
            first, second = node.parts[1:]
            deeper = depth + 1
            return self.values(first, function, deeper) | self.values(second, function, deeper)
        if node.kind == "value-block" and node.parts:
            return self.values(node.parts[-1], function, depth + 1)
        if node.kind == "bin" and node.sign == "|":
            for part in node.parts:
                if part.kind == "int" and (part.value or 0) >> 63 & 1:  # a built-in queue's number
                    return Values(frozenset({part.value or 0}), True)
        if node.kind == "ref" and node.scope in ("local", "param"):
            found = NOTHING
            for source, where in self.origins(node, function):
                found |= UNKNOWN if source is None else self.values(source, where, depth + 1)
            return found
        return UNKNOWN

    def origins(self, ref: Node, function: Function) -> list[tuple[Node | None, Function]]:
        """Every expression that a local or parameter can get its value from; None: not known."""
        found: list[tuple[Node | None, Function]] = []
        if ref.scope == "param":
            found += self._arguments(ref.name, function)
        for node in function.body.walk():
            if node.kind == "decl" and node.name == ref.name and node.parts:
                found.append((node.parts[0], function))
            elif node.kind == "bin" and node.sign.endswith("=") and _is(node.parts[0], ref.name):
                if node.sign == "=":
                    found.append((node.parts[1], function))
                elif node.sign not in ("==", "!=", "<=", ">="):
                    found.append((None, function))
            elif (
                node.kind == "un"
                and node.sign in ("++", "--", "&")
                and _is(node.parts[0], ref.name)
            ):
                found.append((None, function))
        return found or [(None, function)]

    def _arguments(self, name: str, function: Function) -> list[tuple[Node | None, Function]]:
        if function.section or name not in function.params:
            return [(None, function)]
        number = function.params.index(name)
        found: list[tuple[Node | None, Function]] = [
            (call.argument(number), call.function)
            for call in self.calls
            if call.node.name == function.name
        ]
        return found or [(None, function)]

    def is_op_parameter(self, function: Function, name: str) -> bool:
        """Whether the kernel gave it: a parameter of an op, which BPF_PROG names ____<op>."""
        entries = {entry.name for entry in self.entries.values()}
        return name in function.params and (
            function.name in entries or function.name.removeprefix("____") in entries
        )

    def place(self, function: Function, node: Node) -> str:
        """File, line and the line itself."""
        lines = self.text.splitlines()
        file = function.file.rpartition("/")[2]
        here = f"{file}:{node.line or function.line}"
        if file == f"{self.name}.bpf.c" and 0 < node.line <= len(lines):
            return f"{here}: {lines[node.line - 1].strip()[:160]}"
        return here


def _is(node: Node, name: str) -> bool:
    return node.kind == "ref" and node.name == name


def _calls(function: Function) -> list[Call]:
    found: list[Call] = []
    reads = _reads(function.body)

    def visit(node: Node, parent: Node | None, number: int, in_loop: bool) -> None:
        if node.kind == "call":
            found.append(Call(function, node, _use(node, parent, number, reads), in_loop))
        for at, part in enumerate(node.parts):
            visit(part, node, at, in_loop or node.kind == "loop")

    visit(function.body, None, 0, False)
    return found


def _use(node: Node, parent: Node | None, number: int, reads: Mapping[str, int]) -> str:
    if parent is None or parent.kind in _STATEMENTS:
        return "ignored"
    last = number == len(parent.parts) - 1
    if (parent.kind == "if" and number) or (parent.kind == "loop" and last):
        return "ignored"
    if parent.kind == "value-block" and not last:
        return "ignored"
    target = ""
    if parent.kind == "decl":
        target = parent.name
    elif parent.kind == "bin" and parent.sign == "=" and parent.parts[0].scope == "local":
        target = parent.parts[0].name
    return "unread" if target and not reads.get(target) else "used"


def _reads(body: Node) -> dict[str, int]:
    found: dict[str, int] = {}

    def visit(node: Node, target: bool) -> None:
        if node.kind == "ref" and not target:
            found[node.name] = found.get(node.name, 0) + 1
        for number, part in enumerate(node.parts):
            visit(part, node.kind == "bin" and node.sign == "=" and number == 0)

    visit(body, False)
    return found
