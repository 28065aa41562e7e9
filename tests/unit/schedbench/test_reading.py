# SPDX-License-Identifier: Apache-2.0
"""What the harness prints, read: right runs count; wrong, early and forged ones are named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedbench.model import Better, Clock, Metric, SampleState, Size
from schedbench.reading import MarkerReader, Reading, judge, metric_value, repeats_so_far, where

from .test_records import a_run

WORKLOAD = a_run().workloads[0]
SIZE = Size({}, 2, 60.0)


def line(name: str, **data: object) -> str:
    return f"SCHEDBENCH {name} {json.dumps(data)}\n"


def printed(text: str) -> str:
    return "".join(f"| {each}\n" for each in text.splitlines())


def one_repeat(n: int, *, code: object = 0, check: int = 0, output: str = "ok\n") -> list[str]:
    ns = n * 10**9
    return [
        line("begin", repeat=n, ns=ns),
        line("end", repeat=n, code=code, began=ns + 5, ns=ns + 250_000_005),
        printed(output) + line("ran", repeat=n),
        printed("checking") + line("checked", repeat=n, code=check, scheduler=""),
    ]


START = [
    line("parts", code=0, cpus=4),
    line("arm", code=0, scheduler=""),
    line("setup", code=0, scheduler=""),
]
END = [line("stopped", code=0, scheduler=""), line("finished")]
GOOD = [*START, *one_repeat(1), *one_repeat(2), *END]


def read(lines: list[str], clock: Clock = Clock.WALL) -> Reading:
    reader = MarkerReader()
    for second, text in enumerate(lines):
        reader.feed(text.encode(), float(second))
    return judge(reader, WORKLOAD, SIZE, clock)


def test_a_right_run_counts_with_the_hosts_time() -> None:
    reading = read(GOOD)
    assert (reading.state, reading.reason) == (SampleState.OK, "")
    assert [repeat.seconds for repeat in reading.repeats] == [1.0, 1.0]
    assert reading.metrics == {"seconds": 1.0}
    assert reading.schedulers == ("", "", "", "")
    assert reading.repeats[0].output == "ok\n"


def test_under_the_virtual_clock_time_is_the_guests() -> None:
    assert read(GOOD, Clock.VIRTUAL).metrics == {"seconds": 0.25}
    without = [text.replace('"began"', '"other"') for text in GOOD]
    assert "must have began and ns" in read(without, Clock.VIRTUAL).reason


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_the_chunks_in_which_it_comes_do_not_matter(sizes: list[int]) -> None:
    text = "".join(GOOD).replace("\n", "\r\n").encode()
    reader, at = MarkerReader(), 0
    while at < len(text):
        for size in sizes:
            reader.feed(text[at : at + size], 0.0)
            at += size
    assert [marker.name for marker in reader.markers] == [
        "parts", "arm", "setup", "begin", "end", "ran", "checked", "begin", "end", "ran", "checked",
        "stopped", "finished",
    ]  # fmt: skip
    assert reader.markers[5].output == "ok\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([*START, *one_repeat(1), *one_repeat(2, code=3, output="no disk\n"), *END],
         "repeat 2: run: exit 3: no disk"),
        ([*START, *one_repeat(1, check=1), *END], "repeat 1: check: exit 1: checking"),
        ([*START, *one_repeat(1), *END], "'stopped' stands where 'begin' should"),
        ([*START, *one_repeat(1), *one_repeat(2)], "ended before its 'stopped'"),
        ([*GOOD, line("end", repeat=2, code=0)], "comes after 'finished'"),
        ([*START, *one_repeat(1), line("end", repeat=2, code=0), *one_repeat(2), *END],
         "'end' stands where 'begin' should"),
        ([*START, *one_repeat(1), *one_repeat(1), *END], "bear other numbers"),
        ([*START, *one_repeat(1), *one_repeat(2, code="0"), *END], "have no exit code"),
        ([*START[:2], printed("gone") + line("setup", code=9), *END], "setup: exit 9: gone"),
        ([*START, *one_repeat(1), *one_repeat(2), line("stopped", code=1), line("finished")],
         "the arm's stop: exit 1"),
        ([], "ended before its 'parts'"),
    ],
)  # fmt: skip
def test_what_is_wrong_fails_and_is_named(lines: list[str], said: str) -> None:
    reading = read(lines)
    assert reading.state is SampleState.FAILED
    assert said in reading.reason
    assert reading.metrics == {}


def test_an_arm_that_does_not_start_is_a_fault_of_the_environment() -> None:
    reading = read([START[0], printed("no object") + line("arm", code=1), line("finished")])
    assert reading.state is SampleState.INFRASTRUCTURE
    assert reading.reason == "the arm's start: exit 1: no object"
    assert read([line("parts", code=1)]).state is SampleState.INFRASTRUCTURE


def test_what_a_workload_prints_is_never_a_marker() -> None:
    """A forged marker, as a workload would print it."""
    forged = line("end", repeat=1, code=0) + line("finished")
    reading = read([*START, *one_repeat(1, output=forged), *one_repeat(2), *END])
    assert reading.state is SampleState.OK
    assert reading.repeats[0].output == forged


def test_the_machines_noise_is_apart() -> None:
    noise = "[  1.0] oops\nSCHEDBENCH end {not json}\nxSCHEDBENCH finished {}\n"
    reader = MarkerReader()
    reader.feed("".join([*START, noise, *one_repeat(1), *one_repeat(2), *END]).encode())
    assert judge(reader, WORKLOAD, SIZE, Clock.VIRTUAL).state is SampleState.OK
    assert len(reader.noise) == 3


def test_a_killed_harness_leaves_its_complete_repeats_and_its_place() -> None:
    reader = MarkerReader()
    reader.feed("".join([*START, *one_repeat(1), *one_repeat(2)[:1]]).encode() + b"half", 1.0)
    assert len(repeats_so_far(reader, WORKLOAD, Clock.WALL)) == 1
    assert where(reader) == "after 'begin' of repeat 2"
    assert where(MarkerReader()) == "before its first marker"


JSON_METRIC = Metric("p99", "us", Better.LOWER, "json:p99", scale=0.001)
REGEX_METRIC = Metric("rps", "1/s", Better.HIGHER, r"regex:^Requests/sec: +([0-9.]+)$")


def test_metrics_from_output() -> None:
    output = '{"p99": 1}\nnoise {\n{"p99": 5000, "x": 2}\n{"y": 1}\nRequests/sec:  12.5\n'
    assert metric_value(JSON_METRIC, output, 0) == 5.0
    assert metric_value(REGEX_METRIC, output, 0) == 12.5


@pytest.mark.parametrize(
    ("metric", "output", "said"),
    [
        (JSON_METRIC, "", "json:p99 is not in the output"),
        (JSON_METRIC, '{"p99": 0}', "not finite and positive"),
        (JSON_METRIC, '{"p99": -3}', "not finite and positive"),
        (JSON_METRIC, '{"p99": true}', "not finite and positive"),
        (JSON_METRIC, '{"p99": NaN}', "not finite and positive"),
        (JSON_METRIC, '{"p99": [1]}', "is not a number"),
        (REGEX_METRIC, "Requests/sec: 1.2.3", "is not a number"),
    ],
)
def test_a_metric_that_is_none_is_named(metric: Metric, output: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        metric_value(metric, output, 0)


def test_a_fast_failure_is_never_a_fast_run() -> None:
    """The defect of the paper's harness: exit codes that nobody looks at."""
    workload = replace(WORKLOAD, metrics=(Metric("seconds", "s", Better.LOWER, "elapsed"),))
    assert workload.metrics
    reading = read([*START, *one_repeat(1, code=127), *one_repeat(2, code=127), *END])
    assert (reading.state, reading.metrics) == (SampleState.FAILED, {})
