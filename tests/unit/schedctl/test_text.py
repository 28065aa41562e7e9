# SPDX-License-Identifier: Apache-2.0
"""Tables, safe text and JSON without a bus."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedctl import explanation
from schedctl.text import Column, Output, complain, cut, safe, width, widths

COLUMNS = (Column("NAME", shrink=True), Column("N", right=True), Column("WHERE", shrink=True))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> Output:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    return Output(Terminal(), json_wanted=False)


def text_of(output: Output) -> str:
    assert isinstance(output.stream, io.StringIO)
    return output.stream.getvalue()


@given(st.text())
def test_safe_text_is_printable_and_loses_nothing_printable(text: str) -> None:
    shown = safe(text)
    assert shown.isprintable()
    assert all(unicodedata.category(char) not in ("Cc", "Cf") for char in shown)
    if text.isprintable():
        assert shown == text


@given(st.text(st.characters(exclude_categories=["C"])), st.integers(0, 40))
def test_cut_fits_and_says_so(text: str, columns: int) -> None:
    short = cut(text, columns)
    assert width(short) <= columns
    if width(text) <= columns:
        assert short == text
    elif columns:
        assert short.endswith("…")
        assert text.startswith(short[:-1])


@given(
    st.lists(st.tuples(st.text(max_size=90), st.integers(0, 99), st.text(max_size=90)), max_size=8),
    st.integers(30, 200),
)
def test_table_fits_the_terminal(rows: list[tuple[str, int, str]], columns: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        output = on_terminal(monkeypatch, columns)
        output.table(COLUMNS, rows)
        lines = text_of(output).splitlines()
    assert len(lines) == len(rows) + 1
    assert all(width(line) <= columns for line in lines)


def test_table_aligns(monkeypatch: pytest.MonkeyPatch) -> None:
    output = on_terminal(monkeypatch, 80)
    output.table(COLUMNS, [["日本", 5, "/a"], ["x", 10, "/b"]])
    assert text_of(output) == "NAME   N  WHERE\n日本   5  /a\nx     10  /b\n"


def test_plain_table_is_tabs_and_never_cut() -> None:
    output = Output(io.StringIO(), json_wanted=False)
    output.table(COLUMNS, [["x" * 300, 1, "a\tb"]])
    assert text_of(output) == "NAME\tN\tWHERE\n" + "x" * 300 + "\t1\ta\\tb\n"


def test_only_shrinking_columns_shrink() -> None:
    rows = [["n" * 50, "123456789012", "w" * 20]]
    fit = widths(rows, COLUMNS, 40)
    assert fit[1] == 12
    assert sum(fit) + 4 == 40


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_colour(variables: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Output(Terminal(), json_wanted=False).colour is coloured
    assert Output(io.StringIO(), json_wanted=False).colour is False


def test_an_explanation_is_a_line_a_step() -> None:
    verdict = {"passed": True, "origin": "shipped", "id": "ab" * 32, "checks": []}
    content = {
        "state": "active",
        "reason": "serves latency",
        "workload": {"cgroup": "/x\x1b[2J", "cgroup_id": 7, "kind": "service", "name": "x"},
        "intent": {"class": "latency", "reason": "rule r", "model": "", "confidence": 1.0},
        "candidate": {"rejected": [{"policy": "desktop", "why_not": "no desktop"}]},
        "deployment": {"policy": "server", "ops_name": "schedcp_intent", "source": "auto"},
        "verdict": verdict,
        "measures": {"runs": 3.0, "run_s": 0.5, "delay_mean_us": 12.0, "delay_p99_us": 90.0},
        "last_outcome": None,
    }
    text = explanation.text(content)
    assert "\x1b" not in text
    shown = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert shown["wants"] == "latency: rule r"
    assert shown["runs"].startswith("policy server on schedcp_intent (auto)")
    assert shown["not"] == "desktop: no desktop"
    assert shown["verdict"].startswith("passed (shipped, abababababab)")
    assert "12 µs at the mean" in shown["measured"]
    assert explanation.text({"state": "default", "reason": "nothing to do"}) == (
        "state     default: nothing to do"
    )


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("no\nsuch", "see\x1b list", as_json=False, code="NotFound")
    assert capsys.readouterr().err == "schedctl: no\\nsuch (see\\x1b list)\n"
    complain("no", "", as_json=True, code="NotFound")
    assert json.loads(capsys.readouterr().err) == {
        "version": 1,
        "error": {"code": "NotFound", "message": "no", "hint": ""},
    }
