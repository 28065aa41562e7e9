# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import VerifyError
from schedcpd.model import CheckResult, CheckStatus, VerdictClock
from schedcpd.verify.check import skipped
from schedcpd.verify.report import report
from schedcpd.verify.verdict import (
    REQUIRED,
    ranges_of,
    verdict_from_json,
    verdict_to_json,
)

from .verdict_samples import MANIFEST, TUNABLES, results, verdict


@pytest.mark.parametrize("failing", ["", *REQUIRED])
def test_a_verdict_survives_its_file(failing: str) -> None:
    made = verdict(failing)
    assert made.passed is (failing == "")
    again = verdict_from_json(verdict_to_json(made), "a file")
    assert again == made
    assert again.id == again.content_id


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_verdict_without_every_check_does_not_pass(missing: str) -> None:
    checks = tuple(c for c in results() if c.name != missing)
    assert not verdict(checks=checks).passed
    assert not verdict(checks=(*checks, skipped(missing, "object"))).passed


def test_a_check_more_that_fails_fails_the_verdict() -> None:
    extra = CheckResult("source", CheckStatus.FAILED, "source.bad", "It is bad.")
    assert not verdict(checks=(*results(), extra)).passed


def edit(raw: dict[str, Any], path: list[Any], value: Any) -> None:
    for step in path[:-1]:
        raw = raw[step]
    raw[path[-1]] = value


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[list[Any]]:
    if isinstance(value, dict):
        return [p for key, child in value.items() for p in paths(child, (*here, key))]
    if isinstance(value, list):
        return [p for n, child in enumerate(value) for p in paths(child, (*here, n))]
    return [list(here)]


@given(data=st.data())
def test_any_edited_leaf_is_refused(data: st.DataObject) -> None:
    raw = json.loads(verdict_to_json(verdict()))
    path = data.draw(st.sampled_from(paths(raw)))
    value = data.draw(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
    )
    before = json.dumps(raw, sort_keys=True)
    edit(raw, path, value)
    if json.dumps(raw, sort_keys=True) == before:
        return
    with pytest.raises(VerifyError) as error:
        verdict_from_json(json.dumps(raw), "a file")
    assert "a file" in error.value.message


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["passed"], "yes", "passed is not bool"),
        (["kernel", "build_id"], 3, "kernel: build_id is not str"),
        (["checks", 1, "status"], "fine", "checks[1]: status"),
        (["ranges", "slice_us"], [1], "ranges.slice_us is not two numbers"),
        (["tunables", "slice_us"], None, "tunables.slice_us is not a value"),
        (["origin"], "heaven", "origin"),
        (["unheard"], 1, "unheard is not known"),
    ],
)
def test_a_broken_file_names_the_field(path: list[Any], value: Any, said: str) -> None:
    raw = json.loads(verdict_to_json(verdict()))
    edit(raw, path, value)
    with pytest.raises(VerifyError, match=said.replace("[", r"\[").replace("]", r"\]")):
        verdict_from_json(json.dumps(raw), "a file")


def test_a_missing_field_is_named() -> None:
    raw = json.loads(verdict_to_json(verdict()))
    del raw["object_sha256"]
    with pytest.raises(VerifyError, match="object_sha256 is missing"):
        verdict_from_json(json.dumps(raw), "a file")


def test_a_file_of_before_there_was_another_clock_is_of_the_hosts() -> None:
    made = verdict()
    raw = json.loads(verdict_to_json(made))
    assert raw.pop("clock") == "wall"
    assert verdict_from_json(json.dumps(raw), "a file") == made


def test_the_clock_is_part_of_what_a_verdict_is() -> None:
    made = verdict(clock=VerdictClock.VIRTUAL)
    assert made.id != verdict().id
    assert verdict_from_json(verdict_to_json(made), "a file") == made
    raw = json.loads(verdict_to_json(made))
    with pytest.raises(VerifyError, match="not what its id says"):
        verdict_from_json(json.dumps({**raw, "clock": "wall"}), "a file")
    del raw["clock"]
    with pytest.raises(VerifyError, match="not what its id says"):
        verdict_from_json(json.dumps(raw), "a file")
    with pytest.raises(VerifyError, match="clock"):
        verdict_from_json(json.dumps({**raw, "clock": "sundial"}), "a file")


@given(st.text(max_size=100))
def test_any_text_gives_a_clear_error(text: str) -> None:
    with pytest.raises(VerifyError):
        verdict_from_json(text, "a file")


def test_declared_ranges_are_covered_and_nothing_beside_them() -> None:
    made = verdict(ranges=ranges_of(MANIFEST))
    assert made.uncovered({**TUNABLES, "slice_us": 20000, "preempt": False, "share": 1.0}) == ()
    assert made.uncovered({**TUNABLES, "slice_us": 20001}) == ("slice_us",)
    assert made.uncovered({**TUNABLES, "share": float("nan")}) == ("share",)
    assert made.uncovered({**TUNABLES, "preempt": 1}) == ("preempt",)
    assert made.uncovered({**TUNABLES, "new": 1}) == ("new",)


def test_the_report_shows_why() -> None:
    text = report(verdict("load"))
    for word in ("FAILED", "load.bad", "proof", "mend it", "did not pass"):
        assert word in text
    assert "passed" in report(verdict())
