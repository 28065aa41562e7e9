# SPDX-License-Identifier: Apache-2.0
"""Writes clang's syntax tree of a preprocessed scheduler as JSON; runs inside the sandbox.

`python3 extract.py FILE.i` with Debian's python3-clang; imports nothing of schedcp. It judges
nothing: `facts.py` reads what it prints, and the rules are elsewhere. Expressions and statements
are one kind of node; `facts.Node` says what the keys mean. Macros are gone and nothing hides in
one, since the input is preprocessed.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

from clang.cindex import (
    Config,
    Cursor,
    CursorKind,
    Index,
    SourceLocation,
    StorageClass,
    TypeKind,
    _CXString,
)

MAX_NODES = 400_000
ARGUMENTS = ["-target", "bpf", "-std=gnu11", "-fms-extensions", "-w", "-x", "cpp-output"]
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
ERROR = 3  # CXDiagnostic_Error

lib: Any = None


def load() -> None:
    """The functions of libclang (17 and later) that its Python bindings do not have."""
    global lib
    lib = Config().lib
    for name, result, argument in (
        ("clang_Cursor_Evaluate", ctypes.c_void_p, Cursor),
        ("clang_EvalResult_getKind", ctypes.c_int, ctypes.c_void_p),
        ("clang_EvalResult_isUnsignedInt", ctypes.c_uint, ctypes.c_void_p),
        ("clang_EvalResult_getAsUnsigned", ctypes.c_ulonglong, ctypes.c_void_p),
        ("clang_EvalResult_getAsLongLong", ctypes.c_longlong, ctypes.c_void_p),
        ("clang_EvalResult_dispose", None, ctypes.c_void_p),
        ("clang_getCursorBinaryOperatorKind", ctypes.c_int, Cursor),
        ("clang_getCursorUnaryOperatorKind", ctypes.c_int, Cursor),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, [argument]
    numbers = ctypes.POINTER(ctypes.c_uint)
    lib.clang_getPresumedLocation.restype = None
    lib.clang_getPresumedLocation.argtypes = [
        SourceLocation,
        ctypes.POINTER(_CXString),
        numbers,
        numbers,
    ]


# enum CXBinaryOperatorKind and CXUnaryOperatorKind of clang-c/Index.h
BINARY_SIGNS = (
    ".* ->* * / % + - << >> <=> < > <= >= == != & ^ | && || = *= /= %= += -= <<= >>= &= ^= |= ,"
)
UNARY_SIGNS = "++ -- ++ -- & * + - ~ ! real imag extension co_await"
BINARY_NAMES = dict(enumerate(BINARY_SIGNS.split(), 1))
UNARY_NAMES = dict(enumerate(UNARY_SIGNS.split(), 1))


def evaluate(cursor: Cursor) -> int | None:
    """The value of a constant integer expression."""
    result = lib.clang_Cursor_Evaluate(cursor)
    if not result:
        return None
    try:
        if lib.clang_EvalResult_getKind(result) != 1:  # CXEval_Int
            return None
        if lib.clang_EvalResult_isUnsignedInt(result):
            return int(lib.clang_EvalResult_getAsUnsigned(result))
        return int(lib.clang_EvalResult_getAsLongLong(result))
    finally:
        lib.clang_EvalResult_dispose(result)


def presumed(cursor: Cursor) -> tuple[str, int]:
    """File and line as the preprocessor's line markers have them."""
    return presumed_at(cursor.location)


def presumed_at(location: Any) -> tuple[str, int]:
    file, line, column = _CXString(), ctypes.c_uint(), ctypes.c_uint()
    lib.clang_getPresumedLocation(
        location, ctypes.byref(file), ctypes.byref(line), ctypes.byref(column)
    )
    name = lib.clang_getCString(file) or b""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name, line.value


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
            sign = BINARY_NAMES.get(lib.clang_getCursorBinaryOperatorKind(cursor), "?")
            return self.folded(
                cursor, {"k": "bin", "o": sign, "l": self.place(cursor), "a": self.children(cursor)}
            )
        if kind == CursorKind.UNARY_OPERATOR:
            sign = UNARY_NAMES.get(lib.clang_getCursorUnaryOperatorKind(cursor), "?")
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
                lib.clang_getEnumConstantDeclUnsignedValue(target)
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


def section_of(cursor: Cursor) -> str:
    """The text of __attribute__((section(...))), "" without one."""
    for child in cursor.get_children():
        if child.kind.is_attribute():
            words = [token.spelling for token in child.get_tokens()]
            if words and words[0].strip("_") == "section":
                return "".join(json.loads(word) for word in words if word.startswith('"'))
    return ""


def is_weak(function: Cursor) -> bool:
    """Whether the loader may go on without it."""
    return any(
        token.spelling.strip("_") == "weak"
        for child in function.get_children()
        if child.kind.is_attribute()
        for token in child.get_tokens()
    )


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
