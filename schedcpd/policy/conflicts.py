# SPDX-License-Identifier: Apache-2.0
"""Entries that cannot stand beside each other, and rules of which one would shadow another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from schedcpd.host.yamlpos import Problems, shown
from schedcpd.model import Policy, Rule

_WILD = frozenset("*?[")
_Key = tuple[object, ...]


def place(entry: Policy | Rule) -> str:
    return f"{entry.file}:{entry.line}"


def check_names(
    entries: Iterable[Policy | Rule],
    known: Mapping[str, Policy] | Mapping[str, Rule],
    what: str,
    problems: Problems,
) -> None:
    """A name over all files once."""
    for entry in entries:
        first = known.get(entry.name)
        if first is not None:
            message = f"the {what} {entry.name} is already defined in {place(first)}"
            hint = "rename one, or override by the file's name"
            problems.add(entry.line, entry.name, message, hint)


def check_rules(rules: Iterable[Rule], known: Iterable[Rule], problems: Problems) -> None:
    """Two rules that match the same with one priority must want the same."""
    seen = {meaning(rule): rule for rule in known}
    for rule in rules:
        first = seen.setdefault(meaning(rule), rule)
        if first.intent is not rule.intent:
            message = (
                f"matches exactly what {first.name} ({place(first)}) matches, with the same "
                f"priority {rule.priority}, but wants {rule.intent} and that one {first.intent}"
            )
            hint = "give one of them a higher priority, or remove it"
            problems.add(rule.line, rule.name, message, hint)


def meaning(rule: Rule) -> _Key:
    """What two rules have in common that match exactly the same with one priority."""

    def flat(globs: Mapping[str, tuple[str, ...]]) -> _Key:
        return tuple(sorted((key, tuple(sorted(set(each)))) for key, each in globs.items()))

    return rule.priority, flat(rule.match), flat(rule.exclude)


def overlaps(rules: Iterable[Rule]) -> Iterator[tuple[Rule, Rule, str]]:
    """(earlier, later, what) of rules that match a name both, alike, and want different things.

    Which of them wins is decided by how many characters their other globs have, or by their
    names: rarely what somebody meant. Only plain names under one key are compared.
    """
    seen: dict[_Key, Rule] = {}
    for rule in rules:
        if len(rule.match) != 1 or rule.exclude:
            continue
        ((key, globs),) = rule.match.items()
        for glob in globs:
            if not _WILD.isdisjoint(glob):
                continue
            first = seen.setdefault((rule.priority, key, glob), rule)
            if first.intent is not rule.intent:
                yield first, rule, f"{key} {shown(glob)}"
