# SPDX-License-Identifier: Apache-2.0
"""Reads one entry of `policies:`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schedcpd.config import AUTO, KERNEL_DEFAULT, POLICY_NAME
from schedcpd.host import yamlfields
from schedcpd.host.manifest import Manifest, tunable_problem
from schedcpd.host.scx_programs import MODE
from schedcpd.host.yamlpos import Map, Node, Problems, Scalar, shown
from schedcpd.model import Conditions, IntentClass, Policy, PolicyLimits, Power, Tunable
from schedcpd.policy.entry import Entry
from schedcpd.policy.read_external import read_external

KEYS = (
    "name",
    "description",
    "extends",
    "scheduler",
    "external",
    "tunables",
    "intents",
    "chosen_for",
    "machines",
    "slo",
    "limits",
    "priority",
)
REQUIRED = ("name", "description")
REQUIRED_ALONE = ("scheduler", "intents")  # unless it extends another or is external
REQUIRED_EXTERNAL = ("intents",)


def read_policy(
    node: Node,
    problems: Problems,
    where: str,
    manifests: Mapping[str, Manifest],
    bases: Mapping[str, Policy],
    origin: str,
    author: str = "",
) -> Policy | None:
    """The policy, or None after every reason was added to `problems`.

    `bases` are the policies that stand before it: those it may extend.
    """
    keys = node.entries if isinstance(node, Map) else {}
    required = REQUIRED
    if "extends" not in keys:
        required = (*REQUIRED, *(REQUIRED_EXTERNAL if "external" in keys else REQUIRED_ALONE))
    got = yamlfields.mapping(node, problems, where, KEYS, required)
    if got is None:
        return None
    entry = Entry(got, where, problems)
    name = entry.text("name", POLICY_NAME)
    if name in (AUTO, KERNEL_DEFAULT):
        problems.add(entry.line("name"), entry.at("name"), f"{name} is reserved", "rename it")
    description = entry.text("description")
    base = _base(entry, name, bases)
    intents = entry.classes("intents") if "intents" in got or base is None else base.intents
    chosen_for = _chosen_for(entry, intents, base)
    external = read_external(entry, base)
    if external is None:
        manifest = _manifest(entry, manifests, base)
        scheduler = manifest.name if manifest else ""
        tunables = _tunables(entry, manifest, base)
    else:
        scheduler, tunables = external.program, {MODE: external.mode}
    conditions = base.conditions if base and "machines" not in got else _conditions(entry)
    slo = _slo(entry, intents or (), base)
    limits = base.limits if base and "limits" not in got else _limits(entry)
    priority = base.priority if base and "priority" not in got else entry.priority(0)
    if name is None or not scheduler or not intents or not chosen_for:
        return None
    return Policy(
        name=name,
        description=(description or "").strip(),
        scheduler=scheduler,
        tunables=MappingProxyType(tunables),
        intents=intents,
        chosen_for=chosen_for,
        conditions=conditions,
        priority=priority,
        slo_delay_p99_us=MappingProxyType(slo),
        origin=origin,
        file=problems.file,
        line=node.line,
        limits=limits,
        extends=base.name if base else "",
        author=author,
        external=external is not None,
    )


def _base(entry: Entry, name: str | None, bases: Mapping[str, Policy]) -> Policy | None:
    """What the policy extends. Only what stands before it can be, so there are no circles."""
    wanted = entry.text("extends")
    if wanted is None or wanted in bases:
        return bases.get(wanted or "")
    message, hint = f"there is no policy {shown(wanted)} before this one", ""
    if wanted == name:
        message, hint = "a policy cannot extend itself", "name another, or remove the key"
    elif bases:
        hint = "a policy extends one that stands above it or in a file before; "
        hint += yamlfields.one_of(wanted, bases)
    entry.problems.add(
        entry.line("extends"), entry.at("extends"), message, hint or "write it above"
    )
    return None


def _chosen_for(
    entry: Entry, intents: tuple[IntentClass, ...] | None, base: Policy | None
) -> tuple[IntentClass, ...] | None:
    if "chosen_for" not in entry.got:
        if base is None or intents is None:
            return intents
        return tuple(i for i in base.chosen_for if i in intents) or intents
    found = entry.classes("chosen_for")
    strangers = set(found or ()) - set(intents or ())
    if strangers and intents:
        message = f"{', '.join(sorted(strangers))} is not among the policy's intents"
        line, at = entry.line("chosen_for"), entry.at("chosen_for")
        entry.problems.add(line, at, message, "add it there")
    return found


def _manifest(
    entry: Entry, manifests: Mapping[str, Manifest], base: Policy | None
) -> Manifest | None:
    if base is not None:
        if "scheduler" in entry.got:
            message = f"{base.name}, which it extends, is for scheduler {base.scheduler}"
            line, at = entry.line("scheduler"), entry.at("scheduler")
            entry.problems.add(line, at, message, "remove `scheduler:` or `extends:`")
        return manifests.get(base.scheduler)
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


def _tunables(entry: Entry, manifest: Manifest | None, base: Policy | None) -> dict[str, Tunable]:
    values = manifest.defaults() if manifest else {}
    if base is not None:
        values.update(base.tunables)
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


def _limits(entry: Entry) -> PolicyLimits:
    node = entry.got.get("limits")
    if node is None:
        return PolicyLimits()
    problems, where, key = entry.problems, entry.at("limits"), "setbacks"
    have = yamlfields.mapping(node, problems, where, (key,)) or {}
    if key not in have:
        return PolicyLimits()
    return PolicyLimits(
        yamlfields.integer(have[key], problems, f"{where}.{key}", lo=1, hi=1000, unit="setbacks")
    )


def _slo(
    entry: Entry, intents: tuple[IntentClass, ...], base: Policy | None
) -> dict[IntentClass, float]:
    node = entry.got.get("slo")
    found: dict[IntentClass, float] = {}
    if node is None:
        promised = base.slo_delay_p99_us if base else {}
        return {intent: us for intent, us in promised.items() if intent in intents}
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
