# SPDX-License-Identifier: Apache-2.0
"""A scheduler's manifest, and the one place where tunables are checked.

`<bpf_dir>/<scheduler>.manifest.yaml` lies beside `<scheduler>.bpf.o` and says what the scheduler
is for and which tunables it has. Policy files, D-Bus callers and the scheduler host all check
values through `check_tunables`, so a value that one accepts the others accept too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from schedcpd.errors import ConfigError, InvalidArgumentError
from schedcpd.host import yamlfields
from schedcpd.host.yamlpos import MAX_BYTES, Map, Node, Problems, Scalar, parse, read_bytes, shown
from schedcpd.model import Tunable

SUFFIX = ".manifest.yaml"
OBJECT_SUFFIX = ".bpf.o"
MAX_OBJECT_BYTES = 16 * MAX_BYTES
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_TYPES = ("int", "float", "bool")
_KEYS = ("name", "ops", "description", "suits", "bad_at", "tunables")
_TUNABLE_KEYS = ("type", "unit", "default", "min", "max", "live", "description")
_I64 = 2.0**63


@dataclass(frozen=True, slots=True)
class TunableSpec:
    """One tunable. `minimum` and `maximum` are None for a bool. `live`: settable while running."""

    name: str
    type: str  # "int", "float" or "bool"
    unit: str
    default: Tunable
    minimum: int | float | None
    maximum: int | float | None
    live: bool
    description: str

    @property
    def span(self) -> str:
        """What is allowed, in words."""
        if self.type == "bool":
            return "true or false"
        return f"{self.minimum} to {self.maximum}" + (f" {self.unit}" if self.unit else "")

    def complaint(self, value: object) -> str:
        """Why `value` is not allowed, "" when it is. No value is ever converted to fit."""
        if self.type == "bool":
            return "" if isinstance(value, bool) else f"must be true or false, is {shown(value)}"
        wanted = int if self.type == "int" else int | float
        if isinstance(value, bool) or not isinstance(value, wanted):
            kind = "a whole number" if self.type == "int" else "a number"
            return f"must be {kind}, is {shown(repr(value))}"
        assert self.minimum is not None and self.maximum is not None
        inside = self.minimum <= value <= self.maximum  # false for NaN
        return "" if inside else f"{shown(value)} is out of range"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one scheduler declares of itself. `ops`: its name in /sys/kernel/sched_ext/root/ops."""

    name: str
    ops: str
    description: str
    suits: tuple[str, ...]
    bad_at: tuple[str, ...]
    tunables: Mapping[str, TunableSpec]
    file: str

    def defaults(self) -> dict[str, Tunable]:
        return {name: spec.default for name, spec in sorted(self.tunables.items())}


def tunable_problem(manifest: Manifest, name: str, value: object) -> tuple[str, str] | None:
    """(sentence, fix) when `value` cannot be given to the tunable `name`, else None."""
    spec = manifest.tunables.get(name)
    if spec is None:
        return (
            f"scheduler {manifest.name} has no tunable {shown(name)}",
            yamlfields.one_of(name, manifest.tunables),
        )
    said = spec.complaint(value)
    return (said, f"use {spec.span} (default {_word(spec.default)})") if said else None


def check_tunables(manifest: Manifest, values: Mapping[str, object]) -> dict[str, Tunable]:
    """Every tunable of the scheduler with its value: `values` over the defaults, sorted by name.

    Raises InvalidArgumentError that names every wrong tunable and what is allowed.
    """
    wrong: list[str] = []
    hints: list[str] = []
    good = manifest.defaults()
    for name, value in values.items():
        problem = tunable_problem(manifest, name, value)
        if problem:
            wrong.append(f"{shown(name)}: {problem[0]}")
            hints.append(f"{shown(name)}: {problem[1]}")
        elif isinstance(value, bool | int | float):
            as_float = manifest.tunables[name].type == "float"
            good[name] = float(value) if as_float else value
    if wrong:
        raise InvalidArgumentError("; ".join(wrong), hint="; ".join(hints))
    return good


def load_manifest(path: Path) -> tuple[Manifest | None, list[ConfigError]]:
    """One manifest, or None and everything wrong with it."""
    problems = Problems(str(path))
    data = read_bytes(path, problems)
    root = None if data is None else parse(data, problems)
    if root is None:
        if not problems:
            problems.add(1, "", "is empty", "write the manifest or remove the file")
        return None, problems.errors()
    manifest = _read(root, problems, path)
    return (None if problems else manifest), problems.errors()


def load_manifests(bpf_dir: Path) -> tuple[Mapping[str, Manifest], list[ConfigError]]:
    """Every good manifest in `bpf_dir` by scheduler name, and every problem of the others."""
    found: dict[str, Manifest] = {}
    problems: list[ConfigError] = []
    for path in sorted(bpf_dir.glob(f"*{SUFFIX}")):
        manifest, wrong = load_manifest(path)
        problems += wrong
        if manifest is not None:
            found[manifest.name] = manifest
    return MappingProxyType(found), problems


def object_path(bpf_dir: Path, scheduler: str) -> Path:
    return bpf_dir / f"{scheduler}{OBJECT_SUFFIX}"


def object_sha256(path: Path) -> str | None:
    """SHA-256 of a scheduler object in hex; None when it cannot be read or is over 16 MiB."""
    data = read_bytes(path, Problems(str(path)), MAX_OBJECT_BYTES)
    return hashlib.sha256(data).hexdigest() if data else None


def _word(value: Tunable) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(root: Node, problems: Problems, path: Path) -> Manifest | None:
    top = yamlfields.mapping(root, problems, "", _KEYS, ("name", "ops", "description"))
    if top is None:
        return None
    wanted = path.name.removesuffix(SUFFIX) if path.name.endswith(SUFFIX) else path.parent.name
    means = "a lower-case name of at most 31 characters"
    texts = {
        key: yamlfields.text(top[key], problems, key, pattern=pattern, pattern_means=means)
        for key, pattern in (("name", NAME), ("ops", NAME), ("description", None))
        if key in top
    }
    name = texts.get("name")
    if name is not None and name != wanted:
        line = top["name"].line
        problems.add(line, "name", f"is {name}, but the file is of {wanted}", f"write {wanted}")
    lists = {
        key: yamlfields.texts(top[key], problems, key, single=True, at_most=50)
        for key in ("suits", "bad_at")
        if key in top
    }
    tunables: dict[str, TunableSpec] = {}
    node = top.get("tunables")
    if isinstance(node, Map):
        for key, child in node.entries.items():
            spec = _read_tunable(key, child, problems)
            if spec is not None:
                tunables[key] = spec
    elif node is not None:
        problems.add(node.line, "tunables", "must be a map of names", "write `name: {type: …}`")
    return Manifest(
        name or "",
        texts.get("ops") or "",
        texts.get("description") or "",
        lists.get("suits") or (),
        lists.get("bad_at") or (),
        MappingProxyType(tunables),
        str(path),
    )


def _read_tunable(name: str, node: Node, problems: Problems) -> TunableSpec | None:
    where = yamlfields.join("tunables", name)
    if not NAME.fullmatch(name):
        problems.add(node.line, where, "is not a lower-case C name", "rename it")
    known = yamlfields.mapping(
        node, problems, where, _TUNABLE_KEYS, ("type", "default", "description")
    )
    if known is None or not {"type", "default", "description"} <= set(known):
        return None
    kind = yamlfields.text(known["type"], problems, f"{where}.type", choices=_TYPES)
    said = yamlfields.text(known["description"], problems, f"{where}.description")
    unit = ""
    if "unit" in known:
        unit = yamlfields.text(known["unit"], problems, f"{where}.unit", empty=True) or ""
    live = False
    if "live" in known:
        live = yamlfields.boolean(known["live"], problems, f"{where}.live") or False
    limits: dict[str, int | float | None] = {"min": None, "max": None}
    for key in limits if kind in ("int", "float") else ():
        if key not in known:
            problems.add(node.line, f"{where}.{key}", "is missing", f"add `{key}:`")
            return None
        limits[key] = yamlfields.number(
            known[key], problems, f"{where}.{key}", lo=-_I64, hi=2 * _I64, whole=kind == "int"
        )
        if limits[key] is None:
            return None
    default = known["default"].value if isinstance(known["default"], Scalar) else None
    if kind is None or said is None or not isinstance(default, bool | int | float):
        problems.add(known["default"].line, f"{where}.default", "is no value", "write a number")
        return None
    spec = TunableSpec(name, kind, unit, default, limits["min"], limits["max"], live, said)
    complaint = spec.complaint(default)
    if complaint:
        problems.add(known["default"].line, f"{where}.default", complaint, f"use {spec.span}")
        return None
    return spec
