# SPDX-License-Identifier: Apache-2.0
"""From what the harness printed to repeats, metrics and a judgement. For both clocks.

The markers and their order are those of docs/schedbench/contract.md. What scripts print comes
behind `| `; every other line that is no marker is noise of the machine (a kernel's message).
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from schedbench import kernellog
from schedbench.arms.base import ANY_SCHEDULER
from schedbench.model import Clock, Metric, Repeat, SampleState, Size, Workload

PREFIX, PRINTED = b"SCHEDBENCH ", b"| "
OUTPUT_KEPT = 16_384  # characters of one repeat's output that are recorded: the end of it
SAID = 300  # characters of output in a reason
MARKER = re.compile(rb"SCHEDBENCH ([a-z]+) (\{.*\})\s*")


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker. `at`: host seconds of its arrival. `output`: what was printed since the last."""

    name: str
    data: Mapping[str, object]
    at: float
    output: str

    def number(self, key: str) -> int | None:
        """An integer field, None if it is not there or something else."""
        value = self.data.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


class MarkerReader:
    """Takes the harness' output as it comes. A line counts when it is complete."""

    def __init__(self) -> None:
        self.markers: list[Marker] = []
        self.noise: list[str] = []  # lines that are neither markers nor what a script printed
        self._pending, self._output = bytearray(), bytearray()

    def feed(self, data: bytes, at: float = 0.0) -> list[Marker]:
        """Adds bytes that arrived at `at`; returns the markers they completed."""
        self._pending += data
        found: list[Marker] = []
        while (end := self._pending.find(b"\n")) >= 0:
            line = bytes(self._pending[: end + 1])
            del self._pending[: end + 1]
            marker = self._marker(line.replace(b"\r", b""), at)
            if marker is not None:
                found.append(marker)
                self._output.clear()
            elif line.startswith(PRINTED):
                self._output += line.removeprefix(PRINTED).replace(b"\r", b"")
            else:
                self.noise.append(line.decode("utf-8", "replace").strip())
        self.markers += found
        return found

    @property
    def rest(self) -> str:
        """What scripts printed after the last marker."""
        return bytes(self._output).decode("utf-8", "replace")

    def _marker(self, line: bytes, at: float) -> Marker | None:
        match = MARKER.fullmatch(line) if line.startswith(PREFIX) else None
        if match is None:
            return None
        try:
            data = json.loads(match[2])
        except ValueError:
            return None
        output = bytes(self._output).decode("utf-8", "replace")
        return Marker(match[1].decode(), data, at, output)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the markers of one sample say. `reason` is empty when `state` is OK.

    `arm_said`: what the arm's `stop` (or a failed `start`) printed. `schedulers`: the ops names
    that were enabled after `start`, set-up and every check, in order, "" for none.
    """

    state: SampleState
    reason: str
    repeats: tuple[Repeat, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    arm_said: str = ""
    schedulers: tuple[str, ...] = ()


class _BadError(Exception):
    """Why the sample is not OK."""

    def __init__(self, reason: str, state: SampleState = SampleState.FAILED) -> None:
        super().__init__(reason)
        self.reason, self.state = reason, state


class _Walk:
    """The markers in the order in which they must come."""

    def __init__(self, markers: Sequence[Marker], rest: str) -> None:
        self._markers, self._rest, self._at = markers, rest, 0

    def next(self, *names: str) -> Marker:
        if self._at == len(self._markers):
            raise _BadError(f"it ended before its {names[0]!r}{_said(self._rest)}")
        marker = self._markers[self._at]
        if marker.name not in names:
            raise _BadError(f"the marker {marker.name!r} stands where {names[0]!r} should")
        self._at += 1
        return marker

    def end(self) -> None:
        if self._at != len(self._markers):
            raise _BadError(f"the marker {self._markers[self._at].name!r} comes after 'finished'")


def judge(reader: MarkerReader, workload: Workload, size: Size, clock: Clock) -> Reading:
    """The reading of a harness that ended by itself (not of one that was killed)."""
    walk = _Walk(reader.markers, reader.rest)
    repeats: list[Repeat] = []
    said = ""
    try:
        _succeeded(walk.next("parts"), "making the cgroups", SampleState.INFRASTRUCTURE)
        arm = walk.next("arm")
        said = arm.output
        _succeeded(arm, "the arm's start", SampleState.INFRASTRUCTURE)
        _succeeded(walk.next("setup"), "setup", SampleState.FAILED)
        problems: list[str] = []
        for number in range(1, size.repeats + 1):
            repeat, problem = _repeat(walk, number, workload.metrics, clock)
            repeats.append(repeat)
            problems += [f"repeat {number}: {problem}"] if problem else []
            if repeat.check_exit_code != 0:
                break
        stopped = walk.next("stopped")
        said = stopped.output
        walk.next("finished")
        walk.end()
        if problems:
            raise _BadError("; ".join(problems[:3]))
        _succeeded(stopped, "the arm's stop", SampleState.FAILED)
    except _BadError as bad:
        return Reading(bad.state, bad.reason, tuple(repeats), {}, said, schedulers(reader))
    return Reading(SampleState.OK, "", tuple(repeats), medians(repeats), said, schedulers(reader))


def schedulers(reader: MarkerReader) -> tuple[str, ...]:
    """The ops names enabled between the arm's start and its stop, as the markers say."""
    inside = [each for each in reader.markers if each.name in ("arm", "setup", "checked")]
    return tuple(str(marker.data.get("scheduler", "")) for marker in inside)


def repeats_so_far(reader: MarkerReader, workload: Workload, clock: Clock) -> tuple[Repeat, ...]:
    """The repeats that were complete when the harness was killed or its machine died."""
    begins = [n for n, marker in enumerate(reader.markers) if marker.name == "begin"]
    found: list[Repeat] = []
    for number, at in enumerate(begins, 1):
        try:
            walk = _Walk(reader.markers[at:], reader.rest)
            found.append(_repeat(walk, number, workload.metrics, clock)[0])
        except _BadError:
            break
    return tuple(found)


def where(reader: MarkerReader) -> str:
    """How far a harness got, in words: for a hang or a death."""
    if not reader.markers:
        return "before its first marker"
    last = reader.markers[-1]
    number = last.number("repeat")
    return f"after {last.name!r}" + (f" of repeat {number}" if number is not None else "")


def medians(repeats: Sequence[Repeat]) -> dict[str, float]:
    """Each metric's median over the repeats."""
    names = repeats[0].metrics if repeats else {}
    return {name: statistics.median(each.metrics[name] for each in repeats) for name in names}


def mark(reading: Reading, messages: Sequence[str], expected: str) -> Reading:
    """The reading, marked if the kernel complained or the scheduler was not the arm's.

    A sample that is lost already keeps its state and gets the kernel's words as a further reason.
    """
    marks = []
    others = [name for name in reading.schedulers if name != expected]
    if reading.schedulers and expected != ANY_SCHEDULER and others:
        found, wanted = others[0] or "no scheduler", expected or "none"
        marks.append(f"the arm's scheduler is {wanted}, but {found} was enabled")
    told = kernellog.grave(messages)
    if told:
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        marks.append(f"the kernel said: {told[0]}{more}")
    if not marks or reading.state is SampleState.INFRASTRUCTURE:
        return reading
    state = SampleState.MARKED if reading.state is SampleState.OK else reading.state
    reason = "; ".join([reading.reason, *marks] if reading.reason else marks)
    return replace(reading, state=state, reason=reason)


def metric_value(metric: Metric, output: str, elapsed: float) -> float:
    """A metric of one repeat. Raises ValueError with the reason if it is not there or no number."""
    how, _, what = metric.source.partition(":")
    if how == "elapsed":
        value: object = elapsed
    elif how == "json":
        value = _from_json(output, what)
    else:
        try:
            match = re.search(what, output, re.MULTILINE)
            value = None if match is None else match[1]
        except (re.error, IndexError, OverflowError, RecursionError) as error:
            raise ValueError(f"{metric.name}: {metric.source[:60]}: {error}") from None
    if value is None:
        raise ValueError(f"{metric.name}: {metric.source} is not in the output")
    try:
        number = float(value) * metric.scale  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"{metric.name}: {str(value)[:60]!r} is not a number") from None
    if isinstance(value, bool) or not math.isfinite(number) or number <= 0:
        raise ValueError(f"{metric.name}: {str(value)[:60]} is not finite and positive")
    return number


def _from_json(output: str, key: str) -> object:
    for line in reversed(output.splitlines()):
        if line.lstrip().startswith("{"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict) and key in value:
                return value[key]
    return None


def _succeeded(marker: Marker, what: str, otherwise: SampleState) -> None:
    if marker.data.get("code") != 0:
        raise _BadError(f"{what}: exit {marker.data.get('code')}{_said(marker.output)}", otherwise)


def _repeat(
    walk: _Walk, number: int, metrics: Sequence[Metric], clock: Clock
) -> tuple[Repeat, str]:
    """One repeat and what is wrong with it, "" if nothing is."""
    begin, end, ran = walk.next("begin"), walk.next("end"), walk.next("ran")
    check = walk.next("checked")
    if any(each.number("repeat") != number for each in (begin, end, ran, check)):
        raise _BadError(f"the markers of repeat {number} bear other numbers")
    exits = end.number("code"), check.number("code")
    if exits[0] is None or exits[1] is None:
        raise _BadError(f"the markers of repeat {number} have no exit code")
    elapsed = _elapsed(begin, end, clock)
    kept = ran.output[
        -OUTPUT_KEPT:
    ]  # metrics come from what is recorded, so they can be read again
    values: dict[str, float] = {}
    problem = ""
    if exits[0] != 0:
        problem = f"run: exit {exits[0]}{_said(ran.output)}"
    elif exits[1] != 0:
        problem = f"check: exit {exits[1]}{_said(check.output)}"
    else:
        try:
            values = {each.name: metric_value(each, kept, elapsed) for each in metrics}
        except ValueError as error:
            problem = str(error)
    return Repeat(values, exits[0], exits[1], elapsed, kept), problem


def _elapsed(begin: Marker, end: Marker, clock: Clock) -> float:
    if clock is Clock.WALL:
        return end.at - begin.at
    first, last = end.number("began"), end.number("ns")
    if first is None or last is None:
        raise _BadError("under the virtual clock, 'end' must have began and ns")
    return (last - first) / 1e9


def _said(output: str) -> str:
    text = " ".join(output.split())[-SAID:]
    return f": {text}" if text else ""
