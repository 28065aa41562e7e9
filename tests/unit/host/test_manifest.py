# SPDX-License-Identifier: Apache-2.0
"""manifest: the one place where a tunable's value is judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import InvalidArgumentError
from schedcpd.host.manifest import (
    check_tunables,
    load_manifest,
    load_manifests,
    object_path,
    object_sha256,
)

GOOD = """\
name: toy
ops: toy
description: A toy.
suits: [tests]
bad_at: real work
tunables:
  slice_us:
    {type: int, unit: us, default: 3000, min: 100, max: 20000, live: true, description: Slice.}
  share: {type: float, default: 0.5, min: 0, max: 1, description: A share.}
  preempt: {type: bool, default: true, description: Preempts.}
"""


def write(directory: Path, text: str = GOOD, name: str = "toy") -> Path:
    path = directory / f"{name}.manifest.yaml"
    path.write_text(text)
    return path


def test_a_good_manifest(tmp_path: Path) -> None:
    manifest, problems = load_manifest(write(tmp_path))
    assert problems == []
    assert manifest is not None
    assert manifest.defaults() == {"preempt": True, "share": 0.5, "slice_us": 3000}
    assert (manifest.suits, manifest.bad_at) == (("tests",), ("real work",))
    assert manifest.tunables["slice_us"].live
    assert check_tunables(manifest, {"share": 1}) == {
        "preempt": True,
        "share": 1.0,
        "slice_us": 3000,
    }


def test_every_wrong_tunable_is_named_with_its_range(tmp_path: Path) -> None:
    manifest, _ = load_manifest(write(tmp_path))
    assert manifest is not None
    with pytest.raises(InvalidArgumentError) as caught:
        check_tunables(manifest, {"slice_us": 99, "preempt": 1, "slcie_us": 1, "share": "x"})
    assert caught.value.message == (
        "slice_us: 99 is out of range; preempt: must be true or false, is 1; "
        "slcie_us: scheduler toy has no tunable slcie_us; share: must be a number, is 'x'"
    )
    assert "slice_us: use 100 to 20000 us (default 3000)" in caught.value.hint
    assert "did you mean slice_us?" in caught.value.hint


@pytest.mark.parametrize("value", [True, 3000.0, float("nan"), float("inf"), "3000", None, 2**70])
def test_values_are_never_bent_to_fit(tmp_path: Path, value: object) -> None:
    manifest, _ = load_manifest(write(tmp_path))
    assert manifest is not None
    with pytest.raises(InvalidArgumentError):
        check_tunables(manifest, {"slice_us": value})


@given(st.integers())
def test_exactly_the_range_is_accepted(value: int) -> None:
    manifest, _ = load_manifest(Path(__file__).parent / "data" / "toy.manifest.yaml")
    assert manifest is not None
    accepted = manifest.tunables["slice_us"].complaint(value) == ""
    assert accepted == (100 <= value <= 20000)


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("name: toy", "name: tot", 1, "name"),
        ("default: 3000", "default: 30", 8, "tunables.slice_us.default"),
        ("default: 3000", "default: x", 8, "tunables.slice_us.default"),
        ("min: 100, ", "", 8, "tunables.slice_us.min"),
        ("type: int", "type: u64", 8, "tunables.slice_us.type"),
        ("default: true", "defualt: true", 10, "tunables.preempt.defualt"),
        ("ops: toy\n", "", 1, "ops"),
    ],
)
def test_problems_name_line_and_field(
    tmp_path: Path, old: str, new: str, line: int, field: str
) -> None:
    manifest, problems = load_manifest(write(tmp_path, GOOD.replace(old, new)))
    assert manifest is None
    assert (problems[0].line, problems[0].field) == (line, field)


def test_a_broken_manifest_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "name: [", "broken")
    write(tmp_path, "", "empty")
    manifests, problems = load_manifests(tmp_path)
    assert list(manifests) == ["toy"]
    assert [Path(p.file).name for p in problems] == [
        "broken.manifest.yaml",
        "empty.manifest.yaml",
    ]


def test_object_hash(tmp_path: Path) -> None:
    path = object_path(tmp_path, "toy")
    assert object_sha256(path) is None
    path.write_bytes(b"abc")
    assert object_sha256(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
