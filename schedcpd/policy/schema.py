# SPDX-License-Identifier: Apache-2.0
"""One policy file (`policies.d/*.yaml`, schema version 1), read closed and checked whole.

version: 1
author: Ada                      # optional; "agent" for what a model wrote
policies:
  - name: server
    description: …
    scheduler: intent            # a manifest must exist
    tunables: {slice_us: 3000}   # over the manifest's defaults, within its ranges
    intents: [latency, batch]    # the classes it serves
    chosen_for: [latency]        # one of these must be wanted (default: any of intents)
    machines: {power: ac, cpus_min: 2, cpus_max: 64, desktop: false}
    slo: {latency: {delay_p99_us: 5000}}
    limits: {setbacks: 3}        # no longer chosen by itself with so many
    priority: 50                 # 0 to 1000, higher first
  - name: server-lazy
    description: …
    extends: server              # everything but what is named here; must stand before it
    tunables: {slice_us: 6000}
  - name: lavd-gaming
    description: …
    external: {program: scx_lavd, mode: gaming}   # instead of scheduler and tunables
    intents: [latency, interactive]
rules:
  - name: build-tools
    match: {executable: [make, ninja]}   # every key must match, any glob of it
    exclude: {kind: session}             # no key may match
    intent: batch
    priority: 50                         # 1 to 1000, higher first
    why: compilers run long
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from schedcpd.host import yamlfields
from schedcpd.host.manifest import Manifest
from schedcpd.host.yamlpos import Node, Problems, Scalar, parse
from schedcpd.model import Policy, Rule
from schedcpd.policy.read_policy import read_policy
from schedcpd.policy.read_rule import read_rule

VERSION = 1
KEYS = ("version", "author", "policies", "rules")
MAX_ENTRIES = 500
MAX_AUTHOR = 64
_NONE: Mapping[str, Policy] = MappingProxyType({})
_T = TypeVar("_T", Policy, Rule)


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What one file declares."""

    policies: tuple[Policy, ...] = ()
    rules: tuple[Rule, ...] = ()


def read_policy_file(
    data: bytes,
    problems: Problems,
    manifests: Mapping[str, Manifest],
    origin: str,
    before: Mapping[str, Policy] = _NONE,
) -> PolicyFile | None:
    """The file's policies and rules; None for an empty document or when `problems` were added.

    `before`: the policies of earlier files, which those of this one may extend.
    """
    root = parse(data, problems)
    if root is None:
        return None
    top = yamlfields.mapping(root, problems, "", KEYS, ["version"])
    if top is None:
        return None
    _check_version(top, problems)
    author = _author(top, problems)
    bases = dict(before)

    def policy(node: Node, where: str) -> Policy | None:
        found = read_policy(node, problems, where, manifests, bases, origin, author)
        if found is not None:
            bases.setdefault(found.name, found)
        return found

    def rule(node: Node, where: str) -> Rule | None:
        return read_rule(node, problems, where)

    policies = _read_all(top, "policies", problems, policy)
    rules = _read_all(top, "rules", problems, rule)
    return None if problems else PolicyFile(policies, rules)


def _author(top: Mapping[str, Node], problems: Problems) -> str:
    if "author" not in top:
        return ""
    return yamlfields.text(top["author"], problems, "author", longest=MAX_AUTHOR) or ""


def _check_version(top: Mapping[str, Node], problems: Problems) -> None:
    node = top.get("version")
    value = node.value if isinstance(node, Scalar) else None
    if node is not None and (value != VERSION or isinstance(value, bool)):
        message = f"must be {VERSION}, is {yamlfields.describe(node)}"
        problems.add(node.line, "version", message, f"write version: {VERSION}")


def _read_all(
    top: Mapping[str, Node],
    key: str,
    problems: Problems,
    read: Callable[[Node, str], _T | None],
) -> tuple[_T, ...]:
    nodes: tuple[Node, ...] = ()
    if key in top:
        nodes = yamlfields.items(top[key], problems, key, at_most=MAX_ENTRIES) or ()
    found: dict[str, _T] = {}
    for i, node in enumerate(nodes):
        entry = read(node, f"{key}[{i}]")
        if entry is None:
            continue
        if entry.name in found:
            first = found[entry.name].line
            message = f"{entry.name} is defined twice (first on line {first})"
            problems.add(node.line, f"{key}[{i}].name", message, "rename or remove one of them")
        found.setdefault(entry.name, entry)
    return tuple(found.values())
