# SPDX-License-Identifier: Apache-2.0
"""Policies of external schedulers: how they are written, and what stands in their way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from schedcpd.host.program_file import ProgramFinder, Programs
from schedcpd.host.scx_programs import PROGRAMS
from schedcpd.model import PolicyAction, PolicyEvent, Standing
from schedcpd.policy.export import policy_json
from schedcpd.policy.repository import Repository, load
from schedcpd.policy.standing import barred, standing

ROOT = Path(__file__).parents[3]
POLICY = """
version: 1
policies:
  - name: games
    description: For games.
    external: {program: scx_bpfland, mode: gaming}
    intents: [latency, interactive]
"""
CHILD = """
  - name: child
    description: Something else.
    extends: games
"""
PLAIN = """
  - name: plain
    description: Ours.
    scheduler: toy
    intents: [latency]
"""
MANIFEST = "{name: toy, ops: toy, description: A toy.}"


class Tree:
    def __init__(self, root: Path) -> None:
        self.policies, self.bpf, self.bin = root / "policies", root / "bpf", root / "bin"
        for directory in (self.policies, self.bpf, self.bin):
            directory.mkdir()
        (self.bpf / "toy.manifest.yaml").write_text(MANIFEST)

    def install(self, name: str) -> None:
        shutil.copy(os.path.realpath("/bin/sh"), self.bin / name)
        (self.bin / name).chmod(0o755)

    def load(self, text: str, *, allowed: bool = True) -> Repository:
        (self.policies / "a.yaml").write_text(text)
        finder = ProgramFinder((self.bin,), os.getuid())
        return load([self.policies], self.bpf, programs=Programs(allowed=allowed, finder=finder))

    def refusals(self, text: str) -> list[tuple[str, str]]:
        """(field, message) of what is wrong, without the sentence on the file's fate."""
        return [(p.field, p.message) for p in self.load(text).problems() if p.line]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_program_with_a_mode_is_a_policy(tree: Tree) -> None:
    tree.install("scx_bpfland")
    repository = tree.load(POLICY)
    assert repository.problems() == ()
    policy = repository.policy("games")
    assert (policy.scheduler, policy.external) == ("scx_bpfland", True)
    assert policy.tunables == {"mode": "gaming"}
    found = repository.objects()["scx_bpfland"]
    assert found.path == str(tree.bin / "scx_bpfland")
    assert repository.missing() == {}
    shown = policy_json(policy)
    assert (shown["external"], shown["tunables"]) == (True, {"mode": "gaming"})


def test_without_a_mode_it_is_auto(tree: Tree) -> None:
    policy = tree.load(POLICY.replace(", mode: gaming", "")).policy("games")
    assert policy.tunables == {"mode": "auto"}


def test_each_mode_is_another_content(tree: Tree) -> None:
    one = tree.load(POLICY).policy("games")
    other = tree.load(POLICY.replace("gaming", "server")).policy("games")
    assert one.content_id != other.content_id


def test_one_extends_another_and_changes_the_mode_alone(tree: Tree) -> None:
    same = tree.load(POLICY + CHILD).policy("child")
    assert (same.scheduler, dict(same.tunables)) == ("scx_bpfland", {"mode": "gaming"})
    other = tree.load(POLICY + CHILD + "    external: {mode: server}\n").policy("child")
    assert (other.scheduler, other.external) == ("scx_bpfland", True)
    assert dict(other.tunables) == {"mode": "server"}


def test_what_cannot_be_run_is_listed_with_the_reason(tree: Tree) -> None:
    repository = tree.load(POLICY)
    assert repository.problems() == ()
    assert repository.policy("games").external
    assert "scx_bpfland" not in repository.objects()
    assert "is not installed" in repository.missing()["scx_bpfland"]
    tree.install("scx_bpfland")
    repository = tree.load(POLICY, allowed=False)
    assert "external.enabled: true" in repository.missing()["scx_bpfland"]
    (tree.bin / "scx_bpfland").chmod(0o777)
    assert "others than root" in tree.load(POLICY).missing()["scx_bpfland"]


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        (POLICY.replace("scx_bpfland", "scx_evil"), "policies[0].external.program", "scx_evil"),
        (POLICY.replace("scx_bpfland", "/bin/sh"), "policies[0].external.program", "/bin/sh"),
        (POLICY.replace("gaming", "fast"), "policies[0].external.mode", "fast"),
        (POLICY.replace("program: scx_bpfland, ", ""), "policies[0].external.program", "missing"),
        (POLICY.replace("gaming", "gaming, args: -v"), "policies[0].external.args", ""),
        (POLICY.replace("{program: scx_bpfland, mode: gaming}", "scx_lavd"), "", "map"),
        (POLICY + "    scheduler: toy\n", "policies[0].scheduler", "external"),
        (POLICY + "    tunables: {mode: server}\n", "policies[0].tunables", "external"),
        (
            POLICY + CHILD + "    external: {program: scx_lavd}\n",
            "policies[1].external.program",
            "is of scx_bpfland",
        ),
        (
            POLICY + PLAIN + CHILD.replace("games", "plain") + "    external: {mode: auto}\n",
            "policies[2].external",
            "is for scheduler toy",
        ),
        (POLICY.replace("scx_bpfland, mode: gaming", "scx_layered, mode: server"), "", "server"),
    ],
)
def test_bad_input_is_refused_by_field(tree: Tree, text: str, field: str, said: str) -> None:
    refusals = tree.refusals(text)
    assert any(field in where and said in message for where, message in refusals), refusals


def test_only_an_administrator_lets_it_be_chosen(tree: Tree) -> None:
    policy = tree.load(POLICY).policy("games")
    assert standing(policy, None) is Standing.TRIAL
    assert "nothing verified" in barred([policy], {})["games"]
    word = PolicyEvent("games", PolicyAction.PROMOTED, policy.content_id, "root", "", 1.0)
    assert standing(policy, word) is Standing.PROMOTED
    assert barred([policy], {"games": word}) == {}


def test_no_shipped_one_is_chosen_by_itself(tree: Tree) -> None:
    shipped = load([ROOT / "policies.d"], tree.bpf).policies()
    external = [policy for policy in shipped if policy.external]
    assert {"bpfland", "lavd", "cosmos", "layered"} <= {policy.name for policy in external}
    assert set(barred(external, {})) == {policy.name for policy in external}
    for policy in external:
        assert policy.tunables["mode"] in PROGRAMS[policy.scheduler].modes
