# SPDX-License-Identifier: Apache-2.0
"""What clang saw in a source, as read from the sandbox. The sandbox is not believed: a wrong shape
is a `FactsError`, never another exception."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 400


class FactsError(Exception):
    """The sandbox printed something else than facts."""


@dataclass(frozen=True, slots=True)
class Node:
    """One expression or statement; parentheses and casts are gone, constants are folded.

    kind    int (`value`, None if unknown; `name`: enumerators in it), str (`name`), ref (`name`,
            `scope`: param, local, global or func), member (`name` of the struct `of`), call
            (`name`, `pointer`: not of a function), bin and un (`sign`), cond, index, list, void
            (a cast to void), decl (`name`, type in `of`), asm (`name`: its words); block,
            value-block, if, loop, return, switch, case, default, break, continue, group, other
    parts   operands, arguments or statements in their order
    """

    kind: str
    name: str = ""
    value: int | None = None
    sign: str = ""
    line: int = 0
    of: str = ""
    scope: str = ""
    pointer: bool = False
    parts: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in the order of the source."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def calls(self) -> Iterator[Node]:
        return (node for node in self.walk() if node.kind == "call")


@dataclass(frozen=True, slots=True)
class Function:
    """A function with a body. `line` is in `file`, which a source can forge by `#line`."""

    name: str
    file: str
    line: int
    static: bool
    section: str
    params: tuple[str, ...]
    body: Node


@dataclass(frozen=True, slots=True)
class Variable:
    """A global in a section of its own. `members`: what the initialiser of a struct names."""

    name: str
    file: str
    line: int
    section: str
    type: str
    text: str
    members: Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class Facts:
    """One translation unit.

    `pointers`: function pointers that are called, with their values. `kernel`: functions that are
    called and have no body; true when they are weak, so that a kernel without them will do.
    """

    errors: tuple[tuple[int, str], ...]
    functions: Mapping[str, Function]
    variables: tuple[Variable, ...]
    pointers: Mapping[str, int | None]
    kernel: Mapping[str, bool]
    ops_flags: Mapping[str, int]
    ops_members: tuple[str, ...]
    file_asm: tuple[tuple[int, str], ...]


def read_facts(text: str) -> Facts:
    """The facts in what `extract` printed."""
    try:
        raw = json.loads(text)
        functions = [
            Function(
                _text(f["name"]),
                _text(f["file"]),
                _number(f["line"]),
                f["static"] is True,
                _text(f["section"]),
                tuple(_text(p) for p in f["params"]),
                _node(f["body"]),
            )
            for f in raw["functions"]
        ]
        variables = [
            Variable(
                _text(v["name"]),
                _text(v["file"]),
                _number(v["line"]),
                _text(v["section"]),
                _text(v["type"]),
                _text(v["text"]),
                {_text(name): _node(node) for name, node in v["members"].items()},
            )
            for v in raw["variables"]
        ]
        return Facts(
            tuple((_number(e["line"]), _text(e["text"])) for e in raw["errors"]),
            {function.name: function for function in functions},
            tuple(variables),
            {_text(n): None if v is None else _number(v) for n, v in raw["pointers"].items()},
            {_text(n): v is True for n, v in raw["kernel"].items()},
            {_text(n): _number(v) for n, v in raw["ops_flags"].items()},
            tuple(_text(m) for m in raw["ops_members"]),
            tuple((_number(a["line"]), _text(a["text"])) for a in raw["file_asm"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FactsError(f"{type(error).__name__}: {error}"[:300]) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is not a whole number")
    return value


def _node(raw: Mapping[str, Any], depth: int = 0) -> Node:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    value = raw.get("v")
    return Node(
        _text(raw["k"]),
        _text(raw.get("n", "")),
        None if value is None else _number(value),
        _text(raw.get("o", "")),
        _number(raw.get("l", 0)),
        _text(raw.get("of", raw.get("t", ""))),
        _text(raw.get("s", "")),
        raw.get("p") is True,
        tuple(_node(part, depth + 1) for part in raw.get("a", ())),
    )
