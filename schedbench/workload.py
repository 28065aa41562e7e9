# SPDX-License-Identifier: Apache-2.0
"""Loads `schedbench/workloads/<name>.yaml`: a closed schema, every problem with file, line, fix.

The schema is described in docs/schedbench/workloads.md.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from schedbench import drivers, guestfiles
from schedbench.model import Better, Clock, Metric, Part, Size, SizeClass, Slo, Workload
from schedcpd.errors import ConfigError, ConfigErrors, NotFoundError
from schedcpd.host import yamlfields, yamlpos
from schedcpd.host.yamlpos import Node, Problems, Scalar
from schedcpd.model import IntentClass

FOLDER = Path(__file__).parent / "workloads"
FIELDS = (
    "title", "why", "packages", "drivers", "programs", "parts", "setup", "run", "check",
    "metrics", "slos", "sizes", "clocks", "clock_defined", "visible", "perturbation",
)  # fmt: skip
OPTIONAL = ("packages", "drivers", "programs", "setup", "clock_defined")
VISIBLE = ("title", "why", "metrics", "slos", "run", "perturbation")
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_NAME_MEANS = "a name of lower-case letters, digits and dashes, at most 32"
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_PROGRAM = re.compile(r"(/[A-Za-z0-9._+-]+)+")
_ENV = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONGEST_SCRIPT = 20_000
INTENTS = tuple(intent.value for intent in IntentClass)


def names(folder: Path = FOLDER) -> tuple[str, ...]:
    """The workloads there are."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def load(name: str, folder: Path = FOLDER) -> Workload:
    """One workload. Raises NotFoundError, or ConfigErrors with everything that is wrong."""
    path = folder / f"{name}.yaml"
    if name not in names(folder):
        raise NotFoundError(
            f"there is no workload {yamlpos.shown(name)!r}",
            hint=yamlfields.one_of(name, names(folder)),
        )
    return read(path)


def load_all(folder: Path = FOLDER) -> dict[str, Workload]:
    """Every workload by its name. Raises ConfigErrors with what is wrong in all files."""
    found: dict[str, Workload] = {}
    problems: list[ConfigError] = []
    for name in names(folder):
        try:
            found[name] = load(name, folder)
        except ConfigErrors as errors:
            problems += errors.problems
    if problems:
        raise ConfigErrors(problems)
    return found


def read(path: Path) -> Workload:
    """The workload that a file holds. Raises ConfigErrors."""
    problems = Problems(str(path))
    data = yamlpos.read_bytes(path, problems)
    workload = None if data is None else parse(data, path.stem, problems)
    if problems or workload is None or data is None:
        if not problems:
            problems.add(1, "", "is empty", "write a workload, or remove the file")
        raise ConfigErrors(problems.errors())
    digest = hashlib.sha256(data)
    for name in guestfiles.drivers_of(workload):
        digest.update(b"\0" + drivers.source(name))
    return replace(workload, digest=digest.hexdigest())


def parse(data: bytes, name: str, problems: Problems) -> Workload | None:
    """The workload without its digest, or None after every reason was added to `problems`."""
    root = yamlpos.parse(data, problems)
    if root is None:
        return None
    required = [field for field in FIELDS if field not in OPTIONAL]
    got = yamlfields.mapping(root, problems, "", FIELDS, required)
    if not NAME.fullmatch(name):
        problems.add(0, "", f"{yamlpos.shown(name)!r} is not {_NAME_MEANS}", "rename the file")
    if got is None or not set(required) <= set(got):
        return None
    reader = _Reader(got, problems)
    metrics, parts, sizes = reader.metrics(), reader.parts(), reader.sizes()
    for index, part in enumerate(parts):
        if part.work_ms and not all(part.work_ms in size.env for size in sizes.values()):
            message, where = (
                f"{part.work_ms} is no variable of the sizes",
                f"parts[{index}].work_ms",
            )
            problems.add(got["parts"].line, where, message, "name one that `sizes` set")
    workload = Workload(
        name=name,
        title=reader.text("title"),
        why=reader.text("why").strip(),
        packages=reader.words("packages", _PACKAGE, "a package's name"),
        drivers=reader.choice("drivers", drivers.names()),
        programs=reader.words("programs", _PROGRAM, "an absolute path"),
        parts=parts,
        setup=reader.script("setup", empty=True),
        run=reader.script("run"),
        check=reader.script("check"),
        metrics=metrics,
        slos=reader.slos({metric.name: metric for metric in metrics}),
        sizes=sizes,
        clocks=frozenset(Clock(word) for word in reader.choice("clocks", list(Clock), some=True)),
        clock_defined=reader.flag("clock_defined"),
        visible=reader.choice("visible", VISIBLE),
        perturbation=reader.text("perturbation").strip(),
    )
    return None if problems else workload


class _Reader:
    """Reads the fields of one file; what is wrong goes to `problems`, and a neutral value back."""

    def __init__(self, got: Mapping[str, Node], problems: Problems) -> None:
        self.got, self.problems = got, problems

    def text(self, field: str) -> str:
        return yamlfields.text(self.got[field], self.problems, field) or ""

    def script(self, field: str, *, empty: bool = False) -> str:
        if field not in self.got:
            return ""
        node = self.got[field]
        found = yamlfields.text(node, self.problems, field, empty=empty, longest=LONGEST_SCRIPT)
        return f"{found.rstrip()}\n" if found else ""

    def flag(self, field: str) -> bool:
        node = self.got.get(field)
        return node is not None and bool(yamlfields.boolean(node, self.problems, field))

    def words(self, field: str, pattern: re.Pattern[str], means: str) -> tuple[str, ...]:
        if field not in self.got:
            return ()
        found = yamlfields.texts(self.got[field], self.problems, field) or ()
        for index, word in enumerate(found):
            if not pattern.fullmatch(word):
                message = f'"{yamlpos.shown(word)}" is not {means}'
                self.problems.add(self.got[field].line, f"{field}[{index}]", message, "change it")
        return found

    def choice(
        self, field: str, choices: tuple[str, ...] | list[Clock], *, some: bool = False
    ) -> tuple[str, ...]:
        if field not in self.got:
            return ()
        node = self.got[field]
        known = [str(word) for word in choices]
        found = yamlfields.texts(node, self.problems, field, choices=known)
        if some and found == ():
            self.problems.add(node.line, field, "is an empty list", f"name {' or '.join(known)}")
        return found or ()

    def maps(
        self, field: str, keys: tuple[str, ...], required: tuple[str, ...], at_most: int
    ) -> list[tuple[str, int, Mapping[str, Node]]]:
        """The entries of a list of closed maps that have what they must: place, line, fields."""
        nodes = yamlfields.items(self.got[field], self.problems, field, at_most=at_most)
        kept = []
        for index, node in enumerate(nodes or ()):
            where = f"{field}[{index}]"
            have = yamlfields.mapping(node, self.problems, where, keys, required)
            if have is not None and set(required) <= set(have):
                kept.append((where, node.line, have))
        if nodes == ():
            self.problems.add(self.got[field].line, field, "is an empty list", "add an entry")
        return kept

    def name(self, node: Node, where: str, seen: list[str]) -> str:
        found = yamlfields.text(node, self.problems, where, pattern=NAME, pattern_means=_NAME_MEANS)
        if found in seen:
            self.problems.add(node.line, where, f"{found} is given twice", "rename one of them")
        seen.append(found or "")
        return found or ""

    def number(self, have: Mapping[str, Node], where: str, key: str, default: float, lo: float,
               hi: float, unit: str = "") -> float:  # fmt: skip
        if key not in have:
            return default
        at = f"{where}.{key}"
        found = yamlfields.number(have[key], self.problems, at, lo=lo, hi=hi, unit=unit)
        return default if found is None else found

    def parts(self) -> tuple[Part, ...]:
        found, seen = [], list[str]()
        keys = ("name", "intent", "weight", "work_ms")
        for where, _, have in self.maps("parts", keys, ("name", "intent"), 16):
            at = f"{where}.intent"
            intent = yamlfields.text(have["intent"], self.problems, at, choices=INTENTS)
            weight = self.number(have, where, "weight", 100, 1, 10000)
            name = self.name(have["name"], f"{where}.name", seen)
            work_ms = ""
            if "work_ms" in have:
                work_ms = yamlfields.text(
                    have["work_ms"], self.problems, f"{where}.work_ms",
                    pattern=_ENV, pattern_means="the name of a variable",
                ) or ""  # fmt: skip
            found.append(Part(name, intent or "", int(weight), work_ms))
        return tuple(found)

    def metrics(self) -> tuple[Metric, ...]:
        found, seen = [], list[str]()
        required = ("name", "unit", "better", "source")
        keys = (*required, "alpha", "scale")
        for where, _, have in self.maps("metrics", keys, required, 16):
            better = yamlfields.text(
                have["better"], self.problems, f"{where}.better", choices=list(Better)
            )
            found.append(
                Metric(
                    name=self.name(have["name"], f"{where}.name", seen),
                    unit=yamlfields.text(have["unit"], self.problems, f"{where}.unit") or "",
                    better=Better(better or "lower"),
                    source=self.source(have["source"], f"{where}.source"),
                    alpha=self.number(have, where, "alpha", 1.0, 0.001, 1),
                    scale=self.number(have, where, "scale", 1.0, 1e-12, 1e12),
                )
            )
        total = math.fsum(metric.alpha for metric in found)
        if found and not math.isclose(total, 1, abs_tol=1e-9):
            message = f"the alphas add up to {total:g}, not to 1"
            hint = "an arm that changes nothing scores 1: split 1 between the metrics"
            self.problems.add(self.got["metrics"].line, "metrics", message, hint)
        return tuple(found)

    def source(self, node: Node, where: str) -> str:
        found = yamlfields.text(node, self.problems, where) or "elapsed"
        kind, _, rest = found.partition(":")
        wrong = ""
        if kind == "regex":
            try:
                if re.compile(rest).groups != 1:
                    wrong = "has not exactly one group"
            except re.error as error:
                wrong = f"is no regular expression: {error}"
        elif kind == "json":
            wrong = "" if _KEY.fullmatch(rest) else "names no key"
        elif found != "elapsed":
            wrong = "is no source"
        if wrong:
            hint = "use elapsed, json:KEY or regex:PATTERN with one group"
            self.problems.add(node.line, where, f'"{yamlpos.shown(found)}" {wrong}', hint)
        return found

    def slos(self, metrics: Mapping[str, Metric]) -> tuple[Slo, ...]:
        found = []
        keys = ("metric", "ratio", "hard")
        for where, line, have in self.maps("slos", keys, keys, 16):
            name = yamlfields.text(
                have["metric"], self.problems, f"{where}.metric", choices=list(metrics)
            )
            hard = yamlfields.boolean(have["hard"], self.problems, f"{where}.hard")
            ratio = self.number(have, where, "ratio", 1, 0.01, 100)
            if name is not None and (ratio < 1) != (metrics[name].better is Better.HIGHER):
                message = f"ratio {ratio:g} does not fit a metric of which {metrics[name].better}"
                hint = "measured/baseline is at most the ratio (lower: over 1) or at least (higher)"
                self.problems.add(line, f"{where}.ratio", f"{message} is better", hint)
            found.append(Slo(name or "", ratio, bool(hard)))
        if found and not any(slo.hard for slo in found):
            self.problems.add(self.got["slos"].line, "slos", "none is hard", "make one hard: true")
        return tuple(found)

    def sizes(self) -> Mapping[SizeClass, Size]:
        wanted = [size.value for size in SizeClass]
        got = yamlfields.mapping(self.got["sizes"], self.problems, "sizes", wanted, wanted) or {}
        found: dict[SizeClass, Size] = {}
        for name, node in got.items():
            where = f"sizes.{name}"
            keys = ("env", "repeats", "limit_s", "virtual_limit_s")
            required = keys[:3]
            have = yamlfields.mapping(node, self.problems, where, keys, required) or {}
            if not set(required) <= set(have):
                continue
            repeats = yamlfields.integer(
                have["repeats"], self.problems, f"{where}.repeats", lo=1, hi=100
            )
            found[SizeClass(name)] = Size(
                env=self.env(have["env"], f"{where}.env"),
                repeats=repeats or 1,
                limit_s=self.number(have, where, "limit_s", 60, 1, 36000, "s"),
                virtual_limit_s=self.number(have, where, "virtual_limit_s", 20, 0.1, 3600, "s"),
            )
        if len({frozenset(size.env) for size in found.values()}) > 1:
            message = "the sizes do not set the same variables"
            self.problems.add(self.got["sizes"].line, "sizes", message, "set each in all three")
        return found

    def env(self, node: Node, where: str) -> dict[str, str]:
        if not isinstance(node, yamlpos.Map):
            what = yamlfields.describe(node)
            self.problems.add(node.line, where, f"must be a map, is {what}", "write {NAME: value}")
            return {}
        found: dict[str, str] = {}
        for key, child in node.entries.items():
            at = yamlfields.join(where, key)
            taken = key in guestfiles.RESERVED or key.startswith("SCHEDBENCH_")
            if taken or not _ENV.fullmatch(key):
                message = "is taken by the harness" if taken else "is no name of a variable"
                self.problems.add(child.line, at, message, "use capitals, digits, underscores")
            if not isinstance(child, Scalar) or not child.text.isprintable():
                self.problems.add(
                    child.line, at, "must be one line of text or a number", "quote it"
                )
            else:
                found[key] = child.text
        return found
