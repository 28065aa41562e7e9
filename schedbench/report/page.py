# SPDX-License-Identifier: Apache-2.0
"""One HTML page of everything: no script, no font, no file beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from schedbench.evaluate.compare import Comparison
from schedbench.evaluate.data import Data
from schedbench.evaluate.results import Results
from schedbench.model import Sample, Workload
from schedbench.report.figures import interval, p_value, quantity, ratio, short
from schedbench.report.plots import Row, forest, of_comparison, pairs, series, strip
from schedbench.report.svg import marker
from schedbench.report.text import (
    LEVEL_NAME,
    READING,
    SCORE_HEAD,
    broken,
    score_cells,
    troubles,
)

STYLE = Path(__file__).with_name("style.css")


def page(parts: Sequence[tuple[Data, Results]]) -> str:
    """The page of one or more runs, each in a part of its own: unlike runs are never mixed."""
    names = " and ".join(dict.fromkeys(data.record.suite.name for data, _ in parts))
    body = "".join(_part(place, data, found) for place, (data, found) in enumerate(parts))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>schedbench: {escape(names)}</title>\n"
        f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>schedbench: {escape(names)}</h1>\n{body}</main>\n<footer>{_FOOTER}</footer>\n"
        "</body>\n</html>\n"
    )


_FOOTER = (
    "Ratios are Hodges-Lehmann estimates with exact intervals, p-values are exact "
    "(Mann-Whitney; signed-rank for pairs) after Holm's correction, the score's interval is a "
    "bootstrap over boots. docs/schedbench/statistics.md defines every figure, and "
    "<code>schedbench verify</code> computes them again."
)


def _part(place: int, data: Data, found: Results) -> str:
    record, where = data.record, data.record.environment
    began = datetime.fromtimestamp(record.began, UTC).strftime("%Y-%m-%d %H:%M UTC")
    arms = _arms(data, found)
    facts = (
        f"{where.clock} clock, size {where.size}, profile {where.profile}, {record.boot} boots; "
        f"kernel {short(where.kernel)}; {short(where.qemu)}; {where.accelerator}; "
        f"image {short(where.image)}; "
        f"began {began}"
    )
    incomplete = (
        '<p class="incomplete">Incomplete: planned samples are missing. '
        "These figures are not final.</p>\n"
        if found.incomplete
        else ""
    )
    links = "".join(
        f'<li><a href="#p{place}-{escape(w.name)}">{escape(w.name)}</a></li>'
        for w in record.workloads
    )
    return (
        f'<p class="soft">{escape(facts)}</p>\n{incomplete}{_legend(arms, found.baseline)}\n'
        f"{_scores(found, arms)}{_ratios(found, arms)}"
        f"{_list('SLOs not met', broken(found.scores))}"
        f"{_list('Lost and missing samples', troubles(found.standings))}"
        f"{_list('Notes', found.notes)}"
        f'<h2>Workloads</h2>\n<nav aria-label="Workloads"><ul>{links}</ul></nav>\n'
        + "".join(_workload(place, data, found, arms, each) for each in record.workloads)
    )


def _arms(data: Data, found: Results) -> dict[str, int]:
    """Arms with their number: the baseline is 0."""
    others = [arm.name for arm in data.record.arms if arm.name != found.baseline]
    return {name: place for place, name in enumerate([found.baseline, *others])}


def _legend(arms: Mapping[str, int], baseline: str) -> str:
    items = "".join(
        f'<li><svg viewBox="-8 -8 16 16" aria-hidden="true">{marker(0, 0, place, name, 5)}</svg>'
        f"{escape(name)}{' (baseline)' if name == baseline else ''}</li>"
        for name, place in arms.items()
    )
    return f'<ul class="legend" aria-label="Arms">{items}</ul>'


def _scores(found: Results, arms: Mapping[str, int]) -> str:
    if not found.scores:
        return "<p>There is only the baseline: nothing to score.</p>\n"
    rows, lines = [], []
    for one in found.scores:
        rows.append(score_cells(one))
        said = f"{one.score:.3f} {interval(one.score_low, one.score_high)} {one.verdict}"
        drawn = max(one.score, 1e-3)  # a score can be 0, which has no place on the axis
        high = None if one.score_high is None else max(one.score_high, 1e-3)
        low = one.score_low if high is None else max(one.score_low, 1e-3)
        lines.append(Row(one.arm, arms[one.arm], f"{one.arm}: {said}", drawn, low, high, said))
    caption = "The baseline scores 1. A workload whose hard SLO is broken counts 0."
    return (
        f"<h2>Scores</h2>\n{forest('Scores', lines)}\n"
        f"{_table(caption, SCORE_HEAD, rows, numbers=(1, 3, 5))}"
    )


def _ratios(found: Results, arms: Mapping[str, int]) -> str:
    chosen = [row for row in found.comparisons if row.primary]
    if not chosen:
        return ""
    order = list(dict.fromkeys(row.workload for row in chosen))
    chosen.sort(key=lambda row: (order.index(row.workload), arms[row.arm]))
    rows = [of_comparison(row, arms[row.arm]) for row in chosen]
    return (
        f"<h2>Ratios</h2>\n<p>{escape(READING)} Each workload by its primary metric; the shaded "
        f"band is 5% to either side.</p>\n{forest('Ratios to the baseline', rows)}\n"
    )


def _workload(
    place: int, data: Data, found: Results, arms: Mapping[str, int], workload: Workload
) -> str:
    sides = {arm: data.of(workload.name, arm) for arm in arms}
    plots = ""
    for metric in workload.metrics:
        plots += strip(metric, sides)
        if data.paired:
            plots += pairs(metric, sides[found.baseline], sides)
    rows = [row for row in found.comparisons if row.workload == workload.name]
    return (
        f'<section aria-labelledby="p{place}-{escape(workload.name)}">'
        f'<h3 id="p{place}-{escape(workload.name)}">{escape(workload.name)}</h3>\n'
        f'<p class="soft">{escape(workload.title)}</p>\n{plots}\n'
        f"{_comparisons(rows)}{_time_series(workload, sides)}</section>\n"
    )


def _comparisons(rows: Sequence[Comparison]) -> str:
    if not rows:
        return ""
    cells = [
        [
            row.metric + ("" if row.primary else " (secondary)"),
            row.arm,
            quantity(row.baseline_median, row.unit),
            quantity(row.arm_median, row.unit),
            ratio(row.ratio),
            interval(row.low, row.high),
            p_value(row.p),
            p_value(row.p_holm),
            f"{row.arm_n} pairs" if row.paired else f"{row.baseline_n} + {row.arm_n}",
            row.verdict.value + (", unstable" if row.unstable else ""),
        ]
        for row in rows
    ]
    head = ["Metric", "Arm", "Baseline", "Median", "Ratio", LEVEL_NAME, "p", "Holm", "n"]
    return _table("", [*head, "Verdict"], cells, numbers=(2, 3, 4, 6, 7))


def _time_series(workload: Workload, sides: Mapping[str, Sequence[Sample]]) -> str:
    names = sorted({name for samples in sides.values() for s in samples for name in s.series})
    plots = [plot for name in names if (plot := series(name, sides))]
    if not plots:
        return ""
    return (
        f"<details><summary>{escape(workload.name)} over time ({len(plots)} series, a line for "
        f'each boot)</summary><div class="panels">{"".join(plots)}</div></details>\n'
    )


def _list(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>{escape(title)}</h2>\n<ul>{items}</ul>\n" if items else ""


def _table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()
) -> str:
    def kind(column: int, text: str = "") -> str:
        word = text.split(",")[0]
        names = ["n"] if column in numbers else []
        names += [word] if word in ("win", "loss") else []
        return f' class="{" ".join(names)}"' if names else ""

    heads = "".join(f'<th scope="col"{kind(n)}>{escape(each)}</th>' for n, each in enumerate(head))
    lines = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{kind(n, cell)}>{escape(cell)}</td>" for n, cell in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    name = escape(caption or "Figures")
    said = f"<p>{escape(caption)}</p>\n" if caption else ""
    return (
        f'{said}<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>\n"
    )
