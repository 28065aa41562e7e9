# SPDX-License-Identifier: Apache-2.0
"""The command line: what it lists, what it refuses, and the exit codes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from schedbench import arms, profiles, suites, workload
from schedbench.__main__ import build_parser, main
from schedbench.cli import Exit, doctor, run
from schedbench.errors import BenchError
from schedbench.model import Clock, Profile, SizeClass
from schedcpd.errors import ConfigErrors

from .synthetic import record


def options(*argv: str) -> argparse.Namespace:
    return build_parser().parse_args(["run", *argv])


def test_list_as_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == Exit.DONE
    found = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in found["workloads"]} == set(workload.names())
    assert {each["name"] for each in found["arms"]} == set(arms.KINDS)
    assert {each["name"] for each in found["profiles"]} == set(profiles.PROFILES)
    assert {each["name"] for each in found["suites"]} == set(suites.names())


def test_list_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "profiles"]) == Exit.DONE
    text = capsys.readouterr().out
    assert "numa2" in text and "WORKLOAD" not in text


def test_doctor_names_a_fix_for_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == (Exit.DONE if found["usable"] else Exit.UNSUPPORTED)
    for finding in found["findings"]:
        assert bool(finding["fix"]) == (finding["level"] != "ok"), finding


@pytest.mark.parametrize(("grouped", "named"), [("1", True), ("0", False)])
def test_doctor_says_where_niceness_does_not_help(
    grouped: str,
    named: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    autogroup = tmp_path / "autogroup"
    autogroup.write_text(f"{grouped}\n")
    monkeypatch.setattr(doctor, "AUTOGROUP", autogroup)
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    main(["doctor", "--json"])
    load = next(
        each for each in json.loads(capsys.readouterr().out)["findings"] if each["what"] == "load"
    )
    assert ("sched_autogroup_enabled" in load["fix"]) == named


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--suite", "nope"], "there is no suite 'nope'"),
        (["--profile", "cpus3"], "there is no profile 'cpus3'"),
        (["--workloads", "nope"], "there is no workload 'nope'"),
        (["--arms", "dfault"], "there is no arm 'dfault'"),
        (["--arms", "default,default"], "an arm stands there twice"),
        (["--arms", "policy"], "needs an argument"),
        (["--arms", "noop:x"], "takes no argument"),
        (["--arms", "tuned:fast"], "has no profile 'fast'"),
        (["--arms", "scx:scx_absent"], "scx_absent is not installed"),
        (["--clock", "virtual", "--arms", "schedcp"], "cannot run under the virtual clock"),
        (["--seeds", "1,x"], "'x' is no number"),
        (["--seeds", "3-1"], "'3-1' is not within"),
        (["--seeds", "1,1"], "a seed stands there twice"),
        (["--boots", "0"], "--boots: 0"),
        (["--budget", "0"], "--budget: 0"),
        (["--resume", "/nonexistent"], "/nonexistent/run.json: cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = [] if "--workloads" in argv or "--suite" in argv else ["--workloads", "longtail"]
    base += [] if "--arms" in argv or "--resume" in argv else ["--arms", "default"]
    assert main(["run", "--json", *base, *argv]) == Exit.REFUSED
    error = json.loads(capsys.readouterr().out)["error"]
    assert said in error["message"]


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--clock", "sundial"])
    assert ended.value.code == Exit.USAGE
    assert "sundial" in capsys.readouterr().err


def test_a_folder_with_a_run_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert main(["run", "--out", str(tmp_path)]) == Exit.REFUSED
    assert f"--resume {tmp_path}" in capsys.readouterr().err


def test_seeds() -> None:
    suite = suites.load("smoke")
    assert run.parse_seeds("1,4-6") == (1, 4, 5, 6)
    assert run.choose_seeds(options(), suite) == tuple(range(1, suite.boots + 1))
    assert run.choose_seeds(options("--boots", "2"), suite) == (1, 2)
    assert len(run.choose_seeds(options("--clock", "virtual"), suite)) >= 10
    with pytest.raises(BenchError):
        run.parse_seeds("1000000")


def test_the_standard_suite_takes_enough_samples_for_a_verdict_on_each_workload() -> None:
    suite = suites.load("standard")
    for clock in Clock:
        seeds = run.choose_seeds(options("--clock", str(clock)), suite)
        assert run.warnings_of(record(len(suite.workloads), seeds=seeds, clock=clock)) == []


@pytest.mark.parametrize(
    ("boots", "clock", "said"),
    [
        (3, Clock.WALL, ["3 boots can show no win or loss at all, by Holm's correction; for 6 "]),
        (6, Clock.WALL, []),
        (7, Clock.VIRTUAL, ["7 seeds can show a win or loss among 3 workloads at most"]),
        (10, Clock.VIRTUAL, []),
    ],
)
def test_too_few_samples_for_a_verdict_are_told_before(
    boots: int, clock: Clock, said: list[str]
) -> None:
    found = run.warnings_of(record(6, seeds=range(boots), clock=clock))
    assert [line[: len(start)] for line, start in zip(found, said, strict=True)] == said
    assert run.warnings_of(record(6, ("default",), range(boots), clock)) == []


def test_a_changed_suite_has_another_name() -> None:
    assert run.choose_suite(options()) == suites.load("smoke")
    changed = run.choose_suite(options("--workloads", "longtail,xz", "--size", "full"))
    assert (changed.name, changed.workloads) == ("custom", ("longtail", "xz"))
    assert changed.size is SizeClass.FULL
    assert changed.lambda_ == suites.load("smoke").lambda_


@pytest.mark.parametrize("name", suites.names())
def test_suites_that_come_along_can_be_run(name: str) -> None:
    suite = suites.load(name)
    found = run.choose_workloads(suite, Clock.WALL)
    assert [each.name for each in found] == list(suite.workloads)
    assert suites.title(name)


GOOD_SUITE = "title: t\nsize: smoke\nboots: 3\nlambda: 0.5\nclip: [0.25, 4]\nweights: {xz: 1}\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("boots: 3", "boots: 0", "boots: 0 is out of range"),
        ("boots: 3", "boots: 3\nextend_to: 3", "extend_to: 3 is out of range"),
        ("boots: 3", "boots: 3\nboot: 1", "boot: unknown key"),
        ("clip: [0.25, 4]", "clip: [2, 4]", "clip[0]: 2 is out of range"),
        ("clip: [0.25, 4]", "clip: [0.25]", "clip: must have two numbers"),
        ("{xz: 1}", "{}", "weights: must name workloads"),
        ("{xz: 1}", "{xz: -1}", "weights.xz: -1 is out of range"),
        ("size: smoke", "size: tiny", 'size: "tiny" is not allowed'),
        ("lambda: 0.5\n", "", "lambda: is missing"),
    ],
)
def test_a_wrong_suite_is_refused_by_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD_SUITE.replace(old, new))
    with pytest.raises(ConfigErrors) as caught:
        suites.load(str(path))
    assert said in str(caught.value)
    path.write_text(GOOD_SUITE)
    assert suites.load(str(path)).name == "mine"


def test_profiles_are_machines() -> None:
    for profile in profiles.PROFILES.values():
        assert profiles.vm_spec(profile).vcpus == profiles.vcpus(profile)
        if profiles.is_virtual(profile):
            assert profiles.machine(profile).vcpus == profiles.vcpus(profile)
    with pytest.raises(BenchError, match="no meaning under the virtual clock"):
        profiles.machine(Profile("x", cores=2, threads=2))
