# SPDX-License-Identifier: Apache-2.0
"""What would be wrong if these files were in force beside the installed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import ConfigError
from schedcpd.model import Policy, Rule
from schedcpd.policy.conflicts import overlaps, place
from schedcpd.policy.repository import files_in_force, load_files


@dataclass(frozen=True, slots=True)
class Lint:
    """`errors`: why a file, or one beside it, would be left out. `warnings`: it still would work.

    `policies` and `rules` are those of the given files that would be in force.
    """

    errors: tuple[ConfigError, ...]
    warnings: tuple[ConfigError, ...]
    policies: tuple[Policy, ...]
    rules: tuple[Rule, ...]


def lint(paths: Sequence[Path], policy_dirs: Sequence[Path], bpf_dir: Path) -> Lint:
    """Reads the files as if each lay in the last directory under its own name."""
    errors: list[ConfigError] = []
    installed = files_in_force(policy_dirs, [])
    by_name = {path.name: (path, origin) for path, origin in installed}
    given: dict[str, Path] = {}
    for path in paths:
        if path.suffix != ".yaml":
            hint = "rename it to .yaml"
            errors.append(ConfigError("would not be read", file=str(path), hint=hint))
        elif given.setdefault(path.name, path) != path:
            message = f"has the name of {given[path.name]}: only one of them can be in force"
            errors.append(ConfigError(message, file=str(path), hint="rename one"))
        else:
            by_name[path.name] = (path, "admin")
    before = load_files(installed, bpf_dir).problems()
    names = sorted(by_name)
    after = load_files([by_name[name] for name in names], bpf_dir)
    known = {_said(problem) for problem in before}
    ours = {str(path) for path in given.values()}
    errors += [p for p in after.problems() if p.file in ours or _said(p) not in known]
    policies = tuple(p for p in after.policies() if p.file in ours)
    base_names = set(given)
    rules = tuple(rule for rule in after.rules() if rule.file in base_names)
    return Lint(tuple(errors), tuple(_shadows(after.rules(), given)), policies, rules)


def _said(problem: ConfigError) -> tuple[str, int, str, str]:
    return problem.file, problem.line, problem.field, problem.message


def _shadows(rules: Sequence[Rule], given: dict[str, Path]) -> list[ConfigError]:
    found = []
    for first, later, what in overlaps(rules):
        if first.file not in given and later.file not in given:
            continue
        mine, other = (later, first) if later.file in given else (first, later)
        message = (
            f"matches {what} as {other.name} ({place(other)}) does, with the same priority "
            f"{mine.priority}, but wants {mine.intent} and that one {other.intent}"
        )
        found.append(
            ConfigError(
                message,
                file=str(given[mine.file]),
                line=mine.line,
                field=mine.name,
                hint="give the one that should win a higher priority",
            )
        )
    return found
