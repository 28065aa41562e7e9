# SPDX-License-Identifier: Apache-2.0
"""Reads one entry of `rules:`."""

from __future__ import annotations

import re
from types import MappingProxyType

from schedcpd.host import globs, yamlfields
from schedcpd.host.yamlpos import Map, Node, Problems, shown
from schedcpd.model import AppKind, IntentClass, Rule
from schedcpd.policy.entry import CLASSES, Entry

RULE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
MATCH_KEYS = (
    "unit",
    "slice",
    "desktop_id",
    "container",
    "image",
    "label",
    "executable",  # of the leading process
    "any_executable",  # of any process in the cgroup
    "comm",
    "cgroup",
    "kind",
)
KEYS = ("name", "match", "exclude", "intent", "priority", "why")
REQUIRED = ("name", "match", "intent", "why")


def read_rule(node: Node, problems: Problems, where: str) -> Rule | None:
    """The rule, or None after every reason was added to `problems`."""
    got = yamlfields.mapping(node, problems, where, KEYS, REQUIRED)
    if got is None:
        return None
    entry = Entry(got, where, problems)
    name = entry.text("name", RULE_NAME)
    match = _globs(entry, "match")
    if "match" in got and isinstance(got["match"], Map) and not got["match"].entries:
        hint = "add a key, one of: " + ", ".join(MATCH_KEYS)
        problems.add(entry.line("match"), entry.at("match"), "matches nothing", hint)
    exclude = _globs(entry, "exclude")
    intent = None
    if "intent" in got:
        intent = yamlfields.text(got["intent"], problems, entry.at("intent"), choices=CLASSES)
    priority = entry.priority(1)
    why = entry.text("why")
    if name is None or intent is None or why is None:
        return None
    return Rule(
        name=name,
        match=MappingProxyType(match),
        exclude=MappingProxyType(exclude),
        intent=IntentClass(intent),
        priority=priority,
        why=" ".join(why.split()),
        file=problems.file.rpartition("/")[2],
        line=node.line,
    )


def _globs(entry: Entry, field: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    if field not in entry.got:
        return found
    problems, where = entry.problems, entry.at(field)
    known = yamlfields.mapping(entry.got[field], problems, where, MATCH_KEYS)
    for key, node in (known or {}).items():
        at = f"{where}.{key}"
        kinds = [kind.value for kind in AppKind] if key == "kind" else None
        values = yamlfields.texts(node, problems, at, single=True, choices=kinds)
        if values == ():
            problems.add(node.line, at, "is an empty list", "name a glob or remove the key")
        for value in values or ():
            said = globs.complaint(value, path=key == "cgroup")
            if said:
                hint = "write it as /system.slice/*" if key == "cgroup" else "change it"
                problems.add(node.line, at, f'"{shown(value)}" {said}', hint)
        found[key] = values or ()
    return found
