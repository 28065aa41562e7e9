# SPDX-License-Identifier: Apache-2.0
"""Size, encoding and preprocessor lines: what is looked at before any compiler sees the source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from schedcpd.verify.check import Finding
from schedcpd.verify.source.toolchain import INCLUDE

MAX_BYTES = 256 << 10
MAX_LINES = 6000
_SPLICE = re.compile(r"\\[ \t]*\r?\n")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_DIRECTIVE = re.compile(r"^[ \t]*(?:#|%:)[ \t]*(\w*)[ \t]*(.*)$", re.MULTILINE)
_ALLOWED = frozenset(
    {"include", "define", "undef", "error", "warning", "pragma", "if", "ifdef", "ifndef"}
    | {"elif", "elifdef", "elifndef", "else", "endif"}
)
_INCLUDED = re.compile(r'[<"]([^>"]*)[>"]')
_MARKER = re.compile(r'# \d+ "([^"]*)"')
_PRAGMA = re.compile(
    r"""\#pragma\ (
      GCC\ diagnostic\ .* | clang\ diagnostic\ .* | GCC\ unroll\ .*
    | unroll.* | clang\ loop\ .* | once
    | clang\ attribute\ push\ \(__attribute__\(\(preserve_access_index\)\),\ apply_to\ =\ record\)
    | clang\ attribute\ pop
    )""",
    re.VERBOSE,
)
_HINT = "include vmlinux.h, bpf/*.h and the project's own headers only"


def check_text(data: bytes) -> Iterator[Finding]:
    """Before the preprocessor: bytes, lines and directives."""
    lines = data.count(b"\n") + 1
    if len(data) > MAX_BYTES or lines > MAX_LINES:
        yield Finding(
            "source.too-large",
            f"It has {len(data)} bytes in {lines} lines; {MAX_BYTES} bytes and "
            f"{MAX_LINES} lines are the most allowed.",
            hint="a scheduler has a few hundred lines",
        )
        return
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        yield Finding("source.encoding", f"It is not UTF-8 in line {line}.", hint="save as UTF-8")
        return
    control = next((c for c in text if ord(c) < 32 and c not in "\t\n\r\f"), "")
    if control:
        yield Finding("source.encoding", f"It has the control character {ord(control):#04x}.")
    joined = _COMMENT.sub(" ", _SPLICE.sub("", text))
    for word, rest in _DIRECTIVE.findall(joined):
        if word and word not in _ALLOWED:
            yield Finding(
                "source.directive",
                f"#{word} is not allowed in a scheduler.",
                f"#{word} {rest[:120]}",
                "use #include, #define and conditions only",
            )
        elif word == "include":
            named = _INCLUDED.search(rest)
            if named and (named[1].startswith("/") or ".." in named[1].split("/")):
                yield Finding(
                    "source.include",
                    f"It includes {named[1][:120]!r}, a path outside the allowed directories.",
                    hint=_HINT,
                )


def check_directives(directives: Sequence[str]) -> Iterator[Finding]:
    """After the preprocessor: which files were really read, and which pragmas are left."""
    said: set[str] = set()
    for line in directives:
        marker = _MARKER.match(line)
        if marker:
            if marker[1] not in said and not _may_include(marker[1]):
                said.add(marker[1])
                yield Finding(
                    "source.include", f"It includes {marker[1][:200]}.", line[:200], _HINT
                )
        elif not _PRAGMA.fullmatch(line.rstrip()):
            yield Finding(
                "source.directive",
                "It has a pragma that is not allowed.",
                line[:200],
                "only loop and diagnostic pragmas are allowed",
            )


def _may_include(path: str) -> bool:
    if ".." in path.split("/"):
        return False
    return path.startswith((f"{INCLUDE}/", "/usr/include/bpf/", "/source/", "<"))
