# SPDX-License-Identifier: Apache-2.0
"""Suites: `<name>.yaml` here, or any file of that form. Reading one checks it whole.

title: text
size: smoke | standard | full
boots: 7                  # seeds for each workload and arm
extend_to: 12             # for workloads that turn out unstable; leave it out for never
lambda: 0.5               # price of budget overuse in the score
clip: [0.25, 4]           # of each ratio
weights: {xz: 1, ...}     # the workloads, and w
"""

from __future__ import annotations

from pathlib import Path

from schedbench.model import SizeClass, Suite
from schedcpd.errors import ConfigErrors
from schedcpd.host import yamlfields
from schedcpd.host.yamlpos import Node, Problems, parse, read_bytes

HERE = Path(__file__).parent
KEYS = ("title", "size", "boots", "extend_to", "lambda", "clip", "weights")
REQUIRED = ("title", "size", "boots", "lambda", "clip", "weights")
MAX_BOOTS = 1000


def names() -> list[str]:
    """The suites that come with schedbench."""
    return sorted(path.stem for path in HERE.glob("*.yaml"))


def load(name: str) -> Suite:
    """The suite of that name, or of that file (a name with a slash or ending in .yaml).

    Raises ConfigErrors with everything that is wrong, or ConfigError for an unknown name.
    """
    is_file = "/" in name or name.endswith(".yaml")
    path = Path(name) if is_file else HERE / f"{name}.yaml"
    problems = Problems(str(path))
    if not is_file and name not in names():
        problems.add(0, "", f"there is no suite {name!r}", yamlfields.one_of(name, names()))
        raise ConfigErrors(problems.errors())
    data = read_bytes(path, problems)
    root = None if data is None else parse(data, problems)
    if root is None:
        if not problems:
            problems.add(1, "", "is empty", "write the suite")
        raise ConfigErrors(problems.errors())
    suite = _read(path.stem, root, problems)
    if suite is None or problems:
        raise ConfigErrors(problems.errors())
    return suite


def title(name: str) -> str:
    """The title of a suite that comes with schedbench."""
    problems = Problems(name)
    root = parse((HERE / f"{name}.yaml").read_bytes(), problems)
    top = None if root is None else yamlfields.mapping(root, problems, "", KEYS)
    found = yamlfields.text(top["title"], problems, "title") if top and "title" in top else None
    return found or ""


def _read(name: str, root: Node, problems: Problems) -> Suite | None:
    top = yamlfields.mapping(root, problems, "", KEYS, REQUIRED)
    if top is None or not set(REQUIRED) <= set(top):
        return None
    yamlfields.text(top["title"], problems, "title")
    size = yamlfields.text(top["size"], problems, "size", choices=tuple(SizeClass))
    boots = yamlfields.integer(top["boots"], problems, "boots", lo=1, hi=MAX_BOOTS)
    extend_to: int | None = 0
    if "extend_to" in top:
        extend_to = yamlfields.integer(
            top["extend_to"], problems, "extend_to", lo=(boots or 1) + 1, hi=MAX_BOOTS
        )
    price = yamlfields.number(top["lambda"], problems, "lambda", lo=0, hi=1000)
    clip = _clip(top["clip"], problems)
    weights = _weights(top["weights"], problems)
    if size is None or boots is None or extend_to is None or price is None:
        return None
    if clip is None or not weights:
        return None
    return Suite(
        name=name,
        workloads=tuple(weights),
        weights=weights,
        lambda_=float(price),
        clip=clip,
        size=SizeClass(size),
        boots=boots,
        extend_to=extend_to,
    )


def _clip(node: Node, problems: Problems) -> tuple[float, float] | None:
    ends = yamlfields.items(node, problems, "clip", at_most=2)
    if ends is None:
        return None
    if len(ends) != 2:
        problems.add(node.line, "clip", "must have two numbers", "write it as [0.25, 4]")
        return None
    low = yamlfields.number(ends[0], problems, "clip[0]", lo=0.001, hi=1)
    high = yamlfields.number(ends[1], problems, "clip[1]", lo=1, hi=1000)
    return None if low is None or high is None else (float(low), float(high))


def _weights(node: Node, problems: Problems) -> dict[str, float]:
    entries = getattr(node, "entries", None)
    if not entries:
        problems.add(node.line, "weights", "must name workloads", "write it as {xz: 1}")
        return {}
    found = {
        name: yamlfields.number(child, problems, f"weights.{name}", lo=0.001, hi=1000)
        for name, child in entries.items()
    }
    return {name: float(value) for name, value in found.items() if value is not None}
