# SPDX-License-Identifier: Apache-2.0
"""What all commands share: `--json`, exit codes, where output goes.

Each command is a module here with `add(commands)`, which makes its parser by `command` below. The
handler gets the parsed arguments and an Output, and returns an Exit.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, TextIO

from schedbench.codec import to_json
from schedcpd.errors import SchedcpError


class Exit(IntEnum):
    """Exit codes, the same as schedctl's."""

    DONE = 0
    REFUSED = 1  # or failed
    USAGE = 2
    UNSUPPORTED = 5  # this machine cannot do it


class Output:
    """Where a result goes: one JSON object, or text for a person."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        self.stream, self.as_json = stream, as_json

    def result(self, value: Mapping[str, object], text: str) -> None:
        """The command's one result, in the form that was asked for."""
        print(
            json.dumps(to_json(value), sort_keys=True) if self.as_json else text, file=self.stream
        )
        self.stream.flush()

    def error(self, error: SchedcpError) -> None:
        """An error: on standard error as text, on standard output as JSON."""
        if self.as_json:
            said = {"code": error.code, "message": error.message, "hint": error.hint}
            print(json.dumps({"error": said}), file=self.stream, flush=True)
        else:
            print(f"schedbench: {error}", file=sys.stderr, flush=True)


Handler = Callable[[argparse.Namespace, Output], Awaitable[Exit]]
# What add_subparsers returns; argparse has no public name for it.
Commands = Any


def command(commands: Commands, name: str, title: str, handler: Handler) -> argparse.ArgumentParser:
    """A sub-command's parser, with what every command has."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=title, description=title)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=handler)
    return parser


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned to the left."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
