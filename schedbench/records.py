# SPDX-License-Identifier: Apache-2.0
"""What a run leaves on disk: the contract between the runner and what reads results.

    RUN/run.json                       a RunRecord: what was run, where, with which constants
    RUN/samples/<workload>.<arm>.<seed>.json           a Sample that stands
    RUN/samples/<workload>.<arm>.<seed>.fault<n>.json  one that a fault of the environment spoiled
                                       and that was taken again (state `infrastructure`)
    RUN/training/<arm>/<workload>/...  the samples that a learning arm took before it was measured
    RUN/logs/<sample's file stem>.txt  the guest's console where the sample is not `ok`
    RUN/files/<sha256>                 what arms put into the guest (BPF objects, loaders, packages)

Each JSON file has `"kind"` (`run` or `sample`) and `"version"` beside the fields of its dataclass.
A file is written whole or not at all. Another version is refused by name.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from schedbench.codec import from_json, to_json
from schedbench.errors import RecordError
from schedbench.model import (
    Environment,
    Profile,
    Sample,
    SampleKey,
    SampleState,
    Suite,
    Workload,
)

VERSION = 1
RUN_FILE = "run.json"
SAMPLES, TRAINING, LOGS, FILES = "samples", "training", "logs", "files"
ARM_NAME = re.compile(r"[a-z][a-z0-9-]*(:[A-Za-z0-9][A-Za-z0-9._-]*)?")

T = TypeVar("T")


class Boot(StrEnum):
    """How a sample's machine starts. docs/schedbench/rules.md says what each is worth."""

    RESUME = "resume"  # from the snapshot of the booted, idle machine: a fresh copy each time
    COLD = "cold"  # power-on
    INITRAMFS = "initramfs"  # power-on, everything in memory: the virtual clock


@dataclass(frozen=True, slots=True)
class ArmRecord:
    """An arm as it was run. `description` is all that tells two arms of this name apart."""

    name: str
    told_intents: bool
    description: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run is of. Everything but `host`, `began` and `plan_seed` must be equal for its
    samples to be put together with another's; see `unlike`."""

    suite: Suite
    environment: Environment
    profile: Profile
    boot: Boot
    plan_seed: int  # of the order
    seeds: tuple[int, ...]  # of the samples; an unstable workload gets those after them too
    workloads: tuple[Workload, ...]
    arms: tuple[ArmRecord, ...]
    host: Mapping[str, object]  # facts that may differ: CPUs, memory, load, versions
    began: float  # Unix seconds
    schedbench: str  # version of the project
    budget: int = 0  # training samples that each learning arm has for each workload


def unlike(one: RunRecord, other: RunRecord) -> list[str]:
    """Why samples of the two must not be put together: dotted names of what differs. [] is none.

    Workloads are compared where both have them, arms as well.
    """
    unrecorded = "" in (one.environment.instrument, other.environment.instrument)
    differing = [
        f"environment.{name}"
        for name in Environment.__dataclass_fields__
        if getattr(one.environment, name) != getattr(other.environment, name)
        and not (name == "instrument" and unrecorded)
    ]
    differing += [
        name for name in ("profile", "boot", "budget") if getattr(one, name) != getattr(other, name)
    ]
    theirs = {workload.name: workload for workload in other.workloads}
    differing += [
        f"workloads.{mine.name}"
        for mine in one.workloads
        if mine.name in theirs and theirs[mine.name].digest != mine.digest
    ]
    arms = {arm.name: arm for arm in other.arms}
    differing += [
        f"arms.{mine.name}" for mine in one.arms if mine.name in arms and arms[mine.name] != mine
    ]
    return differing


def stem(key: SampleKey) -> str:
    """The file name of a sample without its ending."""
    return f"{key.workload}.{re.sub(r'[^a-zA-Z0-9-]', '_', key.arm)}.{key.seed}"


def dump(value: RunRecord | Sample) -> str:
    """The text of a record's file."""
    kind = "run" if isinstance(value, RunRecord) else "sample"
    fields = to_json(value)
    return json.dumps({"kind": kind, "version": VERSION, **fields}, indent=1, sort_keys=True) + "\n"


def load(kind: type[T], text: str, where: str = "") -> T:
    """A RunRecord or a Sample from its text. Raises RecordError naming `where` and the field."""
    try:
        value: Any = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where or 'the record'}: is not JSON: {error}") from None
    wanted = "run" if kind is RunRecord else "sample"
    try:
        if not isinstance(value, dict):
            raise RecordError("is not an object")
        if value.pop("kind", None) != wanted:
            raise RecordError(f"kind: is not {wanted!r}")
        version = value.pop("version", None)
        if version != VERSION:
            raise RecordError(f"version: is {version!r}, and this schedbench reads {VERSION}")
        return from_json(kind, value)
    except RecordError as error:
        if not where:
            raise
        raise RecordError(f"{where}: {error.message}", hint=error.hint) from None


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON's")


def write_whole(path: Path, data: bytes) -> None:
    """Writes the file so that a reader, or a power cut, sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(path)


class RunFolder:
    """A run's directory. It is a run as soon as it has `run.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return (self.path / RUN_FILE).exists()

    def run(self) -> RunRecord:
        """Raises RecordError if there is none, or it is not one of ours."""
        file = self.path / RUN_FILE
        return load(RunRecord, _text(file), str(file))

    def write_run(self, record: RunRecord) -> None:
        write_whole(self.path / RUN_FILE, dump(record).encode())

    def samples(self) -> list[Sample]:
        """The samples that stand, in the order in which they were taken."""
        return sorted(self._read(SAMPLES, faults=False), key=lambda sample: sample.order)

    def faults(self) -> list[Sample]:
        """The samples that were taken again."""
        return sorted(self._read(SAMPLES, faults=True), key=lambda sample: sample.order)

    def training(self) -> list[Sample]:
        """What learning arms took before they were measured."""
        return sorted(self._read(TRAINING, faults=False), key=lambda sample: sample.order)

    def write(self, sample: Sample, *, fault: bool = False) -> Path:
        """Adds a sample. A standing one is never overwritten: RecordError."""
        name = stem(sample.key)
        path = self.path / SAMPLES / f"{name}.json"
        if fault:
            numbers = range(1, 1000)
            paths = (path.with_name(f"{name}.fault{number}.json") for number in numbers)
            path = next(path for path in paths if not path.exists())
        elif path.exists():
            raise RecordError(f"{path}: there is such a sample already, and it stands")
        write_whole(path, dump(sample).encode())
        return path

    def write_training(self, sample: Sample, number: int) -> Path:
        """Adds the `number`-th sample of an arm's training."""
        _, arm, _ = stem(sample.key).rsplit(".", 2)
        folder = self.path / TRAINING / arm / sample.key.workload
        path = folder / f"{number:04d}.json"
        write_whole(path, dump(sample).encode())
        return path

    def write_log(self, key: SampleKey, text: str, name: str = "") -> None:
        """The console of a sample. `name`: of its file without the ending, if it is a fault's."""
        path = self.path / LOGS / f"{name or stem(key)}.txt"
        write_whole(path, text.encode("utf-8", "replace"))

    def _read(self, folder: str, *, faults: bool) -> Iterator[Sample]:
        for path in sorted((self.path / folder).glob("**/*.json")):
            if path.name.startswith(".") or (".fault" in path.name) != faults:
                continue
            sample = load(Sample, _text(path), str(path))
            if folder == SAMPLES:
                self._check(sample, path, faults)
            yield sample

    @staticmethod
    def _check(sample: Sample, path: Path, fault: bool) -> None:
        if not path.name.startswith(f"{stem(sample.key)}."):
            raise RecordError(f"{path}: is of {stem(sample.key)}, not of what its name says")
        if fault and sample.state is not SampleState.INFRASTRUCTURE:
            raise RecordError(f"{path}: is {sample.state}, not a fault of the environment")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from None
