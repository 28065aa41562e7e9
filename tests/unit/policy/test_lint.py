# SPDX-License-Identifier: Apache-2.0
"""policy: what `lint` says of files that are not in force yet; derived and conflicting entries."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedcpd import lint as program
from schedcpd.model import IntentClass, PolicyLimits
from schedcpd.policy.lint import Lint, lint
from schedcpd.policy.repository import Repository, load

MANIFEST = """\
name: toy
ops: toy
description: A toy.
tunables:
  latency_slice_us: {type: int, unit: us, default: 3000, min: 100, max: 20000, description: S.}
  preempt: {type: bool, default: true, description: Preempts.}
"""
BASE = """\
version: 1
policies:
  - name: base
    description: d
    scheduler: toy
    tunables: {latency_slice_us: 500}
    intents: [latency, batch]
    chosen_for: [latency]
    machines: {power: ac}
    slo: {latency: {delay_p99_us: 5000}}
    limits: {setbacks: 3}
    priority: 60
"""
RULE = "version: 1\nrules:\n  - {name: %s, match: {executable: %s}, intent: %s, why: w%s}\n"


class Tree:
    def __init__(self, root: Path) -> None:
        self.bpf, self.share, self.mine = root / "bpf", root / "share", root / "mine"
        for directory in (self.bpf, self.share, self.mine):
            directory.mkdir()
        (self.bpf / "toy.manifest.yaml").write_text(MANIFEST)
        (self.share / "20-base.yaml").write_text(BASE)

    def load(self) -> Repository:
        return load([self.share], self.bpf)

    def write(self, name: str, text: str) -> Path:
        path = self.mine / name
        path.write_text(text)
        return path

    def lint(self, *paths: Path) -> Lint:
        return lint(paths, [self.share], self.bpf)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def policy(name: str, more: str) -> str:
    return f"version: 1\npolicies:\n  - name: {name}\n    description: d\n    {more}\n"


def said(found: Lint) -> list[tuple[str, int, str]]:
    return [(Path(p.file).name, p.line, p.field) for p in found.errors if p.line]


def test_a_derived_policy_has_all_but_what_it_names(tree: Tree) -> None:
    text = policy("derived", "extends: base\n    tunables: {preempt: false}")
    (tree.share / "30-derived.yaml").write_text(text)
    repository = tree.load()
    assert repository.problems() == ()
    base, derived = repository.policy("base"), repository.policy("derived")
    assert derived.tunables == {"latency_slice_us": 500, "preempt": False}
    assert derived.limits == PolicyLimits(setbacks=3)
    for field in ("intents", "chosen_for", "conditions", "slo_delay_p99_us", "priority"):
        assert getattr(derived, field) == getattr(base, field)
    assert (derived.extends, derived.line, base.extends) == ("base", 3, "")
    assert derived.content_id != base.content_id


def test_a_derived_policy_that_serves_less_promises_less(tree: Tree) -> None:
    text = policy("derived", "extends: base\n    intents: [batch]")
    (tree.share / "30-derived.yaml").write_text(text)
    derived = tree.load().policy("derived")
    assert (derived.chosen_for, derived.slo_delay_p99_us) == ((IntentClass.BATCH,), {})


@pytest.mark.parametrize(
    ("more", "field", "part"),
    [
        ("extends: mine", "extends", "cannot extend itself"),
        ("extends: bsae", "extends", "no policy bsae before this one"),
        ("extends: later", "extends", "no policy later before this one"),
        ("extends: base\n    scheduler: toy", "scheduler", "is for scheduler toy"),
        ("extends: base\n    limits: {setbacks: 0}", "limits.setbacks", "out of range"),
        ("extends: base\n    limits: {setback: 1}", "limits.setback", "unknown key"),
        ("scheduler: toy", "intents", "is missing"),
    ],
)
def test_a_wrong_derivation_is_refused(tree: Tree, more: str, field: str, part: str) -> None:
    later = policy("later", "extends: mine").partition("policies:\n")[2]
    path = tree.write("30-mine.yaml", policy("mine", more) + later)
    first = tree.lint(path).errors[0]
    assert (first.field, first.file) == (f"policies[0].{field}", str(path))
    assert part in first.message and first.hint and first.line >= 3


def test_a_circle_over_two_files_leaves_the_rest_in_force(tree: Tree) -> None:
    (tree.share / "30-a.yaml").write_text(policy("a", "extends: b"))
    (tree.share / "40-b.yaml").write_text(policy("b", "extends: a"))
    repository = tree.load()
    assert [p.name for p in repository.policies()] == ["kernel-default", "base"]
    assert [p.line for p in repository.problems() if p.line] == [5, 5]


def test_rules_that_match_the_same_must_want_the_same(tree: Tree) -> None:
    (tree.share / "50-a.yaml").write_text(RULE % ("a", "[x, y]", "batch", ""))
    same = RULE % ("b", "[y, x, x]", "batch", "")
    other = RULE % ("b", "[y, x]", "latency", "")
    (tree.share / "60-b.yaml").write_text(same)
    assert tree.load().problems() == ()
    (tree.share / "60-b.yaml").write_text(other)
    repository = tree.load()
    first = repository.problems()[0]
    assert (Path(first.file).name, first.line, first.field) == ("60-b.yaml", 3, "b")
    assert "50-a.yaml:3" in first.message and "wants latency" in first.message
    assert [rule.name for rule in repository.rules()] == ["a"]
    (tree.share / "60-b.yaml").write_text(other.replace("why: w", "why: w, priority: 60"))
    assert tree.load().problems() == ()


def test_a_file_is_judged_as_if_it_were_in_force(tree: Tree) -> None:
    (tree.share / "50-a.yaml").write_text(RULE % ("a", "x", "batch", ""))
    assert said(tree.lint(tree.write("60-b.yaml", RULE % ("a", "y", "batch", "")))) == [
        ("60-b.yaml", 3, "a")
    ]
    # before the installed file it is that one which would be left out
    assert said(tree.lint(tree.write("10-b.yaml", RULE % ("a", "y", "batch", "")))) == [
        ("50-a.yaml", 3, "a")
    ]
    # under its name it takes its place
    found = tree.lint(tree.write("50-a.yaml", RULE % ("a", "y", "batch", "")))
    assert (found.errors, [rule.name for rule in found.rules]) == ((), ["a"])


def test_what_is_wrong_with_the_installed_files_is_not_the_given_ones_fault(tree: Tree) -> None:
    (tree.share / "50-a.yaml").write_text("version: 2\n")
    assert tree.lint(tree.write("60-b.yaml", RULE % ("b", "y", "batch", ""))).errors == ()


def test_names_that_cannot_be_in_force(tree: Tree, tmp_path: Path) -> None:
    one = tree.write("a.yaml", RULE % ("a", "x", "batch", ""))
    two = tmp_path / "a.yaml"
    two.write_text(RULE % ("b", "y", "batch", ""))
    found = tree.lint(one, two, tree.write("b.yml", ""))
    assert [(Path(p.file), p.hint) for p in found.errors] == [
        (two, "rename one"),
        (tree.mine / "b.yml", "rename it to .yaml"),
    ]


def test_an_overlap_is_a_warning(tree: Tree) -> None:
    (tree.share / "50-a.yaml").write_text(RULE % ("a", "[x, longer]", "batch", ""))
    found = tree.lint(tree.write("60-b.yaml", RULE % ("b", "[x, z]", "latency", "")))
    assert found.errors == ()
    (warning,) = found.warnings
    assert (warning.line, warning.field) == (3, "b")
    assert "matches executable x as a" in warning.message
    higher = RULE % ("b", "[x, z]", "latency", ", priority: 51")
    assert tree.lint(tree.write("60-b.yaml", higher)).warnings == ()


def test_an_alias_bomb_is_one_problem_and_the_rest_is_read(tree: Tree) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
    )
    path = tree.write("60-bomb.yaml", bomb)
    good = tree.write("70-good.yaml", RULE % ("b", "y", "batch", ""))
    found = tree.lint(path, good)
    assert "once aliases are expanded" in found.errors[0].message and found.errors[0].line > 1
    assert [rule.name for rule in found.rules] == ["b"]


def test_the_program_adds_promises_that_cannot_be_kept(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    text = policy("mine", "extends: base\n    slo: {latency: {delay_p99_us: 100}}")
    path = tree.write("30-mine.yaml", text)
    argv = [str(path), "--policy-dir", str(tree.share), "--bpf-dir", str(tree.bpf)]
    assert program.main(argv) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{path}:3: slo: Policy mine: it promises latency a run delay of 100 us")
    path.write_text(text.replace("100", "600"))
    assert program.main(argv) == 0
    assert capsys.readouterr().out == "1 policies and 0 rules would be in force\n"
