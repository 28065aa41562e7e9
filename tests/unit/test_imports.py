# SPDX-License-Identifier: Apache-2.0
"""The arrows of docs/architecture.md, checked on every import there is.

An import counts wherever it stands: at the top, inside a function, under TYPE_CHECKING, or as a
literal given to importlib.import_module or __import__. A computed module name is refused, as it
could hide an arrow.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schedcpd", "schedctl", "schedbench")

ROOMS = frozenset(
    ["observe", "infer", "policy", "plan", "verify", "microvm", "deploy", "learn", "agent", "bus"]
)
COMMON = frozenset({"schedcpd", "schedcpd.model", "schedcpd.errors"})
BELOW_ROOMS = COMMON | {"schedcpd.config", "schedcpd.host"}
# The only modules that construct rooms, and which rooms each may construct.
COMPOSITION_ROOTS: dict[str, frozenset[str]] = {
    "schedcpd.__main__": ROOMS - {"agent"} | {"pipeline", "daemon"},
    "schedcpd.guests": frozenset({"verify", "microvm"}),
    "schedcpd.verdicts": frozenset({"verify", "microvm", "guests"}),
    "schedcpd.toolchains": frozenset({"verify", "microvm"}),
    "schedcpd.examine": frozenset({"verify", "microvm", "policy", "guests", "toolchains"}),
    "schedcpd.lint": frozenset({"policy", "verify", "examine"}),
}
# Reached from the daemon at any depth, these would cost its memory or its promise of no network.
NEVER_IN_DAEMON = frozenset(
    {"litellm", "openai", "mcp", "pydantic", "httpx", "requests", "urllib3"}
)


@dataclass(frozen=True)
class Import:
    importer: str
    target: str  # dotted; may name an attribute of a module
    line: int
    at_import_time: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class _Collector(ast.NodeVisitor):
    def __init__(self, module: str, is_package: bool) -> None:
        self.module, self.is_package = module, is_package
        self.depth = 0
        self.found: list[Import] = []

    def _add(self, target: str, node: ast.AST) -> None:
        line = getattr(node, "lineno", 0)
        self.found.append(Import(self.module, target, line, self.depth == 0))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parents = self.module.split(".")
            keep = len(parents) - node.level + (1 if self.is_package else 0)
            base = ".".join([*parents[:keep], *([base] if base else [])])
        for alias in node.names:
            self._add(base if alias.name == "*" else f"{base}.{alias.name}", node)

    def visit_Call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func)
        if name in {"importlib.import_module", "import_module", "__import__"}:
            first = node.args[0] if node.args else None
            literal = isinstance(first, ast.Constant) and isinstance(first.value, str)
            self._add(str(first.value) if literal else "<computed>", node)  # type: ignore[union-attr]
        self.generic_visit(node)

    def _deeper(self, node: ast.AST) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_FunctionDef = _deeper
    visit_AsyncFunctionDef = _deeper
    visit_Lambda = _deeper

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            self._deeper(node)
        else:
            self.generic_visit(node)


def imports_of(path: Path, root: Path) -> list[Import]:
    collector = _Collector(module_name(path, root), path.name == "__init__.py")
    collector.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return collector.found


def walk(root: Path) -> Iterator[Import]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield from imports_of(path, root)


def within(target: str, package: str) -> bool:
    return target == package or target.startswith(package + ".")


def allowed_for(importer: str) -> frozenset[str] | None:
    """Which of the project's packages `importer` may import; None when it has no place."""
    top, *rest = importer.split(".")
    if top == "schedctl":
        return COMMON | {"schedctl", "schedcpd.host"}
    if top == "schedbench":
        return BELOW_ROOMS | {"schedbench", "schedcpd.microvm"}
    if importer in COMPOSITION_ROOTS:
        rooms = {f"schedcpd.{name}" for name in COMPOSITION_ROOTS[importer]}
        return BELOW_ROOMS | rooms | {importer}
    if importer == "schedcpd":
        return frozenset()
    if within(importer, "schedcpd.model"):
        return frozenset({"schedcpd.model"})
    if importer == "schedcpd.errors":
        return frozenset({"schedcpd.errors"})
    if importer == "schedcpd.config":
        return COMMON | {"schedcpd.config", "schedcpd.host"}
    if within(importer, "schedcpd.host"):  # below config, which reads its files through it
        return COMMON | {"schedcpd.host"}
    if within(importer, "schedcpd.pipeline"):
        return (
            BELOW_ROOMS | {"schedcpd.pipeline"} | {f"schedcpd.{name}" for name in ROOMS - {"agent"}}
        )
    if importer == "schedcpd.daemon":
        return BELOW_ROOMS | {"schedcpd.pipeline"}
    room = rest[0]
    if room in ROOMS:
        return BELOW_ROOMS | {f"schedcpd.{room}"}
    return None


def forbidden(found: Import) -> str:
    """Why this import is a wrong arrow, "" when it is a right one."""
    if found.target == "<computed>":
        return f"{found}: a computed module name hides an arrow; give importlib a literal"
    if within(found.importer, "schedcpd.model") or found.importer == "schedcpd.errors":
        top = found.target.split(".")[0]
        itself = within(found.importer, "schedcpd.model") and within(found.target, "schedcpd.model")
        if top not in sys.stdlib_module_names and not itself:
            return f"{found}: only the standard library is allowed here"
        return ""
    if found.target.split(".")[0] not in PACKAGES:
        return ""
    allowed = allowed_for(found.importer)
    if allowed is None:
        return f"{found}: {found.importer} has no place in docs/architecture.md; give it one here"
    # "schedcpd" alone allows the package itself (its __version__), not what is below it.
    deep = allowed - {"schedcpd"}
    if any(within(found.target, name) for name in deep):
        return ""
    if found.target == "schedcpd" or found.target.startswith("schedcpd.__"):
        return "" if "schedcpd" in allowed else f"{found}: not allowed"
    return f"{found}: {found.importer} may import only {', '.join(sorted(allowed)) or 'nothing'}"


def daemon_reaches(root: Path, start: str = "schedcpd.__main__") -> dict[str, Import]:
    """Every module outside the project that the daemon can import, with one import that does."""
    modules = {
        module_name(path, root): path
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
    }
    todo, seen, outside = [start], set[str](), dict[str, Import]()
    while todo:
        name = todo.pop()
        if name in seen or name not in modules:
            continue
        seen.add(name)
        for found in imports_of(modules[name], root):
            parts = found.target.split(".")
            if parts[0] not in PACKAGES:
                outside.setdefault(parts[0], found)
            todo += [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return outside


def test_no_wrong_arrow() -> None:
    wrong = [why for found in walk(ROOT) if (why := forbidden(found))]
    assert not wrong, "\n".join(wrong)


def test_every_directory_is_a_known_room() -> None:
    present = {path.parent.name for path in (ROOT / "schedcpd").glob("*/__init__.py")}
    assert present <= ROOMS | {"host", "model", "pipeline"}


def test_the_daemon_never_reaches_a_model_library() -> None:
    reached = {k: str(v) for k, v in daemon_reaches(ROOT).items() if k in NEVER_IN_DAEMON}
    assert not reached


def test_only_the_agent_imports_litellm() -> None:
    importers = {found.importer for found in walk(ROOT) if within(found.target, "litellm")}
    assert all(within(name, "schedcpd.agent") for name in importers), importers


WRONG = [
    ("schedcpd/infer/x.py", "from schedcpd.observe import tree\n"),
    ("schedcpd/infer/x.py", "def f():\n    import schedcpd.deploy.token\n"),
    ("schedcpd/infer/x.py", "import importlib\nimportlib.import_module('schedcpd.deploy')\n"),
    ("schedcpd/infer/x.py", "import importlib\nimportlib.import_module(name())\n"),
    ("schedcpd/infer/x.py", "from ..deploy import token\n"),
    ("schedcpd/infer/x.py", "from .. import deploy\n"),
    (
        "schedcpd/infer/x.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import schedcpd.plan\n",
    ),
    ("schedcpd/infer/x.py", "from schedcpd import pipeline\n"),
    ("schedcpd/infer/x.py", "from schedctl import main\n"),
    ("schedcpd/host/x.py", "from schedcpd.observe import tree\n"),
    ("schedcpd/host/x.py", "from schedcpd import config\n"),
    ("schedcpd/model/x.py", "import yaml\n"),
    ("schedcpd/model/x.py", "from schedcpd.errors import SchedcpError\n"),
    ("schedcpd/config.py", "from schedcpd.policy import load\n"),
    ("schedcpd/daemon.py", "from schedcpd.deploy import manager\n"),
    ("schedcpd/__main__.py", "from schedcpd.agent import roles\n"),
    ("schedcpd/pipeline/loop.py", "from schedcpd.agent import roles\n"),
    ("schedcpd/newroom/x.py", "from schedcpd.model import Signal\n"),
    ("schedctl/x.py", "from schedcpd.bus.control import Control\n"),
    ("schedctl/x.py", "from schedcpd import config\n"),
]


@pytest.mark.parametrize(("file", "text"), WRONG)
def test_a_planted_wrong_arrow_is_caught(file: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    assert any(forbidden(found) for found in walk(tmp_path))


RIGHT = [
    ("schedcpd/model/x.py", "import json\nfrom schedcpd.model.infer import IntentClass\n"),
    (
        "schedcpd/infer/x.py",
        "import yaml\nfrom schedcpd.model import Signal\nfrom . import rules\n",
    ),
    (
        "schedcpd/infer/x.py",
        "from schedcpd import __version__, errors\nimport schedcpd.host.clock\n",
    ),
    ("schedcpd/pipeline/loop.py", "from schedcpd.deploy import manager\n"),
    ("schedcpd/__main__.py", "from schedcpd import daemon, pipeline\nfrom schedcpd.bus import x\n"),
    ("schedctl/x.py", "from schedcpd import model\nfrom schedctl import table\n"),
]


@pytest.mark.parametrize(("file", "text"), RIGHT)
def test_a_right_arrow_passes(file: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    assert [why for found in walk(tmp_path) if (why := forbidden(found))] == []


def test_a_planted_litellm_is_reached_through_a_room(tmp_path: Path) -> None:
    for name in ("schedcpd", "schedcpd/infer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "schedcpd/__main__.py").write_text("from schedcpd.infer import agent_client\n")
    (tmp_path / "schedcpd/infer/agent_client.py").write_text("def f():\n    import litellm\n")
    assert "litellm" in daemon_reaches(tmp_path)
