# SPDX-License-Identifier: Apache-2.0
"""policies.d: what is shipped is right, is chosen where it should be, and starves nobody."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schedcpd.host.manifest import load_manifest
from schedcpd.host.yamlpos import Problems
from schedcpd.model import IntentClass
from schedcpd.policy.read_rule import MATCH_KEYS
from schedcpd.policy.repository import Repository, load
from schedcpd.policy.schema import read_policy_file

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    bpf = tmp_path_factory.mktemp("bpf")
    for manifest in (ROOT / "bpf" / "schedulers").glob("*/manifest.yaml"):
        shutil.copy(manifest, bpf / f"{manifest.parent.name}.manifest.yaml")
    return load([ROOT / "policies.d"], bpf)


def test_everything_shipped_is_in_force(repository: Repository) -> None:
    assert repository.problems() == ()
    names = {policy.name for policy in repository.policies() if not policy.external}
    assert names == {
        "kernel-default",
        "balanced",
        "server",
        "desktop",
        "desktop-battery",
        "throughput",
        "longest-first",
        "low-latency",
        "bulk",
        "battery",
        "fair",
    }


def test_manifests_are_good_where_they_are_developed() -> None:
    for path in (ROOT / "bpf" / "schedulers").glob("*/manifest.yaml"):
        assert load_manifest(path)[1] == []


def test_no_policy_can_starve_a_class(repository: Repository) -> None:
    """Every class below latency has a floor, and the floors leave room for each other."""
    manifest = repository.manifests()["intent"]
    floors = [name for name in manifest.tunables if name.endswith("_floor_pct")]
    assert len(floors) == len(IntentClass)  # four classes below latency, and the overdue
    for policy in [p for p in repository.policies() if p.scheduler == "intent"]:
        values = [int(policy.tunables[name]) for name in floors]
        assert min(values) >= 2, policy.name
        assert sum(values) <= 75, policy.name
        assert int(policy.tunables["max_wait_ms"]) <= 2000
        assert policy.tunables["default_class"] == IntentClass.NORMAL.wire


def test_every_scheduler_has_a_policy(repository: Repository) -> None:
    ours = [policy for policy in repository.policies() if not policy.external]
    served = {policy.scheduler for policy in ours} - {""}
    assert served == set(repository.manifests())


def test_every_wanted_class_has_a_policy_on_every_machine(repository: Repository) -> None:
    balanced = repository.policy("balanced")
    assert set(balanced.intents) == set(IntentClass)
    assert balanced.conditions == type(balanced.conditions)()


def test_every_rule_says_why_and_stands_below_the_system(repository: Repository) -> None:
    for rule in repository.rules():
        assert len(rule.why) > 10, rule.id
        if rule.intent in (IntentClass.BATCH, IntentClass.BACKGROUND):
            assert rule.priority < 80, rule.id


def test_the_example_in_the_documentation_is_good(repository: Repository) -> None:
    text = (ROOT / "docs" / "policies.md").read_text()
    example = text.split("```yaml\n")[1].split("```")[0]
    problems = Problems("docs/policies.md")
    found = read_policy_file(example.encode(), problems, repository.manifests(), "admin")
    assert problems.items == []
    assert found is not None
    assert (len(found.policies), len(found.rules)) == (2, 1)
    for key in MATCH_KEYS:
        assert f"`{key}`" in text
