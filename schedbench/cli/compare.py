# SPDX-License-Identifier: Apache-2.0
"""`schedbench compare`: each arm beside the baseline, with exact tests."""

from __future__ import annotations

import argparse

from schedbench.cli import Commands, Exit, Output, command
from schedbench.cli.source import add_runs, merged
from schedbench.errors import BenchError
from schedbench.evaluate.compare import baseline_of, compare, standings, too_few
from schedbench.report import text


def add(commands: Commands) -> None:
    parser = command(commands, "compare", "metrics beside the baseline's, with tests", _compare)
    add_runs(parser)
    parser.add_argument(
        "--arm", action="append", default=[], help="only this arm (may be given again)"
    )


async def _compare(options: argparse.Namespace, output: Output) -> Exit:
    data = merged(options.runs)
    baseline = baseline_of(data, options.baseline)
    for arm in options.arm:
        baseline_of(data, arm)
    if baseline in options.arm or len(data.record.arms) < 2:
        raise BenchError(
            f"{baseline} is the baseline: there is nothing to compare it with",
            hint="name another arm, or another --baseline",
        )
    rows = compare(data, baseline, options.arm)
    notes = (*data.notes, *too_few(rows))
    lost = text.troubles(standings(data))
    parts = [text.heading(data, baseline), text.comparisons(rows), text.READING]
    parts += ["\n".join(said) for said in (lost, notes) if said]
    output.result(
        {"baseline": baseline, "comparisons": rows, "notes": notes, "standings": standings(data)},
        "\n\n".join(parts),
    )
    return Exit.DONE
