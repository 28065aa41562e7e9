# SPDX-License-Identifier: Apache-2.0
"""yamlpos: positions, caps, and that no input whatever makes it fail in another way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd.host.yamlpos import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_PROBLEMS,
    Map,
    Problems,
    Scalar,
    Seq,
    parse,
    read_bytes,
)


def parsed(text: str | bytes) -> tuple[object, Problems]:
    problems = Problems("f.yaml")
    data = text.encode() if isinstance(text, str) else text
    return parse(data, problems), problems


def test_every_value_knows_its_line() -> None:
    root, problems = parsed("a: 1\nb:\n  - x\n  - 'true'\nc: {d: 2.5}\n")
    assert not problems
    assert isinstance(root, Map)
    assert dict(root.key_lines) == {"a": 1, "b": 2, "c": 5}
    seq = root.entries["b"]
    assert isinstance(seq, Seq)
    assert [(n.line, n.value) for n in seq.items if isinstance(n, Scalar)] == [
        (3, "x"),
        (4, "true"),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-0x1", "-0x1"),
        ("0x1f", 31),
        ("1.5e3", 1500.0),
        ("true", True),
        ("yes", "yes"),
        ("no", "no"),
        ("1:30", "1:30"),
        ("'12'", "12"),
        ("9" * 41, "9" * 41),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    root, _ = parsed(f"a: {text}")
    assert isinstance(root, Map)
    node = root.entries["a"]
    assert isinstance(node, Scalar)
    assert node.value == value
    assert type(node.value) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\na: 2\n", 2, "twice (first on line 1)"),
        ("a:\n  b: [1\n", 3, "not valid YAML"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "YAML tag"),
        ("a: &x 1\nb: *y\n", 2, "no anchor"),
        ("a: &x\n  b: *x\n", 2, "no anchor completed"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merge key"),
        ("? [a]\n: 1\n", 1, "key is not plain text"),
        ("a: \x07\n", 1, "control character"),
        ("a: 1\nb: \ufffe\n", 2, "control character"),
    ],
)
def test_refusals_name_the_line(text: str, line: int, part: str) -> None:
    _, problems = parsed(text)
    assert [(p.line, part in p.message) for p in problems.items] == [(line, True)]
    assert problems.items[0].hint


def test_bad_utf8_names_the_line() -> None:
    _, problems = parsed(b"a: 1\nb: \xff\n")
    assert (problems.items[0].line, "UTF-8" in problems.items[0].message) == (2, True)


def test_alias_bomb_is_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for i in range(1, 12):
        refs = ", ".join([f"*a{i - 1}"] * 10)
        lines.append(f"a{i}: &a{i} [{refs}]")
    start = time.monotonic()
    _, problems = parsed("\n".join(lines))
    assert "aliases are expanded" in problems.items[0].message
    assert problems.items[0].line <= 6
    assert time.monotonic() - start < 5


def test_an_alias_shares_its_target() -> None:
    root, problems = parsed("a: &x [1, 2]\nb: *x\n")
    assert not problems
    assert isinstance(root, Map)
    assert root.entries["a"] is root.entries["b"]


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "- " * 50_000])
def test_depth_is_capped(text: str) -> None:
    start = time.monotonic()
    _, problems = parsed(text)
    assert f"deeper than {MAX_DEPTH}" in problems.items[0].message
    assert time.monotonic() - start < 5


def test_a_mebibyte_of_values_is_refused_in_seconds() -> None:
    start = time.monotonic()
    _, problems = parsed("- 1\n" * (MAX_BYTES // 4))
    assert "more than" in problems.items[0].message
    assert time.monotonic() - start < 10


def test_problems_are_listed_up_to_a_cap() -> None:
    _, problems = parsed("a: 1\n" * 1000)
    assert len(problems.errors()) == MAX_PROBLEMS + 1
    assert "more problems" in problems.errors()[-1].message


def test_a_100_mb_file_is_refused_without_being_read(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    with big.open("wb") as stream:
        stream.truncate(100 << 20)
    problems = Problems(str(big))
    start = time.monotonic()
    assert read_bytes(big, problems) is None
    assert time.monotonic() - start < 0.5
    assert "larger than" in problems.items[0].message


def test_null_device_reads_empty_and_other_specials_are_refused(tmp_path: Path) -> None:
    mask = tmp_path / "mask.yaml"
    mask.symlink_to("/dev/null")
    problems = Problems("x")
    assert read_bytes(mask, problems) == b""
    assert not problems
    fifo = tmp_path / "fifo.yaml"
    os.mkfifo(fifo)
    for special in (fifo, Path("/dev/zero"), tmp_path, tmp_path / "absent"):
        problems = Problems("x")
        assert read_bytes(special, problems) is None
        assert len(problems.items) == 1


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_give_a_tree_or_a_problem_with_a_line(data: bytes) -> None:
    problems = Problems("f")
    root = parse(data, problems)
    assert root is None or isinstance(root, Map | Seq | Scalar)
    assert all(p.line >= 1 for p in problems.items)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="a1:-?[]{}&*!|>'\"#% \n\t,<~.", max_size=80))
def test_any_yaml_punctuation_gives_a_tree_or_a_problem_with_a_line(text: str) -> None:
    problems = Problems("f")
    parse(text.encode(), problems)
    assert all(p.line >= 1 for p in problems.items)
