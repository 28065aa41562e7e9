# SPDX-License-Identifier: Apache-2.0
"""All that is computed from samples, as one value and one JSON file (`results.json`)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from schedbench.codec import from_json, to_json
from schedbench.errors import RecordError
from schedbench.evaluate.compare import (
    Comparison,
    Standing,
    baseline_of,
    compare,
    standings,
    too_few,
)
from schedbench.evaluate.data import Data
from schedbench.evaluate.score import Score, score

VERSION = 1
RESULTS_FILE = "results.json"
TOLERANCE = 1e-9  # relative: logarithms may differ in their last bits between C libraries


@dataclass(frozen=True, slots=True)
class Results:
    """`incomplete`: planned samples are missing, so the scores are not final."""

    baseline: str
    incomplete: bool
    notes: tuple[str, ...]
    standings: tuple[Standing, ...]
    comparisons: tuple[Comparison, ...]
    scores: tuple[Score, ...]


def results(data: Data, baseline: str = "") -> Results:
    """Everything, for every arm beside `baseline` (see `baseline_of`). Same samples, same value."""
    base = baseline_of(data, baseline)
    others = [arm.name for arm in data.record.arms if arm.name != base]
    rows = compare(data, base) if others else ()
    return Results(
        base,
        bool(data.missing()),
        (*data.notes, *too_few(rows)),
        standings(data),
        rows,
        tuple(score(data, base, arm) for arm in others),
    )


def dump(value: Results) -> str:
    """The text of `results.json`."""
    fields = {"kind": "results", "version": VERSION, **to_json(value)}
    return json.dumps(fields, indent=1, sort_keys=True) + "\n"


def load(text: str, where: str = RESULTS_FILE) -> Results:
    """Raises RecordError for a text that `dump` does not write."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: is not JSON: {error}") from None
    if not isinstance(value, dict) or value.pop("kind", None) != "results":
        raise RecordError(f"{where}: kind: is not 'results'")
    version = value.pop("version", None)
    if version != VERSION:
        raise RecordError(f"{where}: version: is {version!r}, and this schedbench reads {VERSION}")
    return from_json(Results, value)


def differences(stored: object, computed: object, where: str = "") -> list[str]:
    """Dotted names at which two JSON values differ by more than `TOLERANCE`."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        found = []
        for key in sorted(stored.keys() | computed.keys()):
            name = f"{where}.{key}" if where else str(key)
            if key in stored and key in computed:
                found += differences(stored[key], computed[key], name)
            else:
                found.append(f"{name}: only in the {'stored' if key in stored else 'computed'} one")
        return found
    if isinstance(stored, list) and isinstance(computed, list):
        if len(stored) != len(computed):
            return [f"{where}: {len(stored)} entries are stored, {len(computed)} computed"]
        return [
            line
            for place, (one, other) in enumerate(zip(stored, computed, strict=True))
            for line in differences(one, other, f"{where}[{place}]")
        ]
    if isinstance(stored, float) and isinstance(computed, float):
        same = math.isclose(stored, computed, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    else:
        same = type(stored) is type(computed) and stored == computed
    return [] if same else [f"{where}: {stored!r} is stored, {computed!r} computed"]
