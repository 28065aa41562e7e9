# SPDX-License-Identifier: Apache-2.0
"""What libclang (17 and later) has and its Python bindings do not, or not in every version."""

from __future__ import annotations

import ctypes
import json
from typing import Any

from clang.cindex import Config, Cursor, SourceLocation, _CXString

lib: Any = None  # libclang, after `load`


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
