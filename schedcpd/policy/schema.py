# SPDX-License-Identifier: Apache-2.0
"""One policy file (`policies.d/*.yaml`, schema version 1), read closed and checked whole.

version: 1
policies:
  - name: server
    description: …
    scheduler: intent            # a manifest must exist
    tunables: {slice_us: 3000}   # over the manifest's defaults, within its ranges
    intents: [latency, batch]    # the classes it serves
    chosen_for: [latency]        # one of these must be wanted (default: any of intents)
    machines: {power: ac, cpus_min: 2, cpus_max: 64, desktop: false}
    slo: {latency: {delay_p99_us: 5000}}
    priority: 50                 # 0 to 1000, higher first
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
from typing import TypeVar

from schedcpd.host import yamlfields
from schedcpd.host.manifest import Manifest
from schedcpd.host.yamlpos import Node, Problems, Scalar, parse
from schedcpd.model import Policy, Rule
from schedcpd.policy.read_policy import read_policy
from schedcpd.policy.read_rule import read_rule

VERSION = 1
MAX_ENTRIES = 500
_T = TypeVar("_T", Policy, Rule)


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What one file declares."""

    policies: tuple[Policy, ...] = ()
    rules: tuple[Rule, ...] = ()


def read_policy_file(
    data: bytes, problems: Problems, manifests: Mapping[str, Manifest], origin: str
) -> PolicyFile | None:
    """The file's policies and rules; None for an empty document or when `problems` were added."""
    root = parse(data, problems)
    if root is None:
        return None
    top = yamlfields.mapping(root, problems, "", ("version", "policies", "rules"), ["version"])
    if top is None:
        return None
    _check_version(top, problems)
    found = PolicyFile(
        _read_all(
            top,
            "policies",
            problems,
            lambda node, where: read_policy(node, problems, where, manifests, origin),
        ),
        _read_all(top, "rules", problems, lambda node, where: read_rule(node, problems, where)),
    )
    return None if problems else found


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
