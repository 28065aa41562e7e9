# SPDX-License-Identifier: Apache-2.0
"""What the packages are made from, without building them."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
DEBIAN = ROOT / "packaging/debian"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"packaging/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_changelog_has_the_version_of_pyproject() -> None:
    first = (DEBIAN / "changelog").read_text(encoding="utf-8").splitlines()[0]
    assert re.fullmatch(r"schedcp \(([^)]+)\) \w+; urgency=\w+", first)
    assert f"({PYPROJECT['project']['version']})" in first


def test_the_python_version_of_the_locked_environment_is_one_we_support() -> None:
    control = (DEBIAN / "control").read_text(encoding="utf-8")
    assert "python3 (>= 3.13)" in control and "python3 (<< 3.14)" in control


def test_launchers_are_those_of_pyproject(tmp_path: Path) -> None:
    launchers = load("launchers")
    launchers.main(str(ROOT / "pyproject.toml"), str(tmp_path))
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    wanted = {**PYPROJECT["project"]["scripts"], **launchers.STARTED_BY_SYSTEMD}
    assert set(written) == set(wanted)
    for name, target in wanted.items():
        ast.parse(written[name])
        module, function = target.split(":")
        assert importlib.util.find_spec(module) is not None
        assert f"from {module} import {function}" in written[name]
        isolated = "" if name == "schedctl" else " -I"
        assert written[name].startswith(f"#!/usr/bin/python3{isolated}\n")
        assert (launchers.AGENT_SITE in written[name]) == (name == "schedcp-agent")
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o755


def test_what_units_start_is_installed() -> None:
    """Every ExecStart= of a unit is a launcher, at the path where *.install puts it."""
    paths = set()
    for package in ("schedcp", "schedcp-agent"):
        for line in (DEBIAN / f"{package}.install").read_text(encoding="utf-8").splitlines():
            source, target = line.split()
            if source.startswith("debian/stage/bin/"):
                paths.add(f"/{target}/{Path(source).name}")
    for unit in (ROOT / "systemd").glob("*.service"):
        text = unit.read_text(encoding="utf-8")
        for command in re.findall(r"^ExecStart=[-@:+!]*(\S+)", text, re.MULTILINE):
            assert command in paths, unit.name


def run_choice(objects: Path, verdicts: Path, out: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(ROOT / "packaging/choose_verdicts.py"), objects, verdicts, out]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    directory = tmp_path / "bpf"
    directory.mkdir()
    (directory / "one.bpf.o").write_bytes(b"one")
    return directory


def verdict(directory: Path, name: str, content: bytes, passed: bool) -> None:
    directory.mkdir(exist_ok=True)
    sha256 = hashlib.sha256(content).hexdigest()
    text = json.dumps({"object_sha256": sha256, "passed": passed})
    (directory / name).write_text(text, encoding="utf-8")


def test_only_passing_verdicts_of_these_bytes_are_packaged(objects: Path, tmp_path: Path) -> None:
    verdicts, out = tmp_path / "verdicts", tmp_path / "out"
    verdict(verdicts, "right.json", b"one", True)
    verdict(verdicts, "failed.json", b"one", False)
    verdict(verdicts, "older.json", b"one, before", True)
    assert run_choice(objects, verdicts, out).returncode == 0
    assert [path.name for path in out.iterdir()] == ["right.json"]


@pytest.mark.parametrize(("content", "passed"), [(b"one", False), (b"one, before", True)])
def test_an_object_without_a_passing_verdict_stops_the_build(
    content: bytes, passed: bool, objects: Path, tmp_path: Path
) -> None:
    verdict(tmp_path / "verdicts", "v.json", content, passed)
    done = run_choice(objects, tmp_path / "verdicts", tmp_path / "out")
    assert done.returncode == 1
    assert "one.bpf.o" in done.stderr and "make verdicts" in done.stderr


def unit_names() -> list[str]:
    return sorted(path.name for path in (ROOT / "systemd").glob("*.service"))


def installed(package: str) -> set[str]:
    text = (DEBIAN / f"{package}.install").read_text(encoding="utf-8")
    return {line.split()[0] for line in text.splitlines() if line.strip()}


def test_every_unit_is_in_a_package() -> None:
    shipped = installed("schedcp") | installed("schedcp-agent")
    units = {f"systemd/{path.name}" for path in (ROOT / "systemd").iterdir()}
    assert units <= shipped


@pytest.mark.parametrize("unit", unit_names())
def test_exposure(unit: str) -> None:
    """`systemd-analyze security` of the unit file alone; docs/security.md has the VM's figures."""
    argv = ["systemd-analyze", "security", "--offline=yes", "--threshold=25", "--no-pager"]
    done = subprocess.run(
        [*argv, str(ROOT / "systemd" / unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-400:] + done.stderr
