# SPDX-License-Identifier: Apache-2.0
"""Reads one entry of `policies:`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schedcpd.config import AUTO, KERNEL_DEFAULT, POLICY_NAME
from schedcpd.host import yamlfields
from schedcpd.host.manifest import Manifest, tunable_problem
from schedcpd.host.yamlpos import Node, Problems, Scalar, shown
from schedcpd.model import Conditions, IntentClass, Policy, Power, Tunable
from schedcpd.policy.entry import Entry

KEYS = (
    "name",
    "description",
    "scheduler",
    "tunables",
    "intents",
    "chosen_for",
    "machines",
    "slo",
    "priority",
)
REQUIRED = ("name", "description", "scheduler", "intents")


def read_policy(
    node: Node,
    problems: Problems,
    where: str,
    manifests: Mapping[str, Manifest],
    origin: str,
) -> Policy | None:
    """The policy, or None after every reason was added to `problems`."""
    got = yamlfields.mapping(node, problems, where, KEYS, REQUIRED)
    if got is None:
        return None
    entry = Entry(got, where, problems)
    name = entry.text("name", POLICY_NAME)
    if name in (AUTO, KERNEL_DEFAULT):
        problems.add(entry.line("name"), entry.at("name"), f"{name} is reserved", "rename it")
    description = entry.text("description")
    intents = entry.classes("intents")
    chosen_for = entry.classes("chosen_for") if "chosen_for" in got else intents
    strangers = set(chosen_for or ()) - set(intents or ())
    if strangers and intents:
        message = f"{', '.join(sorted(strangers))} is not among the policy's intents"
        problems.add(entry.line("chosen_for"), entry.at("chosen_for"), message, "add it there")
    manifest = _manifest(entry, manifests)
    tunables = _tunables(entry, manifest)
    conditions = _conditions(entry)
    slo = _slo(entry, intents or ())
    priority = entry.priority(0)
    if name is None or manifest is None or not intents or not chosen_for:
        return None
    return Policy(
        name=name,
        description=(description or "").strip(),
        scheduler=manifest.name,
        tunables=MappingProxyType(tunables),
        intents=intents,
        chosen_for=chosen_for,
        conditions=conditions,
        priority=priority,
        slo_delay_p99_us=MappingProxyType(slo),
        origin=origin,
        file=problems.file,
        line=node.line,
    )


def _manifest(entry: Entry, manifests: Mapping[str, Manifest]) -> Manifest | None:
    name = entry.text("scheduler")
    if name is None or name in manifests:
        return manifests.get(name or "")
    entry.problems.add(
        entry.line("scheduler"),
        entry.at("scheduler"),
        f"there is no scheduler {shown(name)}",
        yamlfields.one_of(name, manifests) if manifests else "none is installed in bpf_dir",
    )
    return None


def _tunables(entry: Entry, manifest: Manifest | None) -> dict[str, Tunable]:
    values = manifest.defaults() if manifest else {}
    node = entry.got.get("tunables")
    if node is None or manifest is None:
        return values
    where, problems = entry.at("tunables"), entry.problems
    known = yamlfields.mapping(node, problems, where, manifest.tunables)
    for name, child in (known or {}).items():
        value = child.value if isinstance(child, Scalar) else yamlfields.describe(child)
        problem = tunable_problem(manifest, name, value)
        if problem:
            problems.add(child.line, f"{where}.{name}", *problem)
        elif isinstance(value, bool | int | float):
            values[name] = float(value) if manifest.tunables[name].type == "float" else value
    return values


def _conditions(entry: Entry) -> Conditions:
    node = entry.got.get("machines")
    if node is None:
        return Conditions()
    problems, where = entry.problems, entry.at("machines")
    keys = ("power", "cpus_min", "cpus_max", "desktop")
    have = yamlfields.mapping(node, problems, where, keys) or {}
    power = desktop = None
    if "power" in have:
        choices = [p.value for p in Power]
        text = yamlfields.text(have["power"], problems, f"{where}.power", choices=choices)
        power = None if text is None else Power(text)
    if "desktop" in have:
        desktop = yamlfields.boolean(have["desktop"], problems, f"{where}.desktop")
    low, high = (
        yamlfields.integer(have[key], problems, f"{where}.{key}", lo=1, hi=65536, unit="CPUs")
        if key in have
        else None
        for key in ("cpus_min", "cpus_max")
    )
    if low is not None and high is not None and low > high:
        message = f"no machine has at least {low} and at most {high} CPUs"
        problems.add(have["cpus_min"].line, f"{where}.cpus_min", message, "swap the two")
    return Conditions(power, low, high, desktop)


def _slo(entry: Entry, intents: tuple[IntentClass, ...]) -> dict[IntentClass, float]:
    node = entry.got.get("slo")
    found: dict[IntentClass, float] = {}
    if node is None:
        return found
    problems, where, key = entry.problems, entry.at("slo"), "delay_p99_us"
    classes = yamlfields.mapping(node, problems, where, [i.value for i in intents])
    for name, child in (classes or {}).items():
        at = f"{where}.{name}"
        have = yamlfields.mapping(child, problems, at, (key,), (key,)) or {}
        if key in have:
            value = yamlfields.number(
                have[key], problems, f"{at}.{key}", lo=1, hi=30_000_000, unit="us"
            )
            if value is not None:
                found[IntentClass(name)] = value
    return found
