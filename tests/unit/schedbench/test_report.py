# SPDX-License-Identifier: Apache-2.0
"""The tables and the page: complete, self-contained, safe with foreign text, readable."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from schedbench.evaluate.data import Data
from schedbench.evaluate.results import results
from schedbench.model import Clock, Metric, SampleState
from schedbench.report import svg
from schedbench.report.figures import interval, number, quantity
from schedbench.report.page import STYLE, page
from schedbench.report.text import everything

from .synthetic import TIME, data, lose, noisy, record, workload


@pytest.fixture(autouse=True)
def _fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedbench.evaluate.score.ROUNDS", 200)


def made(clock: Clock = Clock.WALL) -> Data:
    one = data(record(2, ("default", "fast", "odd"), clock=clock), noisy(1, fast=0.7, odd=1.0))
    return replace(
        one,
        samples=tuple(
            lose(s, SampleState.HANG) if (s.key.arm, s.key.seed) == ("odd", 2) else s
            for s in one.samples
        ),
    )


class Reader(HTMLParser):
    """Collects elements, and refuses what is not closed in order."""

    VOID = frozenset({"meta", "line", "rect", "path", "polyline", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.words.append(text)

    def count(self, tag: str, word: str = "") -> int:
        return sum(t == tag and word in (a.get("class") or "").split() for t, a in self.found)


def test_the_page_needs_nothing_else_and_shows_every_sample() -> None:
    run = made()
    text = page([(run, results(run))])
    reader = Reader(text)
    assert not re.search(r"https?://|url\(|@import|<script|<link|\ssrc=", text)
    finished = sum(not s.reason for s in run.samples)
    legend, intervals = 3, 2 + 2 * 2  # arms; scores, and ratios of two arms in two workloads
    points = reader.count("path", "point")
    assert points == finished * 2 + legend + intervals  # two metrics
    assert reader.count("polyline", "series") == len(run.samples) * 2
    assert all(
        attrs.get("aria-label") or attrs.get("aria-hidden")
        for tag, attrs in reader.found
        if tag == "svg"
    )
    targets = {attrs["id"] for _, attrs in reader.found if "id" in attrs}
    links = {(attrs["href"] or "")[1:] for tag, attrs in reader.found if tag == "a"}
    assert links == targets == {"p0-w00", "p0-w01"}
    for word in ("✕ 1 lost", "win", "it ended as hang", "vcpus4"):
        assert any(word in each for each in reader.words), word


def test_unlike_runs_stand_in_parts_of_their_own() -> None:
    runs = [made(), made(Clock.VIRTUAL)]
    text = page([(run, results(run)) for run in runs])
    reader = Reader(text)
    ids = [attrs["id"] for _, attrs in reader.found if "id" in attrs]
    assert len(set(ids)) == len(ids) == 4
    assert text.count("better in 6 of 6 pairs") == 2 * 2  # fast, in two metrics of two workloads
    assert "6 pairs" in text and "6 + 6" in text


def test_foreign_words_stay_words() -> None:
    evil = "<script>alert('x')</script> & \"quotes\""
    each = workload("w00", title=evil, metrics=(replace(TIME, unit="<b>s"),), slos=())
    run = data(record([each], ("default", "other")), noisy(1))
    run = replace(
        run, samples=tuple(replace(s, state=SampleState.FAILED, reason=evil) for s in run.samples)
    )
    text = page([(run, results(run))])
    Reader(text)
    assert "<script" not in text and "<b>" not in text
    assert "&lt;script&gt;" in text


def test_a_run_of_the_baseline_alone_has_a_page() -> None:
    run = data(record(1, ("default",)), noisy(1))
    text = page([(run, results(run))])
    Reader(text)
    assert "nothing to score" in text
    assert everything(run, results(run)).startswith("suite made-up")


def test_an_incomplete_run_says_so_on_both() -> None:
    run = made()
    run = replace(run, samples=run.samples[1:])
    for text in (page([(run, results(run))]), everything(run, results(run))):
        assert "ncomplete" in text.lower()


def test_samples_all_of_one_value_can_be_drawn() -> None:
    each = workload("w00", metrics=(Metric("n", "ops", TIME.better, "json:n"),), slos=())
    run = data(record([each]), noisy(1), lambda s: replace(s, metrics={"n": 5.0}, series={}))
    Reader(page([(run, results(run))]))


def test_the_table_has_every_comparison_and_loss() -> None:
    run = made()
    found = results(run)
    text = everything(run, found)
    lines = text.splitlines()
    assert sum("fast" in line and "win" in line for line in lines) == 1 + 4
    assert "odd, w00: 1 hang: it ended as hang" in text
    assert "odd, w01: hard: lost 17% of its samples" in text
    assert len({line.index("RATIO") for line in lines if "RATIO" in line}) == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (1234567.0, "1\u2009234\u2009567"),
        (0.000123456, "0.000123"),
        (12.345, "12.3"),
        (-3.21, "-3.21"),
        (1e-7, "1.00e-07"),
        (None, "∞"),
    ],
)
def test_numbers(value: float | None, said: str) -> None:
    assert number(value) == said


def test_quantities_and_intervals() -> None:
    assert quantity(None, "s") == "—"
    assert quantity(12.0, "ms") == "12.0 ms"
    assert interval(0.0, None) == "unbounded"
    assert interval(1.25, None) == "[1.250, ∞]"


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.13), (0.0, 1.0), (950.0, 1304.0), (1e-6, 3e-6)])
def test_ticks_are_inside_and_even(low: float, high: float) -> None:
    found = svg.ticks(low, high)
    assert 3 <= len(found) <= 7
    assert low <= found[0] and found[-1] <= high
    steps = {round((b - a) / (high - low), 6) for a, b in pairwise(found)}
    assert len(steps) == 1


@pytest.mark.parametrize("widest", [1.08, 1.3, 1.6, 2.4, 8.0])
def test_ratio_ticks_hold_one(widest: float) -> None:
    found = svg.ratio_ticks(1 / widest, widest)
    assert 1.0 in found and len(found) >= 3


def test_colours_are_told_from_the_page_in_both_themes() -> None:
    """WCAG 2.2: text 4.5 to 1, graphics 3 to 1."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    themes = STYLE.read_text().split("@media (prefers-color-scheme: dark)")
    assert len(themes) == 2
    for theme in themes:
        found = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", theme))
        page_ = light(found["page"])
        for name, colour in found.items():
            if name in ("page", "panel", "rule"):
                continue
            one, other = sorted((light(colour), page_))
            least = 4.5 if name in ("text", "soft", "win", "loss") else 3.0
            assert (other + 0.05) / (one + 0.05) >= least, name
