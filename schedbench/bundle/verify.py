# SPDX-License-Identifier: Apache-2.0
"""Checks a bundle from the outside in: bytes, signature, records, raw data, results, a re-run."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from schedbench.bundle import manifest as manifests
from schedbench.bundle import signature
from schedbench.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest
from schedbench.bundle.raw import budget_problems, name_of, plan_problems, raw_problems
from schedbench.codec import to_json
from schedbench.errors import BenchError
from schedbench.evaluate import results
from schedbench.evaluate.data import Data, read
from schedbench.model import Clock, Sample, SampleState, Workload
from schedbench.records import FILES, RunFolder, RunRecord
from schedcpd.errors import SchedcpError, UnsupportedError

MOST_SAID = 20  # problems of one check that are listed


class State(StrEnum):
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"  # could not be checked here: the bundle is not verified in full


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `said`: what was found; for FAILED, what is wrong, one sentence each."""

    name: str
    state: State
    said: tuple[str, ...]


class Repeater(Protocol):
    """Takes a virtual-clock sample again."""

    async def again(self, record: RunRecord, sample: Sample) -> Sample:
        """Raises UnsupportedError where this machine cannot (another QEMU build or kernel)."""


@dataclass(frozen=True, slots=True)
class Options:
    """`allowed_signers` None: nobody is trusted, the signature's key is only named. `reruns`: how
    many virtual-clock samples, chosen by chance, are taken again. `known`: workloads of this
    schedbench by name."""

    allowed_signers: Path | None = None
    unsigned_ok: bool = False
    reruns: int = 1
    repeater: Repeater | None = None
    known: Mapping[str, Workload] | None = None


async def verify(bundle: Path, options: Options) -> list[Check]:
    """All checks in order. A check that makes no sense after a failed one is not made."""
    if not manifests.is_bundle(bundle):
        raise BenchError(
            f"{bundle}: has no {MANIFEST_FILE}",
            hint="make a bundle of a run: schedbench score RUN --bundle DIR --key KEY",
        )
    checks: list[Check] = []
    files, manifest = _files(bundle)
    checks.append(files)
    checks += await _signature(bundle, options)
    if manifest is None:
        return checks
    try:
        data = read(RunFolder(bundle))
        training = RunFolder(bundle).training()
    except SchedcpError as error:
        return [*checks, Check("records", State.FAILED, (str(error),))]
    checks.append(_records(data, manifest))
    checks.append(_check("workloads", _workload_problems(data, options), _digests(data)))
    checks.append(_check("plan", plan_problems(data), f"{len(data.planned)} samples as planned"))
    checks.append(
        _check("budget", budget_problems(data, training), f"{len(training)} training samples")
    )
    count = len(data.samples) + len(data.faults) + len(training)
    checks.append(
        _check("raw data", raw_problems(data, training), f"{count} samples agree with their output")
    )
    checks.append(await _guarded("results", lambda: _results(bundle, data, manifest)))
    if data.record.environment.clock is Clock.VIRTUAL and options.reruns:
        checks.append(await _guarded("re-run", lambda: _rerun(data, options)))
    return checks


def _check(name: str, problems: list[str], good: str) -> Check:
    if not problems:
        return Check(name, State.OK, (good,))
    more = len(problems) - MOST_SAID
    said = problems[:MOST_SAID] + ([f"and {more} more"] if more > 0 else [])
    return Check(name, State.FAILED, tuple(said))


async def _guarded(name: str, check: Callable[[], Awaitable[Check]]) -> Check:
    try:
        return await check()
    except UnsupportedError as error:
        return Check(name, State.SKIPPED, (str(error),))
    except SchedcpError as error:
        return Check(name, State.FAILED, (str(error),))


def _files(bundle: Path) -> tuple[Check, Manifest | None]:
    try:
        manifest = manifests.load((bundle / MANIFEST_FILE).read_bytes())
        there = manifests.contents(bundle)
    except SchedcpError as error:
        return Check("files", State.FAILED, (str(error),)), None
    problems = [f"{name}: is missing" for name in sorted(manifest.files.keys() - there.keys())]
    problems += [
        f"{name}: is not in the manifest" for name in sorted(there.keys() - manifest.files.keys())
    ]
    for name in sorted(there.keys() & manifest.files.keys()):
        if there[name] != manifest.files[name]:
            problems.append(f"{name}: is not the file that was listed: its SHA-256 differs")
    for name, entry in there.items():
        folder, _, file = name.rpartition("/")
        if folder == FILES and entry.sha256 != file:
            problems.append(f"{name}: its SHA-256 is {entry.sha256}, not its name")
    digest = hashlib.sha256((bundle / MANIFEST_FILE).read_bytes()).hexdigest()
    return _check("files", problems, f"{len(there)} files, manifest sha256 {digest}"), manifest


async def _signature(bundle: Path, options: Options) -> list[Check]:
    name = "signature"
    if not (bundle / SIGNATURE_FILE).exists():
        if options.unsigned_ok:
            return []
        return [Check(name, State.FAILED, ("the bundle is not signed: nobody vouches for it",))]
    try:
        if options.allowed_signers is not None:
            who = await signature.signer(bundle, options.allowed_signers)
            return [Check(name, State.OK, (f"signed by {who}",))]
        key = await signature.key_of(bundle)
    except SchedcpError as error:
        return [Check(name, State.FAILED, (str(error),))]
    said = f"signed by {key}, but nobody was named who is trusted: give --allowed-signers"
    return [Check(name, State.SKIPPED, (said,))]


def _records(data: Data, manifest: Manifest) -> Check:
    differing = [
        f"{MANIFEST_FILE}: {name}: is not as in run.json"
        for name, value in manifests.facts_of(data.record).items()
        if to_json(getattr(manifest, name)) != to_json(value)
    ]
    return _check("records", differing, f"{len(data.samples)} samples, {len(data.faults)} faults")


def _workload_problems(data: Data, options: Options) -> list[str]:
    """A workload that bears the digest of one we know must be that one."""
    problems = []
    for workload in data.record.workloads:
        known = (options.known or {}).get(workload.name)
        if known is not None and known.digest == workload.digest and known != workload:
            fields = [
                name
                for name in Workload.__dataclass_fields__
                if getattr(known, name) != getattr(workload, name)
            ]
            problems.append(
                f"{workload.name}: bears the digest of this schedbench's workload, but differs in "
                f"{', '.join(fields)}"
            )
    return problems


def _digests(data: Data) -> str:
    return f"{len(data.record.workloads)} definitions"


async def _results(bundle: Path, data: Data, manifest: Manifest) -> Check:
    try:
        text = (bundle / results.RESULTS_FILE).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        return Check("results", State.FAILED, (f"{results.RESULTS_FILE}: {error}",))
    stored = results.load(text)
    computed = results.results(data, manifest.baseline)
    problems = [
        f"{results.RESULTS_FILE}: {line}"
        for line in results.differences(to_json(stored), to_json(computed))
    ]
    said = "statistics and scores computed again: equal"
    if computed.incomplete:
        said += "; incomplete: faults of the environment left planned samples out"
    return _check("results", problems, said)


async def _rerun(data: Data, options: Options) -> Check:
    if options.repeater is None:
        raise UnsupportedError("there is nothing here to take a virtual-clock sample again with")
    candidates = [
        sample
        for sample in data.samples
        if sample.digest and sample.state in (SampleState.OK, SampleState.MARKED)
    ]
    if not candidates:
        return Check("re-run", State.FAILED, ("no sample has a digest of its console",))
    chosen = random.SystemRandom().sample(candidates, min(options.reruns, len(candidates)))
    problems = []
    for sample in chosen:
        again = await options.repeater.again(data.record, sample)
        if again.digest != sample.digest:
            problems.append(
                f"{name_of(sample.key)}: the console's bytes differ: {sample.digest[:16]} is "
                f"stored, {again.digest[:16] or again.reason} came again"
            )
        elif again.metrics != sample.metrics:
            problems.append(
                f"{name_of(sample.key)}: {dict(sample.metrics)} is stored, "
                f"{dict(again.metrics)} came again"
            )
    names = "; ".join(name_of(sample.key) for sample in chosen)
    return _check("re-run", problems, f"equal bytes: {names}")
