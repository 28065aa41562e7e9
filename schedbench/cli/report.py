# SPDX-License-Identifier: Apache-2.0
"""`schedbench report`: a table here, and a page with every point."""

from __future__ import annotations

import argparse
from pathlib import Path

from schedbench.cli import Commands, Exit, Output, command
from schedbench.cli.source import add_runs, merged
from schedbench.evaluate.data import read
from schedbench.evaluate.results import results
from schedbench.records import RunFolder, write_whole
from schedbench.report import text
from schedbench.report.page import page

DEFAULT = "report.html"


def add(commands: Commands) -> None:
    parser = command(commands, "report", "a table, and an HTML page with plots", _report)
    add_runs(parser, "each is a part of its own, whether alike or not")
    parser.add_argument("--merge", action="store_true", help="put them together as one run")
    parser.add_argument(
        "--html", type=Path, default=Path(DEFAULT), metavar="FILE", help=f"the page ({DEFAULT})"
    )


async def _report(options: argparse.Namespace, output: Output) -> Exit:
    if options.merge:
        parts = [merged(options.runs)]
    else:
        parts = [read(RunFolder(path)) for path in options.runs]
    found = [(data, results(data, options.baseline)) for data in parts]
    write_whole(options.html, page(found).encode())
    said = "\n\n".join(text.everything(data, each) for data, each in found)
    output.result(
        {"html": str(options.html), "results": [each for _, each in found]},
        f"{said}\n\npage: {options.html}",
    )
    return Exit.DONE
