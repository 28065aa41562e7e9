# SPDX-License-Identifier: Apache-2.0
"""The bundle's directory and its list of contents.

BUNDLE/manifest.json      a Manifest: what was run, by what, and the hash of every other file
BUNDLE/manifest.json.sig  its signature (absent in an unsigned bundle)
BUNDLE/results.json       what was computed from the samples
BUNDLE/run.json, samples/, training/, logs/, files/    as the runner left them (records.py)
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schedbench.codec import from_json, to_json
from schedbench.errors import BenchError, RecordError
from schedbench.evaluate import results
from schedbench.evaluate.data import read
from schedbench.model import Environment, Suite
from schedbench.records import (
    FILES,
    LOGS,
    RUN_FILE,
    SAMPLES,
    TRAINING,
    RunFolder,
    RunRecord,
    write_whole,
)

VERSION = 1
MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "manifest.json.sig"
FOLDERS = (SAMPLES, TRAINING, LOGS, FILES)


@dataclass(frozen=True, slots=True)
class FileEntry:
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the bundle is of; `facts_of` a run gives the fields that repeat its record."""

    suite: Suite
    environment: Environment
    host: Mapping[str, object]
    plan_seed: int
    seeds: tuple[int, ...]
    workloads: Mapping[str, str]  # name to digest
    arms: Mapping[str, Mapping[str, object]]  # name to what tells it apart
    began: float
    schedbench: str
    baseline: str
    made_with: Mapping[str, str]  # versions of what computed the results
    files: Mapping[str, FileEntry]  # path in the bundle, with slashes


def facts_of(record: RunRecord) -> dict[str, Any]:
    """The manifest's fields that must be as in `run.json`."""
    return {
        "suite": record.suite,
        "environment": record.environment,
        "host": record.host,
        "plan_seed": record.plan_seed,
        "seeds": record.seeds,
        "workloads": {workload.name: workload.digest for workload in record.workloads},
        "arms": {arm.name: arm.description for arm in record.arms},
        "began": record.began,
        "schedbench": record.schedbench,
    }


def write(run: Path, bundle: Path, baseline: str = "") -> Manifest:
    """Copies the run into the new directory `bundle`, computes its results and lists its contents.

    The directory appears whole or not at all. Raises BenchError if there is one already.
    """
    if bundle.exists():
        raise BenchError(f"{bundle}: exists", hint="a bundle is never changed: name another")
    data = read(RunFolder(run))
    found = results.results(data, baseline)
    scratch = bundle.with_name(f".{bundle.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        shutil.copyfile(run / RUN_FILE, scratch / RUN_FILE)
        for name in FOLDERS:
            if (run / name).is_dir():
                shutil.copytree(run / name, scratch / name, ignore=shutil.ignore_patterns(".*"))
        write_whole(scratch / results.RESULTS_FILE, results.dump(found).encode())
        manifest = Manifest(
            **facts_of(data.record),
            baseline=found.baseline,
            made_with={"python": platform.python_version(), "numpy": np.__version__},
            files=contents(scratch),
        )
        write_whole(scratch / MANIFEST_FILE, dump(manifest).encode())
        scratch.rename(bundle)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return manifest


def contents(bundle: Path) -> dict[str, FileEntry]:
    """Every file of the bundle but the manifest and its signature.

    Raises BenchError for anything that is neither a plain file nor a directory.
    """
    found: dict[str, FileEntry] = {}
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise BenchError(f"{name}: is neither a file nor a directory", hint="remove it")
        if name not in (MANIFEST_FILE, SIGNATURE_FILE):
            found[name] = _entry(path)
    return found


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def dump(manifest: Manifest) -> str:
    fields = {"kind": "bundle", "version": VERSION, **to_json(manifest)}
    return json.dumps(fields, indent=1, sort_keys=True) + "\n"


def load(data: bytes) -> Manifest:
    """Raises RecordError unless these are the very bytes that `dump` writes."""
    try:
        text = data.decode()
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{MANIFEST_FILE}: is not JSON: {error}") from None
    if not isinstance(value, dict) or value.pop("kind", None) != "bundle":
        raise RecordError(f"{MANIFEST_FILE}: kind: is not 'bundle'")
    version = value.pop("version", None)
    if version != VERSION:
        raise RecordError(
            f"{MANIFEST_FILE}: version: is {version!r}, and this schedbench reads {VERSION}"
        )
    try:
        manifest = from_json(Manifest, value)
    except RecordError as error:
        raise RecordError(f"{MANIFEST_FILE}: {error.message}", hint=error.hint) from None
    if dump(manifest) != text:
        raise RecordError(f"{MANIFEST_FILE}: is not written as schedbench writes it")
    return manifest


def is_bundle(path: Path) -> bool:
    return (path / MANIFEST_FILE).is_file()
