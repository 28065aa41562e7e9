# SPDX-License-Identifier: Apache-2.0
"""clang's cursors as nodes; `facts.Node` says what the keys mean."""

from __future__ import annotations

from typing import Any

from clang.cindex import Cursor, CursorKind, TypeKind

from . import libclang
from .libclang import BINARY_NAMES, UNARY_NAMES, evaluate, is_weak, presumed

MAX_NODES = 400_000
LOOPS = {CursorKind.FOR_STMT, CursorKind.WHILE_STMT, CursorKind.DO_STMT}
# Nodes that stand for what is in them.
TRANSPARENT = {
    CursorKind.PAREN_EXPR,
    CursorKind.UNEXPOSED_EXPR,
    CursorKind.CSTYLE_CAST_EXPR,
    CursorKind.DECL_STMT,
}
PLAIN = {
    CursorKind.COMPOUND_STMT: "block",
    CursorKind.StmtExpr: "value-block",
    CursorKind.IF_STMT: "if",
    CursorKind.RETURN_STMT: "return",
    CursorKind.CONDITIONAL_OPERATOR: "cond",
    CursorKind.ARRAY_SUBSCRIPT_EXPR: "index",
    CursorKind.INIT_LIST_EXPR: "list",
    CursorKind.SWITCH_STMT: "switch",
    CursorKind.CASE_STMT: "case",
    CursorKind.DEFAULT_STMT: "default",
    CursorKind.BREAK_STMT: "break",
    CursorKind.CONTINUE_STMT: "continue",
}
BINARY = {CursorKind.BINARY_OPERATOR, CursorKind.COMPOUND_ASSIGNMENT_OPERATOR}
SIZED = {CursorKind.CXX_UNARY_EXPR}  # sizeof and its like


class Tree:
    """Turns cursors into nodes."""

    def __init__(self) -> None:
        self.nodes = 0
        self.pointers: dict[str, int | None] = {}  # function pointers called, with their values
        self.kernel: dict[str, bool] = {}  # functions called that have no body; true: weak

    def place(self, cursor: Cursor) -> int:
        """The line in the file that was preprocessed."""
        return presumed(cursor)[1]

    def node(self, cursor: Cursor) -> dict[str, Any] | None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise SystemExit("too large: the syntax tree has too many nodes")
        kind = cursor.kind
        if kind in TRANSPARENT:
            return self.inner(cursor, kind)
        if kind in PLAIN:
            return {"k": PLAIN[kind], "l": self.place(cursor), "a": self.children(cursor)}
        if kind in LOOPS:
            return {"k": "loop", "l": self.place(cursor), "a": self.children(cursor)}
        if kind == CursorKind.CALL_EXPR:
            return self.call(cursor)
        if kind == CursorKind.DECL_REF_EXPR:
            return self.reference(cursor)
        if kind == CursorKind.MEMBER_REF_EXPR:
            field = cursor.referenced
            of = field.semantic_parent.spelling if field and field.semantic_parent else ""
            return {"k": "member", "n": cursor.spelling, "of": of, "a": self.children(cursor)}
        if kind in BINARY:
            sign = BINARY_NAMES.get(libclang.lib.clang_getCursorBinaryOperatorKind(cursor), "?")
            return self.folded(
                cursor, {"k": "bin", "o": sign, "l": self.place(cursor), "a": self.children(cursor)}
            )
        if kind == CursorKind.UNARY_OPERATOR:
            sign = UNARY_NAMES.get(libclang.lib.clang_getCursorUnaryOperatorKind(cursor), "?")
            return self.folded(cursor, {"k": "un", "o": sign, "a": self.children(cursor)})
        if kind == CursorKind.INTEGER_LITERAL or kind in SIZED:
            return {"k": "int", "v": evaluate(cursor)}
        if kind == CursorKind.CHARACTER_LITERAL:
            return {"k": "int", "v": evaluate(cursor)}
        if kind == CursorKind.VAR_DECL:
            type_ = cursor.type.get_canonical().spelling[:200]
            what = self.children(cursor, skip_types=True)
            return {
                "k": "decl",
                "n": cursor.spelling,
                "t": type_,
                "l": self.place(cursor),
                "a": what,
            }
        if kind == CursorKind.STRING_LITERAL:
            return {"k": "str", "n": cursor.spelling[:200]}
        if kind in (CursorKind.ASM_STMT, CursorKind.MS_ASM_STMT):
            words = "".join(t.spelling for t in cursor.get_tokens())[:200]
            return {"k": "asm", "n": words, "l": self.place(cursor)}
        if kind.is_attribute() or kind.is_reference() or kind == CursorKind.NULL_STMT:
            return None
        if kind.is_declaration():
            return None
        return {"k": "other", "n": kind.name, "a": self.children(cursor)}

    def inner(self, cursor: Cursor, kind: CursorKind) -> dict[str, Any] | None:
        parts = self.children(cursor)
        if kind == CursorKind.CSTYLE_CAST_EXPR and cursor.type.kind == TypeKind.VOID:
            return {"k": "void", "a": parts}
        if len(parts) == 1:
            return parts[0]
        if not parts:
            value = evaluate(cursor) if kind == CursorKind.UNEXPOSED_EXPR else None
            return None if value is None else {"k": "int", "v": value}
        return {"k": "group", "a": parts}

    def children(self, cursor: Cursor, *, skip_types: bool = False) -> list[dict[str, Any]]:
        found = []
        for child in cursor.get_children():
            if skip_types and not (child.kind.is_expression() or child.kind.is_unexposed()):
                continue
            node = self.node(child)
            if node is not None:
                found.append(node)
        return found

    def folded(self, cursor: Cursor, node: dict[str, Any]) -> dict[str, Any]:
        """A constant expression becomes its value; names in it are kept."""
        parts = node["a"]
        if not parts or any(part["k"] != "int" for part in parts):
            return node
        value = evaluate(cursor)
        if value is None:
            return node
        names = " ".join(part["n"] for part in parts if part.get("n"))
        return {"k": "int", "v": value, **({"n": names} if names else {})}

    def reference(self, cursor: Cursor) -> dict[str, Any] | None:
        target = cursor.referenced
        if target is None:
            return {"k": "ref", "n": cursor.spelling, "s": "?"}
        if target.kind == CursorKind.ENUM_CONSTANT_DECL:
            unsigned = target.semantic_parent.enum_type.get_canonical().kind in (
                TypeKind.UINT,
                TypeKind.ULONG,
                TypeKind.ULONGLONG,
            )
            value = (
                libclang.lib.clang_getEnumConstantDeclUnsignedValue(target)
                if unsigned
                else target.enum_value
            )
            return {"k": "int", "v": value, "n": target.spelling}
        scope = "param" if target.kind == CursorKind.PARM_DECL else "local"
        if target.kind == CursorKind.FUNCTION_DECL:
            scope = "func"
        elif target.semantic_parent.kind == CursorKind.TRANSLATION_UNIT:
            scope = "global"
        return {"k": "ref", "n": cursor.spelling, "s": scope}

    def call(self, cursor: Cursor) -> dict[str, Any]:
        target = cursor.referenced
        name = target.spelling if target is not None else ""
        arguments = [self.node(each) or {"k": "other"} for each in cursor.get_arguments()]
        if name == "__builtin_preserve_enum_value":
            return self.enum_value(cursor)
        found = {"k": "call", "n": name, "l": self.place(cursor), "a": arguments}
        is_function = target is not None and target.kind == CursorKind.FUNCTION_DECL
        if is_function and name not in self.kernel and target.get_definition() is None:
            self.kernel[name] = is_weak(target)
        if not is_function:
            found["p"] = True  # through a pointer
            if target is not None and target.kind == CursorKind.VAR_DECL:
                self.pointers[name] = self.initial(target)
            else:
                first = next(iter(cursor.get_children()), None)
                found["a"] = [*([self.node(first) or {"k": "other"}] if first else []), *arguments]
        return found

    def enum_value(self, cursor: Cursor) -> dict[str, Any]:
        """bpf_core_enum_value(): the loader looks the name up; here it has vmlinux.h's value."""
        for child in cursor.walk_preorder():
            target = child.referenced if child.kind == CursorKind.DECL_REF_EXPR else None
            if target is not None and target.kind == CursorKind.ENUM_CONSTANT_DECL:
                return self.reference(child) or {"k": "other"}
        return {"k": "other"}

    def initial(self, variable: Cursor) -> int | None:
        for child in variable.get_children():
            for each in child.walk_preorder() if child.kind.is_expression() else ():
                if each.kind == CursorKind.INTEGER_LITERAL:
                    return evaluate(each)
        return None
