# SPDX-License-Identifier: Apache-2.0
"""`schedctl policy lint`: reads policy files as the daemon would, without it.

python -m schedcpd.lint FILE... [--json] [--policy-dir DIR]... [--bpf-dir DIR]

Exit codes: 0 nothing is wrong (warnings do not count), 1 something is, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from schedcpd.config import Config
from schedcpd.errors import ConfigError
from schedcpd.examine import TREE, bpf_dir
from schedcpd.host.yamlpos import shown
from schedcpd.model import Machine, Rule
from schedcpd.policy.export import policy_json
from schedcpd.policy.lint import Lint, lint
from schedcpd.verify.checks.policy import PolicySubject, check_policy

VERSION = 1


def _policy_dirs() -> tuple[Path, ...]:
    """The daemon's defaults; in a checkout on a machine without them, the checkout's own."""
    dirs = Config().policy_dirs
    own = TREE / "policies.d"
    return dirs if dirs[0].is_dir() or not own.is_dir() else (own, *dirs[1:])


def objectives(found: Lint) -> list[ConfigError]:
    """Promises that no scheduler keeps, by the verifier's own check."""
    subject = PolicySubject("", (), found.policies, len(found.rules), Machine(1))
    problems = []
    for finding in check_policy(subject).findings:
        file, _, line = finding.evidence.rpartition(":")
        if finding.reason == "policy.slo" and line.isdigit():
            problems.append(
                ConfigError(
                    finding.sentence, file=file, line=int(line), field="slo", hint=finding.hint
                )
            )
    return problems


def _problem_json(problem: ConfigError) -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line,
        "field": problem.field,
        "message": problem.message,
        "hint": problem.hint,
    }


def _rule_json(rule: Rule) -> dict[str, object]:
    return {
        "name": rule.name,
        "match": {key: list(globs) for key, globs in rule.match.items()},
        "exclude": {key: list(globs) for key, globs in rule.exclude.items()},
        "intent": rule.intent.value,
        "priority": rule.priority,
        "why": rule.why,
        "file": rule.file,
        "line": rule.line,
    }


def document(paths: Sequence[Path], errors: Sequence[ConfigError], found: Lint) -> str:
    content = {
        "files": [str(path) for path in paths],
        "passed": not errors,
        "errors": [_problem_json(problem) for problem in errors],
        "warnings": [_problem_json(problem) for problem in found.warnings],
        "policies": [policy_json(policy) for policy in found.policies],
        "rules": [_rule_json(rule) for rule in found.rules],
    }
    return json.dumps({"version": VERSION, "lint": content}, indent=2)


def report(errors: Sequence[ConfigError], found: Lint) -> str:
    """A line a problem, then one that sums up."""
    lines = [str(problem) for problem in errors]
    lines += [f"{problem} [warning]" for problem in found.warnings]
    counted = f"{len(found.policies)} policies and {len(found.rules)} rules would be in force"
    warned = f", {len(found.warnings)} warnings" if found.warnings else ""
    lines.append(f"{len(errors)} problems{warned}; {counted}" if errors else f"{counted}{warned}")
    return "\n".join(shown(line, 4000) for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="schedctl policy lint", description=__doc__.splitlines()[0]
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--policy-dir", action="append", type=Path, metavar="DIR", default=[])
    parser.add_argument("--bpf-dir", type=Path, metavar="DIR", help="manifests of the schedulers")
    options = parser.parse_args(argv)
    dirs = tuple(options.policy_dir) or _policy_dirs()
    found = lint(options.files, dirs, options.bpf_dir or bpf_dir())
    errors = [*found.errors, *objectives(found)]
    print(document(options.files, errors, found) if options.json else report(errors, found))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
