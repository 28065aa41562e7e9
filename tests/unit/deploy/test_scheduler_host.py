# SPDX-License-Identifier: Apache-2.0
"""What the scheduler host accepts from a caller, and what it reads from the kernel's maps."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.deploy.scheduler_host import params
from schedcpd.deploy.scheduler_host.loading import read_object
from schedcpd.errors import InvalidArgumentError
from schedcpd.host.scheduler import WANTED_FLAGS, Stats, ops_flags
from schedcpd.model import IntentClass

GOOD: dict[str, Any] = {
    "scheduler": "intent",
    "object": "/usr/share/schedcp/bpf/intent.bpf.o",
    "sha256": "a" * 64,
    "tunables": {"batch_slice_us": 20000},
    "intents": [[7, "latency"], [2**63, "background"]],
    "deployment_id": "d-1",
    "token": "x.y",
}

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_a_good_request_is_read_as_it_is() -> None:
    request = params.LoadRequest.of(GOOD)
    assert request.intents == [(7, IntentClass.LATENCY), (2**63, IntentClass.BACKGROUND)]
    assert (request.scheduler, request.tunables) == ("intent", {"batch_slice_us": 20000})
    assert set(GOOD) == params.LOAD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scheduler", "../intent"),
        ("scheduler", "x" * 40),
        ("object", "intent.bpf.o"),
        ("object", "/tmp/a\nb"),
        ("sha256", "A" * 64),
        ("sha256", "a" * 63),
        ("tunables", []),
        ("intents", {}),
        ("intents", [[1]]),
        ("intents", [[0, "latency"]]),
        ("intents", [[True, "latency"]]),
        ("intents", [[1 << 64, "latency"]]),
        ("intents", [[1, "fast"]]),
        ("intents", [[1, ["latency"]]]),
        ("deployment_id", 3),
        ("token", "x" * 9000),
    ],
)
def test_a_bad_param_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name}"):
        params.LoadRequest.of({**GOOD, name: value})


@given(st.sampled_from(sorted(params.LOAD)), _json)
def test_no_value_of_any_param_is_more_than_refused(name: str, value: object) -> None:
    try:
        params.LoadRequest.of({**GOOD, name: value})
    except InvalidArgumentError as e:
        assert e.message.startswith(name)


def test_flags_are_those_of_this_kernel() -> None:
    known = {"SCX_OPS_ENQ_MIGRATION_DISABLED": 16, "SCX_OPS_HAS_CGROUP_WEIGHT": 1 << 16}
    assert ops_flags(0b1100, known) == 16 | 1 << 16
    del known["SCX_OPS_HAS_CGROUP_WEIGHT"]
    assert ops_flags(0b1100, known) == 16
    with pytest.raises(InvalidArgumentError, match="wanted_flags"):
        ops_flags(1 << len(WANTED_FLAGS), known)


def test_the_flags_are_those_of_the_header() -> None:
    header = (Path(__file__).parents[3] / "bpf/include/intent.h").read_text()
    for bit, name in enumerate(WANTED_FLAGS):
        assert f"WANT_{name.removeprefix('SCX_OPS_')} = 1 << {bit}," in header


def test_the_classes_are_those_of_the_header() -> None:
    header = (Path(__file__).parents[3] / "bpf/include/intent.h").read_text()
    for intent in IntentClass:
        assert f"INTENT_{intent.name} = {intent.wire}," in header


@given(st.lists(st.lists(st.integers(0, 2**40), min_size=68, max_size=68), max_size=5))
def test_statistics_are_summed_over_cpus(cpus: list[list[int]]) -> None:
    stats = Stats.of(struct.pack("=68Q", *cpu) for cpu in cpus)
    totals = [sum(column) for column in zip(*cpus, strict=True)] or [0] * 68
    assert [stats.runs, stats.preemptions, stats.run_ns, stats.delay_ns] == totals[:4]
    assert list(stats.delay_hist) == totals[4:]


def test_objects_are_read_only_from_regular_files(tmp_path: Path) -> None:
    good = tmp_path / "a.bpf.o"
    good.write_bytes(b"\x7fELF")
    assert read_object(good) == b"\x7fELF"
    (tmp_path / "link").symlink_to(good)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 1 << 30)
    for name in ("link", "fifo", "huge", "absent", "."):
        with pytest.raises(InvalidArgumentError, match="object: "):
            read_object(tmp_path / name)
