# SPDX-License-Identifier: Apache-2.0
"""Every shipped scheduler: its manifest is right and agrees with its source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schedcpd.host.manifest import load_manifest

SCHEDULERS = sorted((Path(__file__).parents[3] / "bpf/schedulers").iterdir())
_TUNABLE = re.compile(r"^(const volatile|SC_LIVE) (?:u32|u64|s32|s64|bool) (\w+) = ([^;]+);", re.M)


@pytest.mark.parametrize("directory", SCHEDULERS, ids=lambda path: path.name)
def test_manifest_and_source_agree(directory: Path) -> None:
    manifest, problems = load_manifest(directory / "manifest.yaml")
    assert not problems
    assert manifest is not None
    source = (directory / f"{directory.name}.bpf.c").read_text()
    assert f'.name = "{manifest.ops}",' in source
    found = {name: (kind, value) for kind, name, value in _TUNABLE.findall(source)}
    found.pop("wanted_flags", None)
    assert set(found) == set(manifest.tunables)
    for name, spec in manifest.tunables.items():
        kind, value = found[name]
        assert spec.live == (kind == "SC_LIVE"), name
        if value.isdecimal():  # the others are names of enum intent_class
            assert int(value) == spec.default, name
        assert spec.description.endswith(".")


def test_floors_of_intent_leave_the_first_class_its_part() -> None:
    manifest, _ = load_manifest(SCHEDULERS[0].parent / "intent/manifest.yaml")
    assert manifest is not None
    floors = [spec for name, spec in manifest.tunables.items() if name.endswith("_floor_pct")]
    assert sum(float(spec.default) for spec in floors) <= 70
    assert sum(float(spec.maximum or 0) for spec in floors) < 100
