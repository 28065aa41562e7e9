# SPDX-License-Identifier: Apache-2.0
"""policy: precedence, masks, conflicts, and what a broken file does to the rest."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd.config import Config
from schedcpd.errors import ConfigError, NotFoundError
from schedcpd.host.manifest import load_manifests
from schedcpd.host.yamlpos import Problems
from schedcpd.model import Conditions, IntentClass, Power
from schedcpd.policy.read_policy import KEYS as POLICY_KEYS
from schedcpd.policy.read_rule import KEYS as RULE_KEYS
from schedcpd.policy.read_rule import MATCH_KEYS
from schedcpd.policy.repository import KERNEL_POLICY, Repository, check, load
from schedcpd.policy.schema import PolicyFile, read_policy_file

MANIFEST = """\
name: toy
ops: toy
description: A toy.
tunables:
  slice_us: {type: int, unit: us, default: 3000, min: 100, max: 20000, description: Slice.}
  preempt: {type: bool, default: true, description: Preempts.}
"""
POLICY = """\
version: 1
policies:
  - name: fast
    description: For answers.
    scheduler: toy
    tunables: {slice_us: 500}
    intents: [batch, latency]
    chosen_for: [latency]
    machines: {power: ac, cpus_min: 2, cpus_max: 8, desktop: false}
    slo: {latency: {delay_p99_us: 5000}}
    priority: 60
"""
RULE = """\
version: 1
rules:
  - name: build
    match: {executable: [make, ninja]}
    intent: batch
    why: runs long
"""


class Tree:
    """The three directories and the BPF directory, under one root."""

    def __init__(self, root: Path) -> None:
        self.bpf = root / "bpf"
        self.dirs = [root / name for name in ("share", "etc", "run")]
        for directory in (self.bpf, *self.dirs):
            directory.mkdir()
        self.share, self.etc, self.run = self.dirs
        (self.bpf / "toy.manifest.yaml").write_text(MANIFEST)
        (self.bpf / "toy.bpf.o").write_bytes(b"elf")

    def load(self, previous: Repository | None = None) -> Repository:
        return load(self.dirs, self.bpf, previous)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def told(repository: Repository) -> list[tuple[str, int, str]]:
    return [(Path(p.file).name, p.line, p.field) for p in repository.problems() if p.line]


def names(repository: Repository) -> list[str]:
    return [policy.name for policy in repository.policies()]


def test_nothing_at_all_still_has_the_kernels_default(tmp_path: Path) -> None:
    repository = load([tmp_path / "absent"], tmp_path / "absent")
    assert repository.policies() == (KERNEL_POLICY,)
    assert repository.problems() == ()
    assert repository.policy("kernel-default").scheduler == ""


def test_a_policy_with_everything(tree: Tree) -> None:
    (tree.share / "a.yaml").write_text(POLICY)
    repository = tree.load()
    assert repository.problems() == ()
    policy = repository.policy("fast")
    assert policy.tunables == {"preempt": True, "slice_us": 500}
    assert policy.intents == (IntentClass.LATENCY, IntentClass.BATCH)
    assert policy.chosen_for == (IntentClass.LATENCY,)
    assert policy.conditions == Conditions(Power.AC, 2, 8, False)
    assert policy.slo_delay_p99_us == {IntentClass.LATENCY: 5000.0}
    assert (policy.origin, policy.line, policy.priority) == ("shipped", 3, 60)
    found = repository.objects()["toy"]
    assert found.sha256 == hashlib.sha256(b"elf").hexdigest()
    with pytest.raises(NotFoundError, match="did you mean fast"):
        repository.policy("fsat")


def test_a_later_directory_replaces_and_files_are_read_by_name(tree: Tree) -> None:
    (tree.share / "b.yaml").write_text(RULE)
    (tree.share / "a.yaml").write_text(POLICY)
    (tree.etc / "b.yaml").write_text(RULE.replace("batch", "normal"))
    (tree.run / "a.yaml").write_text(POLICY.replace("500", "700"))
    repository = tree.load()
    assert repository.problems() == ()
    assert [rule.intent for rule in repository.rules()] == [IntentClass.NORMAL]
    policy = repository.policy("fast")
    assert (policy.tunables["slice_us"], policy.origin) == (700, "runtime")


@pytest.mark.parametrize("mask", ["empty", "null", "comment"])
def test_masks(tree: Tree, mask: str) -> None:
    (tree.share / "a.yaml").write_text(POLICY)
    masked = tree.etc / "a.yaml"
    if mask == "null":
        masked.symlink_to("/dev/null")
    else:
        masked.write_text("" if mask == "empty" else "# nothing\n")
    repository = tree.load()
    assert (names(repository), repository.problems()) == (["kernel-default"], ())


def test_only_yaml_files_are_read_and_a_yml_is_told(tree: Tree) -> None:
    (tree.share / "README").write_text("{")
    (tree.share / ".a.yaml").write_text("{")
    (tree.share / "a.yml").write_text(POLICY)
    (problem,) = tree.load().problems()
    assert (problem.message, problem.hint) == ("is not read", "rename it to .yaml")


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "part"),
    [
        ("scheduler: toy", "scheduler: tyo", 5, "policies[0].scheduler", "no scheduler tyo"),
        ("slice_us: 500", "slice_us: 50", 6, "policies[0].tunables.slice_us", "out of range"),
        ("slice_us: 500", "slice_us: 5.5", 6, "policies[0].tunables.slice_us", "whole number"),
        ("slice_us: 500", "slice: 500", 6, "policies[0].tunables.slice", "unknown key"),
        ("slice_us: 500", "preempt: 1", 6, "policies[0].tunables.preempt", "true or false"),
        ("[batch, latency]", "[batch, fast]", 7, "policies[0].intents[1]", "not allowed"),
        ("[batch, latency]", "[]", 7, "policies[0].intents", "empty list"),
        ("[batch, latency]", "[batch]", 8, "policies[0].chosen_for", "latency is not among"),
        ("cpus_min: 2", "cpus_min: 9", 9, "policies[0].machines.cpus_min", "at least 9"),
        ("power: ac", "power: solar", 9, "policies[0].machines.power", "not allowed"),
        ("latency: {delay", "batch: {dela", 10, "policies[0].slo.batch.dela_p99_us", "unknown"),
        ("priority: 60", "priority: 1001", 11, "policies[0].priority", "out of range"),
        ("name: fast", "name: auto", 3, "policies[0].name", "reserved"),
        ("name: fast", "name: Fast", 3, "policies[0].name", "lower-case"),
        ("version: 1", "version: 2", 1, "version", "must be 1"),
        ("version: 1\n", "", 1, "version", "is missing"),
        ("policies:", "polices:", 2, "polices", "unknown key"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(
    tree: Tree, old: str, new: str, line: int, field: str, part: str
) -> None:
    (tree.share / "a.yaml").write_text(POLICY.replace(old, new))
    (tree.share / "b.yaml").write_text(RULE)
    repository = tree.load()
    first = repository.problems()[0]
    assert (Path(first.file).name, first.line, first.field) == ("a.yaml", line, field)
    assert part in first.message
    assert first.hint
    assert repository.problems()[-1].message == "the whole file is left out"
    assert names(repository) == ["kernel-default"]
    assert [rule.name for rule in repository.rules()] == ["build"]


def test_a_range_is_told_with_unit_and_default(tree: Tree) -> None:
    (tree.share / "a.yaml").write_text(POLICY.replace("slice_us: 500", "slice_us: 50"))
    assert tree.load().problems()[0].hint == "use 100 to 20000 us (default 3000)"


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "part"),
    [
        ("executable:", "exe:", 4, "rules[0].match.exe", "unknown key"),
        ("{executable: [make, ninja]}", "{}", 4, "rules[0].match", "matches nothing"),
        ("[make, ninja]", "[]", 4, "rules[0].match.executable", "empty list"),
        ("[make, ninja]", "[make, 7]", 4, "rules[0].match.executable[1]", "must be text"),
        ("executable: [make, ninja]", "cgroup: a/b", 4, "rules[0].match.cgroup", "begins with /"),
        ("executable: [make, ninja]", "kind: app", 4, "rules[0].match.kind[0]", "not allowed"),
        ("intent: batch", "intent: fast", 5, "rules[0].intent", "not allowed"),
        ("    why: runs long\n", "", 3, "rules[0].why", "is missing"),
        ("why: runs long", "why: runs long\n    priority: 0", 7, "rules[0].priority", "range"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place(
    tree: Tree, old: str, new: str, line: int, field: str, part: str
) -> None:
    (tree.share / "a.yaml").write_text(RULE.replace(old, new))
    first = tree.load().problems()[0]
    assert (first.line, first.field) == (line, field)
    assert part in first.message
    assert first.hint


def test_one_name_in_two_files_is_a_conflict(tree: Tree) -> None:
    (tree.share / "a.yaml").write_text(POLICY)
    (tree.share / "b.yaml").write_text(POLICY.replace("500", "700"))
    (tree.share / "c.yaml").write_text(RULE)
    (tree.share / "d.yaml").write_text(RULE)
    repository = tree.load()
    assert told(repository) == [("b.yaml", 3, "fast"), ("d.yaml", 3, "build")]
    assert f"already defined in {tree.share}/a.yaml:3" in repository.problems()[0].message
    assert repository.policy("fast").tunables["slice_us"] == 500


def test_one_name_twice_in_a_file_is_a_conflict_even_on_one_line(tree: Tree) -> None:
    rule = "{name: x, match: {comm: a}, intent: batch, why: w}"
    (tree.share / "a.yaml").write_text(f"version: 1\nrules: [{rule}, {rule}]\n")
    assert told(tree.load()) == [("a.yaml", 2, "rules[1].name")]


def test_a_broken_reload_keeps_the_files_last_good_version(tree: Tree) -> None:
    (tree.share / "a.yaml").write_text(POLICY)
    first = tree.load()
    (tree.share / "a.yaml").write_text(POLICY.replace("500", "5"))
    (tree.share / "b.yaml").write_text(RULE)
    second = tree.load(first)
    assert second.policy("fast").tunables["slice_us"] == 500
    assert len(second.rules()) == 1
    assert second.problems()[-1].message == "its last good version stays in force"
    third = tree.load(second)
    assert third.policy("fast").tunables["slice_us"] == 500
    (tree.share / "a.yaml").write_text(POLICY.replace("500", "700"))
    fourth = tree.load(third)
    assert (fourth.policy("fast").tunables["slice_us"], fourth.problems()) == (700, ())
    (tree.share / "a.yaml").unlink()
    assert names(tree.load(fourth)) == ["kernel-default"]


def test_a_kept_version_is_checked_against_todays_schedulers(tree: Tree) -> None:
    (tree.share / "a.yaml").write_text(POLICY)
    first = tree.load()
    (tree.bpf / "toy.manifest.yaml").unlink()
    second = tree.load(first)
    assert names(second) == ["kernel-default"]
    assert second.problems()[-1].message == "the whole file is left out"


def test_a_broken_manifest_is_told_and_its_policies_are_left_out(tree: Tree) -> None:
    (tree.share / "a.yaml").write_text(POLICY)
    (tree.bpf / "toy.manifest.yaml").write_text("name: [")
    files = [Path(p.file).name for p in tree.load().problems()]
    assert files == ["toy.manifest.yaml", "a.yaml", "a.yaml"]


def test_a_100_mb_file_is_left_out(tree: Tree) -> None:
    with (tree.share / "a.yaml").open("wb") as stream:
        stream.truncate(100 << 20)
    (tree.share / "b.yaml").write_text(RULE)
    repository = tree.load()
    assert "larger than" in repository.problems()[0].message
    assert len(repository.rules()) == 1


def test_check_config_tells_of_policies_too(tree: Tree) -> None:
    (tree.share / "a.yaml").write_text(POLICY)
    told_of = Config(policy="fast", policy_dirs=tuple(tree.dirs), bpf_dir=tree.bpf)
    assert check(told_of) == ()
    (problem,) = check(replace(told_of, policy="fats"))
    assert (problem.field, problem.message) == ("policy", "there is no policy fats")
    assert "did you mean fast?" in problem.hint
    (tree.share / "a.yaml").write_text(POLICY.replace("500", "5"))
    assert [p.field for p in check(told_of)] == ["policies[0].tunables.slice_us", "", "policy"]


_words = st.sampled_from(
    [*POLICY_KEYS, *RULE_KEYS, *MATCH_KEYS, "toy", "latency", "batch", "slice_us", "ac", "build"]
)
_leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 30_000), st.floats(), _words, st.text(max_size=10)
)
_trees = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(_words, inner, max_size=10)
    ),
    max_leaves=25,
)
_entry = st.dictionaries(_words, _trees, max_size=12)
_files = st.fixed_dictionaries(
    {"version": st.sampled_from([1, 1, 1, 2, "1"])},
    optional={"policies": st.lists(_entry, max_size=3), "rules": st.lists(_entry, max_size=3)},
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(_files, _trees))
def test_any_tree_is_a_policy_file_or_problems_with_lines(tree: object) -> None:
    manifests, _ = load_manifests(Path(__file__).parents[1] / "host" / "data")
    problems = Problems("f.yaml")
    data = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    found = read_policy_file(data, problems, manifests, "admin")
    assert found is None or isinstance(found, PolicyFile)
    assert all(isinstance(p, ConfigError) and p.line >= 1 for p in problems.items)
    assert not (found and problems)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(POLICY.splitlines() + RULE.splitlines()), max_size=16))
def test_any_mixture_of_real_lines_is_read_or_refused_with_a_line(lines: list[str]) -> None:
    problems = Problems("f.yaml")
    read_policy_file("\n".join(lines).encode(), problems, {}, "admin")
    assert all(p.line >= 1 for p in problems.items)
