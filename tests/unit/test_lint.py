# SPDX-License-Identifier: Apache-2.0
"""The linters of .pre-commit-config.yaml, run as tests over every tracked file.

A tool that is not installed fails its test: pre-commit reports it as a failed hook. That each hook
sees the files it is meant for is what the planted faults show.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / ".pre-commit-config.yaml"
HOOKS = [
    hook["id"]
    for repo in yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["repos"]
    for hook in repo["hooks"]
]
ASKED_FOR = {"ruff-format", "ruff-check", "mypy", "clang-format", "shellcheck", "codespell"}


def run_hook(hook: str, path: str, cache: Path, cwd: Path = ROOT) -> tuple[bool, str]:
    """Whether the hook passed, and what it printed."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
        "PATH": path,
        "PRE_COMMIT_HOME": str(cache),
        "PRE_COMMIT_COLOR": "never",
    }
    argv = [sys.executable, "-m", "pre_commit", "run", hook, "--all-files", "--verbose"]
    done = subprocess.run(
        [*argv, "--config", str(CONFIG)],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode == 0, done.stdout


def tools_path() -> str:
    """The directory of this interpreter first: that is where `[lint]` installs the tools."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def test_every_linter_asked_for_is_a_hook() -> None:
    assert set(HOOKS) >= ASKED_FOR


def test_hooks_fetch_nothing() -> None:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {hook["language"] for repo in config["repos"] for hook in repo["hooks"]} == {"system"}


@pytest.mark.parametrize("hook", HOOKS)
def test_lint(hook: str, tmp_path: Path) -> None:
    passed, output = run_hook(hook, tools_path(), tmp_path)
    assert passed, output


BAD = {
    "ruff-format": ("bad.py", "x = [1,\n2]\n"),
    "ruff-check": ("bad.py", "import os\n"),
    "mypy": ("schedcpd/bad.py", "x: int = 'one'\n"),
    "clang-format": ("bad.c", "int main( ){return 0 ;}\n"),
    "shellcheck": ("bad.sh", "#!/bin/sh\necho $1\n"),
    "codespell": ("bad.md", "It is " + "rec" + "ieved here.\n"),
}


@pytest.mark.parametrize("hook", sorted(BAD))
def test_a_planted_fault_is_caught(hook: str, tmp_path: Path) -> None:
    """Each linter, with this project's configuration, in a small repository with one fault."""
    repo = tmp_path / "repo"
    (repo / "schedcpd").mkdir(parents=True)
    (repo / "schedctl").mkdir()
    (repo / "schedbench").mkdir()
    for name in ("pyproject.toml", ".clang-format"):
        (repo / name).write_bytes((ROOT / name).read_bytes())
    for package in ("schedcpd", "schedctl", "schedbench"):
        (repo / package / "__init__.py").touch()
    name, text = BAD[hook]
    (repo / name).write_text(text, encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    for argv in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(argv, cwd=repo, env=env, check=True, timeout=60)
    passed, output = run_hook(hook, tools_path(), tmp_path / "cache", cwd=repo)
    assert not passed, output
    assert Path(name).stem in output, output


def test_a_missing_tool_is_a_failure(tmp_path: Path) -> None:
    git = Path(subprocess.check_output(["sh", "-c", "command -v git"], text=True).strip())
    only_git = tmp_path / "bin"
    only_git.mkdir()
    (only_git / "git").symlink_to(git)
    passed, output = run_hook("codespell", str(only_git), tmp_path / "cache")
    assert not passed
    assert "not found" in output, output
