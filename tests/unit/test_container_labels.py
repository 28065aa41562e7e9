# SPDX-License-Identifier: Apache-2.0
"""A container's name, image and labels reach the rules, and labels reach nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import pytest

from schedcpd.bus.views import workload_values
from schedcpd.host.cgroupfs import Cgroup2
from schedcpd.host.containers import ContainerFacts
from schedcpd.infer.agent_answer import profile_to_json
from schedcpd.infer.rules import RuleBook
from schedcpd.learn import records
from schedcpd.model import AppKind, Intent, IntentClass, Rule, WorkloadProfile, WorkloadView
from schedcpd.observe.profile import Profiler

from .observe.tree import FakeProcesses, FakeTree

ID = "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869"
SECRET = "admin:apr1"
FACTS = ContainerFacts("production/shop/app", "quay.io/shop/app:7", (f"users={SECRET}", "tier=web"))


class Files:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def read(self, identifier: str) -> ContainerFacts | None:
        self.asked.append(identifier)
        return FACTS if identifier == ID else None


@pytest.fixture
def profile(tmp_path: Path) -> WorkloadProfile:
    tree, processes, files = FakeTree(tmp_path), FakeProcesses(), Files()
    processes.table[7] = ("app", "app", 0)
    for name in (f"/docker-{ID}.scope", "/nginx.service"):
        tree.make(name, (7,))
    profiler = Profiler(Cgroup2(tree.root), processes, files)
    plain = profiler.build("/nginx.service", 2, 0)
    assert plain is not None and (plain.identity.image, files.asked) == ("", [])
    found = profiler.build(f"/docker-{ID}.scope", 1, 0)
    assert found is not None
    return found


def rule(**match: str) -> Rule:
    globs: Mapping[str, tuple[str, ...]] = {key: (glob,) for key, glob in match.items()}
    none: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    return Rule("r", globs, none, IntentClass.LATENCY, 99, "why", "f.yaml", 1)


@pytest.mark.parametrize(
    ("key", "glob", "matches"),
    [
        ("container", "production/*", True),
        ("container", ID[:12], True),
        ("container", "staging/*", False),
        ("image", "quay.io/shop/*", True),
        ("image", "shop", False),
        ("label", "tier=web", True),
        ("label", "tier=*", True),
        ("label", "tier", False),
    ],
)
def test_rules_match_them(profile: WorkloadProfile, key: str, glob: str, matches: bool) -> None:
    assert (profile.identity.kind, profile.identity.name) == (AppKind.CONTAINER, FACTS.name)
    intent = RuleBook([rule(**{key: glob})]).infer(profile)
    assert (intent is not None) is matches


def test_a_label_is_shown_to_nobody(profile: WorkloadProfile) -> None:
    assert SECRET in json.dumps(asdict(profile))  # or the rest would prove nothing
    intent = RuleBook([rule(label="users=*")]).infer(profile)
    assert isinstance(intent, Intent) and "label users=*" in intent.reason
    view = WorkloadView(profile, intent, False)
    for shown in (
        intent,
        profile,
        records.workload_json(view),
        records.intent_json(view),
        records.decision(view, None, 0.0),
        workload_values(view),
        profile_to_json(profile),
    ):
        assert SECRET not in repr(shown)
