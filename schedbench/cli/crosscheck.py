# SPDX-License-Identifier: Apache-2.0
"""`schedbench crosscheck RUN RUN...`: do both clocks rank the arms alike?"""

from __future__ import annotations

import argparse
from pathlib import Path

from schedbench import crosscheck
from schedbench.cli import Commands, Exit, Output, command
from schedbench.codec import to_json
from schedbench.evaluate.data import read
from schedbench.records import RunFolder


def add(commands: Commands) -> None:
    parser = command(commands, "crosscheck", "compare the rankings of both clocks", _crosscheck)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders, of both clocks")


async def _crosscheck(options: argparse.Namespace, output: Output) -> Exit:
    found = crosscheck.crosscheck([read(RunFolder(path)) for path in options.runs])
    output.result(to_json(found), crosscheck.table(found))
    return Exit.REFUSED if found.marked else Exit.DONE
