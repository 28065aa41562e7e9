# SPDX-License-Identifier: Apache-2.0
"""The tables that `schedbench compare`, `score` and `report` print."""

from __future__ import annotations

from collections.abc import Sequence

from schedbench.cli import table
from schedbench.evaluate.compare import Comparison, Standing
from schedbench.evaluate.data import Data
from schedbench.evaluate.results import Results
from schedbench.evaluate.score import Score
from schedbench.evaluate.stats import LEVEL
from schedbench.report.figures import interval, p_value, quantity, ratio, short

READING = (
    "A ratio over 1 is better than the baseline. A win or loss needs p at most 0.05 after Holm's\n"
    "correction, an interval clear of 1, and a difference of at least 5%."
)

LEVEL_NAME = f"{LEVEL:.0%}"
SCORE_HEAD = (
    "Arm", "Score", LEVEL_NAME, "Geomean", LEVEL_NAME, "Overuse", "Hard SLOs", "Verdict",
)  # fmt: skip


def heading(data: Data, baseline: str) -> str:
    """What was run, in two lines."""
    record, where = data.record, data.record.environment
    return (
        f"suite {record.suite.name}, size {where.size}, {where.clock} clock, profile "
        f"{where.profile}, baseline {baseline}\n"
        f"kernel {short(where.kernel)}, {short(where.qemu)}, {where.accelerator}"
    )


def comparisons(rows: Sequence[Comparison]) -> str:
    """Each arm and metric in a line; secondary metrics are indented."""
    head = (
        "WORKLOAD", "METRIC", "ARM", "BASELINE", "MEDIAN", "RATIO", LEVEL_NAME, "P", "N", "VERDICT",
    )  # fmt: skip
    lines = []
    for row in rows:
        verdict = row.verdict.value + (" (unstable)" if row.unstable else "")
        lines.append(
            (
                row.workload if row.primary else "",
                row.metric if row.primary else f"  {row.metric}",
                row.arm,
                quantity(row.baseline_median, row.unit),
                quantity(row.arm_median, row.unit),
                ratio(row.ratio),
                interval(row.low, row.high),
                p_value(row.p_holm),
                f"{row.baseline_n}+{row.arm_n}" if not row.paired else f"{row.arm_n} pairs",
                verdict,
            )
        )
    return table(head, lines)


def score_cells(row: Score) -> list[str]:
    """The columns of SCORE_HEAD."""
    count = sum(not term.slos_met for term in row.terms)
    return [
        row.arm,
        f"{row.score:.3f}",
        interval(row.score_low, row.score_high),
        f"{row.geomean:.3f}",
        interval(row.geomean_low, row.geomean_high),
        f"{row.overuse:.0%}",
        f"{count} broken" if count else "met",
        row.verdict.value,
    ]


def scores(rows: Sequence[Score]) -> str:
    return table([name.upper() for name in SCORE_HEAD], [score_cells(row) for row in rows])


def broken(rows: Sequence[Score]) -> list[str]:
    """A line for each SLO that was not met."""
    return [
        f"{row.arm}, {term.workload}: {said}"
        for row in rows
        for term in row.terms
        for said in term.broken
    ]


def troubles(standings: Sequence[Standing]) -> list[str]:
    """A line for each arm and workload that lost samples, or lacks some."""
    found = []
    for one in standings:
        parts = [f"{count} {state}" for state, count in one.lost.items()]
        parts += [f"{one.faults} taken again"] if one.faults else []
        parts += [f"{one.missing} of {one.planned} missing"] if one.missing else []
        if parts:
            why = f": {one.reasons[0]}" if one.reasons else ""
            found.append(f"{one.arm}, {one.workload}: {', '.join(parts)}{why}")
    return found


def everything(data: Data, found: Results) -> str:
    """The whole report of one run."""
    parts = [heading(data, found.baseline)]
    if found.scores:
        ordered = sorted(found.comparisons, key=lambda r: (_place(data, r.workload), not r.primary))
        parts += [scores(found.scores), comparisons(ordered), READING]
    for title, lines in (
        ("SLOs not met", broken(found.scores)),
        ("Lost or missing samples", troubles(found.standings)),
        ("Notes", list(found.notes)),
    ):
        if lines:
            parts.append("\n".join([f"{title}:", *(f"  {line}" for line in lines)]))
    if found.incomplete:
        parts.append("INCOMPLETE: planned samples are missing; these figures are not final.")
    return "\n\n".join(parts)


def _place(data: Data, workload: str) -> int:
    return [one.name for one in data.record.workloads].index(workload)
