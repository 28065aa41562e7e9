# SPDX-License-Identifier: Apache-2.0
"""policy: what holds of any set of files, however wrong some of them are."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd.policy.conflicts import meaning
from schedcpd.policy.repository import Repository, load

MANIFEST = """\
name: toy
ops: toy
description: A toy.
tunables:
  a: {type: int, unit: us, default: 1, min: 0, max: 9, description: A.}
  b: {type: int, unit: us, default: 2, min: 0, max: 9, description: B.}
"""
BROKEN = (
    b"version: 2\n",
    b"version: 1\nrules: [{name: x}]\n",
    b"version: 1\npolicies: [{name: y, description: d, scheduler: absent, intents: [batch]}]\n",
    b"a: &a [1]\nb: [*a, *c]\n",
    b"\xff\xfe",
    b"version: 1\nrules: [",
    b"- 1\n" * 60_000,
    b"[" * 200,
)


def read(files: Sequence[bytes]) -> Repository:
    """The repository of those files, in this order."""
    with tempfile.TemporaryDirectory() as root:
        bpf, policies = Path(root, "bpf"), Path(root, "policies.d")
        bpf.mkdir()
        policies.mkdir()
        (bpf / "toy.manifest.yaml").write_text(MANIFEST)
        for index, data in enumerate(files):
            (policies / f"{index:02}.yaml").write_bytes(data)
        return load([policies], bpf)


def rule_file(index: int) -> bytes:
    rule = {"name": f"r{index}", "match": {"comm": f"c{index}"}, "intent": "batch", "why": "w"}
    return yaml.safe_dump({"version": 1, "rules": [rule]}).encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.sampled_from(BROKEN)), max_size=6))
def test_what_is_broken_takes_nothing_else_with_it(kinds: list[bytes | None]) -> None:
    files = [rule_file(i) if kind is None else kind for i, kind in enumerate(kinds)]
    repository = read(files)
    good = [f"r{i}" for i, kind in enumerate(kinds) if kind is None]
    assert [rule.name for rule in repository.rules()] == good
    told = {Path(problem.file).name for problem in repository.problems()}
    assert told == {f"{i:02}.yaml" for i, kind in enumerate(kinds) if kind is not None}
    assert all(
        p.line >= 1 or p.message == "the whole file is left out" for p in repository.problems()
    )


_overrides = st.dictionaries(st.sampled_from("ab"), st.integers(0, 9))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 6), _overrides), max_size=6))
def test_any_graph_of_derivations_is_resolved_or_refused(
    graph: list[tuple[int, dict[str, int]]],
) -> None:
    """Policy i stands in file i and extends policy `graph[i][0]`, -1 for none; circles included."""
    files = []
    for i, (base, tunables) in enumerate(graph):
        own = {"scheduler": "toy", "intents": ["batch"]} if base < 0 else {"extends": f"p{base}"}
        policy = {"name": f"p{i}", "description": "d", "tunables": tunables, **own}
        files.append(yaml.safe_dump({"version": 1, "policies": [policy]}).encode())
    repository = read(files)
    expected: dict[str, dict[str, int]] = {}
    for i, (base, tunables) in enumerate(graph):
        if base < 0:
            expected[f"p{i}"] = {"a": 1, "b": 2, **tunables}
        elif f"p{base}" in expected:
            expected[f"p{i}"] = {**expected[f"p{base}"], **tunables}
    found = {p.name: dict(p.tunables) for p in repository.policies() if p.scheduler}
    assert found == expected
    refused = [p for p in repository.problems() if p.line]
    assert len(refused) == len(graph) - len(expected)
    assert all(p.field == "policies[0].extends" for p in refused)


_rules = st.lists(
    st.tuples(
        st.sampled_from(["x", "y", "[x, y]", "[y, x]"]),
        st.sampled_from(["batch", "latency"]),
        st.integers(49, 51),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(_rules)
def test_no_two_rules_in_force_contradict_each_other(rules: list[tuple[str, str, int]]) -> None:
    text = (
        "version: 1\nrules:\n  - {name: r%d, match: {comm: %s}, intent: %s, priority: %d, why: w}\n"
    )
    repository = read([(text % (i, *rule)).encode() for i, rule in enumerate(rules)])
    wanted: dict[object, object] = {}
    for rule in repository.rules():
        assert wanted.setdefault(meaning(rule), rule.intent) is rule.intent
    left_out = len(rules) - len(repository.rules())
    assert left_out == sum(bool(problem.line) for problem in repository.problems())
