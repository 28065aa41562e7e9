# SPDX-License-Identifier: Apache-2.0
"""Writes clang's syntax tree of a preprocessed scheduler as JSON; runs inside the sandbox.

This directory is all it needs, beside Debian's python3-clang; nothing else of schedcp is there. It
judges nothing: `facts.py` reads what it prints, and the rules are elsewhere. Macros are gone and
nothing hides in one, since the input is preprocessed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from clang.cindex import Cursor, CursorKind, Index, StorageClass

from .libclang import load, presumed, presumed_at, section_of
from .tree import Tree

ARGUMENTS = ["-target", "bpf", "-std=gnu11", "-fms-extensions", "-w", "-x", "cpp-output"]
ERROR = 3  # CXDiagnostic_Error


def designated(tree: Tree, variable: Cursor) -> dict[str, Any]:
    """The members that a struct's initialiser names, with their values."""
    found: dict[str, Any] = {}
    for child in variable.get_children():
        if child.kind != CursorKind.INIT_LIST_EXPR:
            continue
        for entry in child.get_children():
            parts = list(entry.get_children())
            if len(parts) == 2 and parts[0].kind == CursorKind.MEMBER_REF:
                found[parts[0].spelling] = tree.node(parts[1]) or {"k": "other"}
            else:
                found[f"#{len(found)}"] = tree.node(entry) or {"k": "other"}
    return found


def function(tree: Tree, cursor: Cursor, body: Cursor) -> dict[str, Any]:
    return {
        "name": cursor.spelling,
        "file": presumed(cursor)[0],
        "line": presumed(cursor)[1],
        "static": cursor.storage_class == StorageClass.STATIC,
        "section": section_of(cursor),
        "params": [each.spelling for each in cursor.get_arguments()],
        "body": tree.node(body),
    }


def variable(tree: Tree, cursor: Cursor) -> dict[str, Any]:
    text = next((c for c in cursor.get_children() if c.kind == CursorKind.STRING_LITERAL), None)
    return {
        "name": cursor.spelling,
        "file": presumed(cursor)[0],
        "line": presumed(cursor)[1],
        "section": section_of(cursor),
        "type": cursor.type.get_canonical().spelling[:200],
        "text": json.loads(text.spelling) if text is not None and text.spelling else "",
        "members": designated(tree, cursor),
    }


def read(path: str) -> dict[str, Any]:
    unit = Index.create().parse(path, args=ARGUMENTS)
    errors = [
        {"line": presumed_at(d.location)[1], "text": d.spelling[:500]}
        for d in unit.diagnostics
        if d.severity >= ERROR
    ]
    tree = Tree()
    functions, variables, asm = [], [], []
    enums: dict[str, int] = {}
    members: list[str] = []
    for cursor in unit.cursor.get_children() if not errors else ():
        if cursor.kind == CursorKind.FUNCTION_DECL and cursor.is_definition():
            body = next(
                (c for c in cursor.get_children() if c.kind == CursorKind.COMPOUND_STMT), None
            )
            if body is not None:
                functions.append(function(tree, cursor, body))
        elif cursor.kind == CursorKind.VAR_DECL and any(
            c.kind.is_attribute() for c in cursor.get_children()
        ):
            if section_of(cursor):
                variables.append(variable(tree, cursor))
        elif cursor.kind == CursorKind.ENUM_DECL and cursor.spelling == "scx_ops_flags":
            enums = {c.spelling: c.enum_value & (1 << 64) - 1 for c in cursor.get_children()}
        elif cursor.kind == CursorKind.STRUCT_DECL and cursor.spelling == "sched_ext_ops":
            members = [c.spelling for c in cursor.get_children() if c.spelling] or members
        elif cursor.kind == CursorKind.UNEXPOSED_DECL:
            words = [token.spelling for token in cursor.get_tokens()]
            if words and words[0].strip("_") == "asm":
                asm.append({"line": presumed(cursor)[1], "text": "".join(words)[:200]})
    return {
        "errors": errors[:20],
        "functions": functions,
        "variables": variables,
        "pointers": tree.pointers,
        "kernel": tree.kernel,
        "ops_flags": enums,
        "ops_members": members,
        "file_asm": asm,
    }


def main() -> None:
    load()
    sys.setrecursionlimit(5000)
    json.dump(read(sys.argv[1]), sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main()
