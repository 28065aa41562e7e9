# SPDX-License-Identifier: Apache-2.0
"""`schedbench score`: the score of each arm; `--bundle` keeps it with all that it came from."""

from __future__ import annotations

import argparse
from pathlib import Path

from schedbench.bundle import manifest, signature
from schedbench.cli import Commands, Exit, Output, command
from schedbench.cli.source import add_runs, merged
from schedbench.codec import to_json
from schedbench.errors import BenchError
from schedbench.evaluate.results import results
from schedbench.report import text


def add(commands: Commands) -> None:
    parser = command(commands, "score", "scores of a run; makes a bundle of it", _score)
    add_runs(parser)
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="write a bundle of the (one) run there"
    )
    parser.add_argument(
        "--key", type=Path, metavar="FILE", help="SSH key that the bundle is signed with"
    )


async def _score(options: argparse.Namespace, output: Output) -> Exit:
    if options.key and not options.bundle:
        raise BenchError("--key signs a bundle, and there is none", hint="add --bundle DIR")
    if options.bundle and len(options.runs) > 1:
        raise BenchError(
            "a bundle is of one run", hint="make one of each; `report` takes several bundles"
        )
    data = merged(options.runs)
    found = results(data, options.baseline)
    said = ""
    if options.bundle:
        made = manifest.write(options.runs[0], options.bundle, options.baseline)
        said = f"\n\nbundle: {options.bundle}, {len(made.files)} files"
        if options.key:
            await signature.sign(options.bundle, options.key)
            said += f", signed by {await signature.key_of(options.bundle)}"
        else:
            said += ", not signed"
    output.result(
        {**to_json(found), "bundle": str(options.bundle) if options.bundle else None},
        text.everything(data, found) + said,
    )
    return Exit.DONE
