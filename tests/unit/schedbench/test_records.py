# SPDX-License-Identifier: Apache-2.0
"""Records: everything that is written is read back equal; what is not ours is refused by field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedbench import records
from schedbench.errors import RecordError
from schedbench.model import (
    Better,
    Metric,
    Part,
    Repeat,
    Sample,
    SampleKey,
    SampleState,
    Size,
    SizeClass,
    Slo,
)

from .synthetic import record, workload

KEY = SampleKey("xz", "policy:intent", 7)


def a_sample(key: SampleKey = KEY, **changes: Any) -> Sample:
    given: dict[str, Any] = {
        "key": key,
        "state": SampleState.OK,
        "reason": "",
        "repeats": (Repeat({"seconds": 1.5}, 0, 0, 1.5, "done\n"),),
        "metrics": {"seconds": 1.5},
        "began": 1.8e9,
        "seconds": 20.25,
        "order": 3,
        "series": {"psi.cpu": ((0.0, 1.0), (0.5, 2.5))},
        "kernel_log": ("something",),
        "scheduler": "schedcp_intent",
        "arm_log": {"nr": 1, "list": [1, "two", None]},
    }
    return Sample(**{**given, **changes})


def a_run(**changes: Any) -> records.RunRecord:
    xz = workload(
        "xz", packages=("xz-utils",), programs=("/bin/xz",), parts=(Part("main", "batch", 100),),
        title="t", setup="true", metrics=(Metric("seconds", "s", Better.LOWER, "elapsed"),),
        slos=(Slo("seconds", 1.25, True),), sizes={SizeClass.SMOKE: Size({"MB": "8"}, 2, 60.0)},
        visible=("title",),
    )  # fmt: skip
    return replace(record([xz], ("default",), (1, 2, 3)), **changes)


def test_a_sample_and_a_run_come_back_equal() -> None:
    assert records.load(Sample, records.dump(a_sample())) == a_sample()
    assert records.load(records.RunRecord, records.dump(a_run())) == a_run()


@given(
    st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
    st.text(),
    st.sampled_from(SampleState),
)
def test_any_metrics_and_text_come_back_equal(
    metrics: dict[str, float], text: str, state: SampleState
) -> None:
    sample = a_sample(metrics=metrics, reason=text, state=state)
    assert records.load(Sample, records.dump(sample)) == sample


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": 1}, "extra: unknown field"),
        ({"state": "fine"}, "state: 'fine' is not one of"),
        ({"key": {"workload": "xz", "arm": "a"}}, "key.seed: is missing"),
        ({"key": {"workload": "xz", "arm": "a", "seed": 1.5}}, "key.seed: is a float"),
        ({"key": {"workload": "xz", "arm": "a", "seed": True}}, "key.seed: is a bool"),
        ({"repeats": [{}]}, "repeats[0].metrics: is missing"),
        ({"metrics": {"seconds": "1"}}, "metrics.seconds: is a str"),
        ({"series": {"a": [[1.0]]}}, "series.a[0]: has 1 entries instead of 2"),
        ({"version": 2}, "version: is 2"),
        ({"kind": "run"}, "kind: is not 'sample'"),
        ({"metrics": []}, "metrics: is a list, not an object"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], said: str) -> None:
    value = {**json.loads(records.dump(a_sample())), **change}
    with pytest.raises(RecordError) as caught:
        records.load(Sample, json.dumps(value), "x.json")
    assert said in caught.value.message
    assert caught.value.message.startswith("x.json: ")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused_both_ways(word: str) -> None:
    with pytest.raises(RecordError):
        records.dump(a_sample(seconds=float(word)))
    text = records.dump(a_sample()).replace("20.25", word)
    assert word in text
    with pytest.raises(RecordError, match=word):
        records.load(Sample, text)


def test_too_large_a_number_is_refused() -> None:
    text = records.dump(a_sample()).replace("20.25", "1e999")
    with pytest.raises(RecordError, match="seconds: inf is not a finite number"):
        records.load(Sample, text)


def test_a_folder_keeps_what_stands_and_what_was_taken_again(tmp_path: Path) -> None:
    folder = records.RunFolder(tmp_path)
    assert not folder.exists()
    folder.write_run(a_run())
    assert folder.exists() and folder.run() == a_run()
    fault = a_sample(state=SampleState.INFRASTRUCTURE, metrics={}, order=1)
    folder.write(fault, fault=True)
    folder.write(fault, fault=True)
    folder.write(a_sample())
    later = a_sample(SampleKey("xz", "default", 7), order=2)
    folder.write(later)
    folder.write_training(a_sample(SampleKey("xz", "bandit", 1_000_000)), 0)
    assert folder.samples() == [later, a_sample()]
    assert folder.faults() == [fault, fault]
    assert [sample.key.arm for sample in folder.training()] == ["bandit"]
    with pytest.raises(RecordError, match="it stands"):
        folder.write(a_sample(seconds=1.0))
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_a_sample_under_another_ones_name_is_refused(tmp_path: Path) -> None:
    folder = records.RunFolder(tmp_path)
    path = folder.write(a_sample())
    path.rename(path.with_name("xz.default.7.json"))
    with pytest.raises(RecordError, match="not of what its name says"):
        folder.samples()


def test_what_makes_runs_unlike_is_named() -> None:
    assert records.unlike(a_run(), a_run(host={}, began=2.0, plan_seed=9)) == []
    other = a_run(
        environment=replace(a_run().environment, kernel="other"),
        boot=records.Boot.RESUME,
        arms=(records.ArmRecord("default", False, {"knobs": {"a": 1}}),),
    )
    assert records.unlike(a_run(), other) == ["environment.kernel", "boot", "arms.default"]
