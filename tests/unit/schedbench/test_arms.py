# SPDX-License-Identifier: Apache-2.0
"""Arms: names, what each puts into the guest, and scripts that a plain shell can read."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from schedbench import arms
from schedbench.arms import policy, schedcp, tuned
from schedbench.arms.base import ANY_SCHEDULER, ArmScript, Told
from schedbench.errors import BenchError
from schedbench.model import Part
from schedcpd.errors import ConfigErrors
from schedcpd.host.manifest import check_tunables, load_manifest

ROOT = Path(__file__).parents[3]
TOLD = Told((Part("web", "latency"), Part("bulk", "batch")), {}, 1)


def quiet(text: str) -> None:
    pass


def readable(script: ArmScript) -> None:
    """A POSIX shell accepts both scripts."""
    for text in (script.start, script.stop):
        subprocess.run(["sh", "-n"], input=text.encode(), check=True)


def run(text: str, bin_: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{bin_}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-eu"], input=text, text=True, capture_output=True, env=env)


@pytest.mark.parametrize("name", ["default", "noop"])
async def test_doing_nothing_is_nothing(name: str) -> None:
    arm = await arms.load(name, quiet)
    assert arm.name == name
    assert arm.script(TOLD) == ArmScript()


async def test_default_and_noop_are_the_same_but_for_their_names() -> None:
    default, noop = [await arms.load(name, quiet) for name in ("default", "noop")]
    assert default.describe() == noop.describe()


@pytest.mark.parametrize(
    ("name", "profile"), [("tuned", "throughput"), ("tuned:latency", "latency")]
)
async def test_tuned_sets_what_its_file_says(name: str, profile: str) -> None:
    arm = await arms.load(name, quiet)
    script = arm.script(TOLD)
    readable(script)
    knobs = tuned.profiles()[profile]
    assert arm.describe()["knobs"] == knobs and knobs
    for path, value in knobs.items():
        assert f"set_knob {path} {value}\n" in script.start
    assert script.expects_scheduler == ""


def test_a_knob_that_does_not_take_its_value_ends_the_start(tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "mount").write_text("#!/bin/sh\n")
    (bin_ / "mount").chmod(0o755)

    def knob(name: str, text: str, value: str) -> int:
        (tmp_path / name).write_text(text)
        arm = tuned.TunedArm("tuned", "x", {str(tmp_path / name): value}, "")
        return run(arm.script(TOLD).start, bin_).returncode

    assert knob("slice", "1\n", "10000000") == 0
    assert (tmp_path / "slice").read_text() == "10000000"
    # a file that keeps its own value, as the kernel does with one that it refuses
    (bin_ / "cat").write_text("#!/bin/sh\necho none voluntary '(lazy)'\n")
    (bin_ / "cat").chmod(0o755)
    assert knob("preempt", "", "full") != 0
    assert knob("preempt", "", "lazy") == 0


def test_knobs_without_a_source_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tuned.yaml"
    path.write_text('x:\n  knobs:\n    base_slice_ns: {value: "1", reason: because}\n')
    with pytest.raises(ConfigErrors, match=r"base_slice_ns\.source: is missing"):
        tuned.profiles(path)


def a_policy(**tunables: object) -> policy.PolicyArm:
    manifest, wrong = load_manifest(ROOT / "bpf/schedulers/intent/manifest.yaml")
    assert manifest is not None, wrong
    values = check_tunables(manifest, tunables)
    return policy.PolicyArm("intent", manifest, Path("/l"), Path("/o"), values)


def test_a_policy_is_told_intents_and_bound_to_its_tunables() -> None:
    script = a_policy(batch_slice_us=12345).script(TOLD)
    readable(script)
    assert script.expects_scheduler == "schedcp_intent"
    assert '--intent "$SCHEDBENCH_CGROUP/web=latency"' in script.start
    assert '--intent "$SCHEDBENCH_CGROUP/bulk=batch"' in script.start
    assert "--set batch_slice_us=12345" in script.start
    assert script == a_policy(batch_slice_us=12345).script(TOLD)
    assert a_policy().describe() != a_policy(batch_slice_us=12345).describe()


def test_known_work_is_told_to_who_takes_hints() -> None:
    told = Told((Part("rest", "batch"), Part("long", "batch", work_ms="LONG_MS")), {}, 1)
    assert "--hint" not in a_policy().script(told).start
    script = replace(a_policy(), takes_hints=True).script(told)
    readable(script)
    assert script.start.count("--hint") == 1
    assert '--hint "cgroup:$SCHEDBENCH_CGROUP/long=$((LONG_MS * 1000))"' in script.start


def test_schedcp_knows_nothing_of_the_workload() -> None:
    script = schedcp.SchedcpArm("schedcp", Path("/p"), "d").script(Told((), {}, 1))
    readable(script)
    assert script.expects_scheduler == ANY_SCHEDULER
    assert "SCHEDBENCH" not in script.start


async def test_a_program_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "scx_here"
    program.write_text("#!/bin/sh\necho scx_here 1.2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    arm = await arms.load("scx:scx_here", quiet)
    assert arm.describe()["version"] == "scx_here 1.2"
    script = arm.script(TOLD)
    readable(script)
    assert script.files == {"/run/arm/scx_here": program}
    assert script.kernel_config


@pytest.mark.parametrize("name", ["", "default:", "policy:", "scx:../x", "policy:a b", "Default"])
def test_wrong_names(name: str) -> None:
    with pytest.raises(BenchError):
        arms.kind_of(name)


def test_the_documentation_names_every_kind() -> None:
    text = (ROOT / "docs/schedbench/arms.md").read_text("utf-8")
    for name, kind in arms.KINDS.items():
        shown = f"`{name}:" if kind.needs_argument else f"`{name}`"
        assert shown in text, name
