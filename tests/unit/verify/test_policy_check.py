# SPDX-License-Identifier: Apache-2.0
"""The check of policy files, through the command that a person uses."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from schedcpd import examine

TOP = Path(__file__).parents[3]
MANIFEST = """name: toy
ops: toy
description: A toy.
tunables:
  latency_slice_us: {type: int, default: 2000, min: 100, max: 20000, description: A slice.}
"""
GOOD = """version: 1
policies:
  - name: mine
    description: Mine.
    scheduler: toy
    tunables: {latency_slice_us: 1000}
    intents: [latency, batch]
    machines: {cpus_min: 2, cpus_max: 8}
    slo: {latency: {delay_p99_us: 5000}, batch: {delay_p99_us: 50000}}
"""


@pytest.fixture
def bpf_dir(tmp_path: Path) -> Path:
    (tmp_path / "bpf").mkdir()
    (tmp_path / "bpf" / "toy.manifest.yaml").write_text(MANIFEST)
    return tmp_path / "bpf"


def outcome(
    text: str, bpf_dir: Path, capsys: pytest.CaptureFixture[str], cpus: int = 4
) -> tuple[int, dict[str, object]]:
    path = bpf_dir.parent / "mine.yaml"
    path.write_text(text)
    argv = [str(path), "--json", "--bpf-dir", str(bpf_dir), "--cpus", str(cpus)]
    code = examine.main(argv)
    return code, json.loads(capsys.readouterr().out)["verify"]


def test_a_good_file_passes(bpf_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(GOOD, bpf_dir, capsys)
    assert (code, found["passed"], found["kind"]) == (0, True, "policy")


def test_what_runs_a_program_of_others_is_said_to_be_unverified(
    bpf_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = GOOD.replace("scheduler: toy", "external: {program: scx_lavd}")
    theirs = theirs.replace("    tunables: {latency_slice_us: 1000}\n", "")
    code, found = outcome(theirs, bpf_dir, capsys)
    assert (code, found["passed"]) == (0, True)
    assert "1 run external schedulers, which nothing verifies" in json.dumps(found)


@pytest.mark.parametrize(
    ("old", "new", "reason", "word"),
    [
        ("scheduler: toy", "scheduler: tox", "policy.scheduler", "toy"),
        ("description: Mine.", "explanation: Mine.", "policy.schema", "explanation"),
        ("latency_slice_us: 1000}", "latency_slice_us: 5}", "policy.tunable", "100 to 20000"),
        ("latency_slice_us: 1000}", "latency_slic: 500}", "policy.tunable", "latency_slice_us"),
        ("delay_p99_us: 5000}", "delay_p99_us: 900}", "policy.slo", "slice of 1000 us"),
        ("delay_p99_us: 5000}", "delay_p99_us: 60000}", "policy.slo", "shorter run delay"),
        ("batch: {delay_p99_us: 50000}", "batch: {delay_p99_us: 20}", "policy.slo", "50 us"),
        ("cpus_min: 2", "cpus_min: 6", "policy.machine", "4 CPUs"),
        ("cpus_min: 2", "cpus_min: 9", "policy.schema", "no machine"),
        (GOOD, "version: 1\n", "policy.empty", "neither"),
        (GOOD, "version: [", "policy.schema", "YAML"),
    ],
)
def test_what_is_wrong_has_its_code_and_a_hint(
    bpf_dir: Path,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    reason: str,
    word: str,
) -> None:
    assert old in GOOD
    code, found = outcome(GOOD.replace(old, new), bpf_dir, capsys)
    assert code == 1
    check = found["checks"][0]  # type: ignore[index]
    assert check["reason"] == reason, check
    assert check["hint"]
    assert word in " ".join((check["sentence"], check["evidence"], check["hint"]))


def test_the_shipped_policies_pass_within_a_second(tmp_path: Path) -> None:
    """From the command line, interpreters and all; CPU time, as a busy machine is no failure."""
    for manifest in (TOP / "bpf/schedulers").glob("*/manifest.yaml"):
        (tmp_path / f"{manifest.parent.name}.manifest.yaml").write_bytes(manifest.read_bytes())
    for path in sorted((TOP / "policies.d").glob("*.yaml")):
        argv = [sys.executable, "-m", "schedctl", "verify", str(path), "--json", "--cpus", "8"]
        assert examine.main([str(path), "--bpf-dir", str(tmp_path), "--cpus", "8"]) == 0, path
    env = {**os.environ, "PYTHONPATH": str(TOP), "SCHEDCP_CACHE": str(tmp_path)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, cwd="/", env=env, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout, done.stderr
    assert json.loads(done.stdout)["verify"]["kind"] == "policy"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("name", ["x.txt", "x.c", "x"])
def test_another_kind_of_file_is_a_usage_error(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examine.main([str(tmp_path / name)]) == 2
    assert "neither" in capsys.readouterr().err


def test_an_error_is_json_too_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.bpf.o"
    path.write_bytes(b"x")
    assert examine.main([str(path), "--json", "--tunables", "[1]"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert "--tunables" in error["message"] and error["hint"]


@pytest.mark.parametrize("argument", [[], ["--wrong", "x.bpf.o"], ["x.bpf.o", "y.bpf.o"]])
def test_schedctl_verify_has_usage_errors(argument: list[str]) -> None:
    env = {**os.environ, "PYTHONPATH": str(TOP)}
    argv = [sys.executable, "-m", "schedctl", "verify", *argument]
    assert subprocess.run(argv, env=env, capture_output=True, cwd="/").returncode == 2


def test_an_object_that_is_none_is_refused_without_a_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.bpf.o"
    path.write_bytes(b"\x7fELF nothing")
    assert examine.main([str(path), "--no-vm", "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)["verify"]["checks"]
    assert [c["name"] for c in checks] == ["object", "tunables", "load", "behaviour"]
    assert checks[0]["reason"] == "object.malformed"
    assert {c["status"] for c in checks[1:]} == {"skipped"}


def test_a_file_that_is_not_there_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examine.main([str(tmp_path / "mine.bpf.o"), "--no-vm"]) == 2
    assert "cannot be read" in capsys.readouterr().err
