# SPDX-License-Identifier: Apache-2.0
"""Text for people: safe on a terminal, aligned, in colour only where that is wanted."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

JSON_VERSION = 1

COLOURS = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}


def safe(value: object) -> str:
    """Printable text. Workloads are named by users: a name must not steer the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))


def width(text: str) -> int:
    """Columns that printable text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def cut(text: str, columns: int) -> str:
    """The text in at most `columns`, ending in "…" when something is missing."""
    if width(text) <= columns:
        return text
    kept = ""
    for char in text:
        if width(kept + char) > columns - 1:
            break
        kept += char
    return kept + "…" if columns > 0 else ""


@dataclass(frozen=True, slots=True)
class Column:
    """`shrink`: gives way when the terminal is narrow; `right`: aligned to the right."""

    title: str
    shrink: bool = False
    right: bool = False


def widths(rows: Sequence[Sequence[str]], columns: Sequence[Column], total: int) -> list[int]:
    """The width of each column so that a row fits `total` where the shrinking ones allow it."""
    needed = [
        max([width(column.title), *(width(row[index]) for row in rows)])
        for index, column in enumerate(columns)
    ]
    gaps = 2 * (len(columns) - 1)
    least = 8
    while sum(needed) + gaps > total:
        candidates = [
            index for index, column in enumerate(columns) if column.shrink and needed[index] > least
        ]
        if not candidates:
            break
        widest = max(candidates, key=lambda index: needed[index])
        needed[widest] -= 1
    return needed


class Output:
    """Where a command prints: `terminal` decides between a table and plain text."""

    def __init__(self, stream: TextIO, *, json_wanted: bool) -> None:
        self.stream = stream
        self.json_wanted = json_wanted
        self.terminal = stream.isatty()
        term = os.environ.get("TERM", "")
        self.colour = self.terminal and not os.environ.get("NO_COLOR") and term not in ("", "dumb")

    def columns(self) -> int:
        """Width of the terminal ($COLUMNS wins)."""
        given = os.environ.get("COLUMNS", "")
        if given.isdigit() and int(given) > 0:
            return int(given)
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        except OSError:
            return 80

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.colour and colour else text

    def line(self, text: str = "") -> None:
        print(text, file=self.stream)

    def document(self, name: str, content: object) -> None:
        """`{"version": 1, name: content}` in one piece."""
        self.line(json.dumps({"version": JSON_VERSION, name: content}, indent=2))

    def event(self, content: Mapping[str, object]) -> None:
        """One JSON object on one line, at once."""
        print(json.dumps({"version": JSON_VERSION, **content}), file=self.stream, flush=True)

    def table(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[object]],
        colours: Sequence[str] = (),
    ) -> None:
        """Aligned and cut to the width of a terminal; elsewhere whole, separated by tabs.

        `colours` holds a colour for each row, "" for none.
        """
        clean = [[safe(cell) for cell in row] for row in rows]
        if not self.terminal:
            for row in ([column.title for column in columns], *clean):
                self.line("\t".join(row))
            return
        fit = widths(clean, columns, self.columns())
        self.line(self.paint(_row([column.title for column in columns], columns, fit), "bold"))
        for index, row in enumerate(clean):
            colour = colours[index] if colours else ""
            self.line(self.paint(_row(row, columns, fit), colour))


def _row(cells: Sequence[str], columns: Sequence[Column], fit: Sequence[int]) -> str:
    parts = []
    for cell, column, columns_wide in zip(cells, columns, fit, strict=True):
        shown = cut(cell, columns_wide)
        padding = " " * (columns_wide - width(shown))
        parts.append(padding + shown if column.right else shown + padding)
    return "  ".join(parts).rstrip()


def complain(message: str, hint: str, *, as_json: bool, code: str) -> None:
    """One line on standard error."""
    if as_json:
        error = {"code": code, "message": message, "hint": hint}
        line = json.dumps({"version": JSON_VERSION, "error": error})
    else:
        line = f"schedctl: {safe(message)}" + (f" ({safe(hint)})" if hint else "")
    print(line, file=sys.stderr)
