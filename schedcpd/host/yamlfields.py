# SPDX-License-Identifier: Apache-2.0
"""Typed reading of a YAML tree: each function returns a value, or None after adding a problem.

Every problem names the dotted field, what was found, what is allowed, and the fix.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches

from schedcpd.host.yamlpos import Map, Node, Problems, Scalar, Seq, shown

MAX_TEXT = 1000


def closest(word: str, known: Iterable[str]) -> str:
    """The known word nearest to `word`, "" when none is near."""
    if len(word) > 64:
        return ""
    near = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return near[0] if near else ""


def one_of(word: str, known: Collection[str]) -> str:
    """A hint: the closest known word, and all of them."""
    near = closest(word, known)
    listed = "one of: " + ", ".join(sorted(known)) if known else "none is allowed here"
    return f"did you mean {near}? {listed}" if near else listed


def describe(node: Node) -> str:
    """What was found, in words."""
    if isinstance(node, Map):
        return "a map"
    if isinstance(node, Seq):
        return "a list"
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {node.text}"
    if isinstance(value, int | float):
        return f"the number {node.text}"
    return f'the text "{shown(node.text)}"'


def join(where: str, key: str) -> str:
    key = shown(key)
    return f"{where}.{key}" if where else key


def mapping(
    node: Node,
    problems: Problems,
    where: str,
    known: Collection[str],
    required: Collection[str] = (),
) -> Mapping[str, Node] | None:
    """The entries of a closed map. Unknown and missing keys are problems; known ones are kept."""
    if not isinstance(node, Map):
        problems.add(node.line, where, f"must be a map, is {describe(node)}", one_of("", known))
        return None
    kept: dict[str, Node] = {}
    for key, value in node.entries.items():
        if key in known:
            kept[key] = value
        else:
            problems.add(node.key_lines[key], join(where, key), "unknown key", one_of(key, known))
    for key in required:
        if key not in node.entries:
            problems.add(node.line, join(where, key), "is missing", f"add `{key}:`")
    return kept


def text(
    node: Node,
    problems: Problems,
    where: str,
    *,
    choices: Collection[str] | None = None,
    pattern: re.Pattern[str] | None = None,
    pattern_means: str = "",
    empty: bool = False,
    longest: int = MAX_TEXT,
) -> str | None:
    """Text, by `choices` or by a pattern whose meaning is given in words."""
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, str):
        hint = one_of("", choices) if choices else "write text; quote it if it looks like a number"
        problems.add(node.line, where, f"must be text, is {describe(node)}", hint)
    elif choices is not None and value not in choices:
        problems.add(node.line, where, f'"{shown(value)}" is not allowed', one_of(value, choices))
    elif not value.strip() and not empty:
        problems.add(node.line, where, "is empty", "write a value or remove the key")
    elif len(value) > longest or any(not c.isprintable() and c not in "\n\t" for c in value):
        problems.add(
            node.line,
            where,
            f"is longer than {longest} characters or holds control characters",
            "shorten it to printable text",
        )
    elif pattern is not None and not pattern.fullmatch(value):
        problems.add(node.line, where, f'"{shown(value)}" is not {pattern_means}', "change it")
    else:
        return value
    return None


def boolean(node: Node, problems: Problems, where: str) -> bool | None:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, bool):
        return value
    problems.add(
        node.line, where, f"must be true or false, is {describe(node)}", "write true or false"
    )
    return None


def number(
    node: Node,
    problems: Problems,
    where: str,
    *,
    lo: float,
    hi: float,
    unit: str = "",
    whole: bool = False,
) -> float | int | None:
    """A finite number in [lo, hi]; an int when `whole`."""
    value = node.value if isinstance(node, Scalar) else None
    kind = "a whole number" if whole else "a number"
    span = f"{lo:g}".replace("e+", "e") if not whole else str(int(lo))
    span += f" to {int(hi) if whole else format(hi, 'g')}"
    span += f" {unit}" if unit else ""
    allowed = int if whole else int | float
    if isinstance(value, bool | str | None) or not isinstance(value, allowed):
        problems.add(node.line, where, f"must be {kind}, is {describe(node)}", f"use {span}")
    elif not lo <= value <= hi:  # also false for NaN
        problems.add(node.line, where, f"{shown(value)} is out of range", f"use {span}")
    else:
        return value if whole else float(value)
    return None


def integer(
    node: Node, problems: Problems, where: str, *, lo: int, hi: int, unit: str = ""
) -> int | None:
    value = number(node, problems, where, lo=lo, hi=hi, unit=unit, whole=True)
    return None if value is None else int(value)


def items(
    node: Node, problems: Problems, where: str, *, at_most: int, single: bool = False
) -> tuple[Node, ...] | None:
    """The nodes of a list of at most `at_most`; a lone value counts as a list when `single`."""
    if single and isinstance(node, Scalar) and node.value is not None:
        return (node,)
    if not isinstance(node, Seq):
        problems.add(node.line, where, f"must be a list, is {describe(node)}", "write it as [a, b]")
        return None
    if len(node.items) > at_most:
        problems.add(node.line, where, f"has {len(node.items)} entries", f"use at most {at_most}")
        return None
    return node.items


def texts(
    node: Node,
    problems: Problems,
    where: str,
    *,
    at_most: int = 500,
    single: bool = False,
    choices: Collection[str] | None = None,
) -> tuple[str, ...] | None:
    """A list of texts; None when any entry is wrong (all wrong ones are reported)."""
    nodes = items(node, problems, where, at_most=at_most, single=single)
    if nodes is None:
        return None
    values = [text(n, problems, f"{where}[{i}]", choices=choices) for i, n in enumerate(nodes)]
    good = tuple(v for v in values if v is not None)
    return good if len(good) == len(values) else None
