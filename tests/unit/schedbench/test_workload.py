# SPDX-License-Identifier: Apache-2.0
"""The loader of workloads: what it accepts, what it says about the rest, and the shipped ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedbench import drivers, guestfiles, workload
from schedbench.model import Better, Clock, Part, SizeClass
from schedbench.suites import load as load_suite
from schedcpd.errors import ConfigErrors, NotFoundError
from schedcpd.host.yamlpos import Problems

GOOD = """\
title: A title
why: because
packages: [xz-utils]
drivers: [spin]
programs: [/usr/bin/xz]
parts:
  - {name: work, intent: batch, weight: 200, work_ms: N}
setup: echo one
run: |
  echo two
check: "true"
metrics:
  - {name: time, unit: s, better: lower, source: elapsed, alpha: 0.5}
  - {name: rate, unit: 1/s, better: higher, source: 'regex:rate ([0-9]+)', alpha: 0.5, scale: 10}
slos:
  - {metric: time, ratio: 1.25, hard: true}
  - {metric: rate, ratio: 0.8, hard: false}
sizes:
  smoke: {env: {N: 1}, repeats: 1, limit_s: 10}
  standard: {env: {N: 2}, repeats: 2, limit_s: 20, virtual_limit_s: 5}
  full: {env: {N: 3}, repeats: 3, limit_s: 30}
clocks: [wall, virtual]
visible: [title]
perturbation: the input
"""


def write(folder: Path, text: str, name: str = "one") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_field_is_read(tmp_path: Path) -> None:
    found = workload.read(write(tmp_path, GOOD))
    assert (found.name, found.title, found.packages) == ("one", "A title", ("xz-utils",))
    assert found.parts == (Part("work", "batch", 200, "N"),)
    assert (found.setup, found.run, found.check) == ("echo one\n", "echo two\n", "true\n")
    time, rate = found.metrics
    assert (time.better, time.alpha, time.scale) == (Better.LOWER, 0.5, 1.0)
    assert (rate.better, rate.source, rate.scale) == (Better.HIGHER, "regex:rate ([0-9]+)", 10.0)
    assert [(slo.metric, slo.ratio, slo.hard) for slo in found.slos] == [
        ("time", 1.25, True),
        ("rate", 0.8, False),
    ]
    standard = found.sizes[SizeClass.STANDARD]
    assert (standard.env, standard.repeats, standard.limit_s) == ({"N": "2"}, 2, 20.0)
    assert standard.virtual_limit_s == 5.0
    assert found.clocks == {Clock.WALL, Clock.VIRTUAL} and found.visible == ("title",)


def test_the_digest_follows_the_file_and_its_drivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = workload.read(write(tmp_path, GOOD)).digest
    assert workload.read(write(tmp_path, GOOD)).digest == first
    assert workload.read(write(tmp_path, GOOD + "# more\n")).digest != first
    monkeypatch.setattr(drivers, "source", lambda name: b"another source")
    assert workload.read(write(tmp_path, GOOD)).digest != first


WRONG = [
    ("title: A title", "titel: A title", "titel", "did you mean title?"),
    ("why: because\n", "", "why", "is missing"),
    ("drivers: [spin]", "drivers: [spinn]", "drivers[0]", "did you mean spin?"),
    ("programs: [/usr/bin/xz]", "programs: [xz]", "programs[0]", "absolute path"),
    ("intent: batch", "intent: fast", "parts[0].intent", "is not allowed"),
    ("weight: 200", "weight: 0", "parts[0].weight", "out of range"),
    ("work_ms: N", "work_ms: MS", "parts[0].work_ms", "no variable of the sizes"),
    ("  echo two", "", "run", "is empty"),
    ("better: lower", "better: less", "metrics[0].better", "is not allowed"),
    ("source: elapsed", "source: time", "metrics[0].source", "is no source"),
    ("rate ([0-9]+)", "rate [0-9]+", "metrics[1].source", "exactly one group"),
    ("rate ([0-9]+)", "rate ([0-9]+", "metrics[1].source", "no regular expression"),
    ("alpha: 0.5}", "alpha: 0.6}", "metrics", "add up to 1.1"),
    ("name: rate,", "name: time,", "metrics[1].name", "given twice"),
    ("metric: rate", "metric: speed", "slos[1].metric", "is not allowed"),
    ("ratio: 1.25", "ratio: 0.75", "slos[0].ratio", "does not fit"),
    ("ratio: 0.8", "ratio: 1.8", "slos[1].ratio", "does not fit"),
    ("hard: true", "hard: false", "slos", "none is hard"),
    ("env: {N: 2}", "env: {M: 2}", "sizes", "the same variables"),
    ("env: {N: 1}", "env: {SEED: 1}", "sizes.smoke.env.SEED", "taken by the harness"),
    ("env: {N: 1}", "env: {n: 1}", "sizes.smoke.env.n", "no name of a variable"),
    ("env: {N: 1}", "env: {N: [1]}", "sizes.smoke.env.N", "one line of text"),
    ("repeats: 1", "repeats: 1.5", "sizes.smoke.repeats", "whole number"),
    ("  full: {env: {N: 3}, repeats: 3, limit_s: 30}\n", "", "sizes.full", "is missing"),
    ("clocks: [wall, virtual]", "clocks: []", "clocks", "empty list"),
    ("visible: [title]", "visible: [parts]", "visible[0]", "is not allowed"),
]


@pytest.mark.parametrize(("good", "bad", "field", "said"), WRONG)
def test_a_wrong_field_is_named_with_its_line(
    good: str, bad: str, field: str, said: str, tmp_path: Path
) -> None:
    assert good in GOOD
    path = write(tmp_path, GOOD.replace(good, bad, 1))
    with pytest.raises(ConfigErrors) as caught:
        workload.read(path)
    found = [problem for problem in caught.value.problems if problem.field == field]
    assert found, str(caught.value)
    assert said in str(found[0]) and found[0].file == str(path) and found[0].line > 0
    assert found[0].hint


def test_all_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("batch", "fast").replace("elapsed", "time"), "one")
    write(tmp_path, "title: x\n", "two")
    with pytest.raises(ConfigErrors) as caught:
        workload.load_all(tmp_path)
    files = {Path(problem.file).name for problem in caught.value.problems}
    assert files == {"one.yaml", "two.yaml"}
    assert len(caught.value.problems) > 5


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]", "title", "a: [", "a: !!python/name:os"])
def test_what_is_no_workload_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors):
        workload.read(write(tmp_path, text))


def test_an_unknown_workload_is_answered_with_the_known(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="did you mean longtail"):
        workload.load("longtale")
    with pytest.raises(NotFoundError):
        workload.load("../workloads/xz")


LINES = GOOD.splitlines()


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(LINES) - 1),
            st.sampled_from(["", "{", "- x", "a: 1", "~", "sizes: 3", "metrics: [1]"])
            | st.text(max_size=20),
        ),
        max_size=6,
    )
)
def test_any_damage_is_a_problem_or_a_workload(edits: list[tuple[int, str]]) -> None:
    lines = list(LINES)
    for at, text in edits:
        lines[at] = text
    problems = Problems("x.yaml")
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    found = workload.parse(data, "x", problems)
    assert found is None or not problems
    if found is not None:
        assert found.metrics and found.parts and len(found.sizes) == 3


# ---------------------------------------------------------------- the shipped ones

SHIPPED = workload.load_all()


def test_there_are_enough_of_every_kind() -> None:
    assert len(SHIPPED) >= 16
    assert sum(Clock.VIRTUAL in one.clocks for one in SHIPPED.values()) >= 6
    assert all(Clock.WALL in one.clocks for one in SHIPPED.values())


def test_the_suites_name_workloads_that_exist() -> None:
    for path in (Path(workload.__file__).parent / "suites").glob("*.yaml"):
        assert set(load_suite(path.stem).workloads) <= set(SHIPPED), path.name


@pytest.mark.parametrize("name", SHIPPED)
def test_its_scripts_use_what_it_declares(name: str) -> None:
    one = SHIPPED[name]
    script = one.setup + one.run + one.check
    for part in one.parts:
        assert re.search(rf'\bpart {part.name} |/{part.name}[/:"]', script), part.name
    for used in re.findall(r"\bpart ([a-z-]+) ", script):
        assert used in {part.name for part in one.parts}
    for driver in one.drivers:
        assert re.search(rf"\b{driver} ", script), driver
    for variable in one.sizes[SizeClass.SMOKE].env:
        assert f"${variable}" in script or re.search(rf"\$\(\(.*\b{variable}\b", script), variable
    assert "SEED" in script, "a seed changes nothing"
    if Clock.VIRTUAL in one.clocks:
        for program in re.findall(r"(?<![\w$])/usr/s?bin/[\w+-]+", script):
            assert program in one.programs, f"{program} would be missing in the initramfs"


@pytest.mark.parametrize("name", SHIPPED)
def test_its_scripts_are_shell(name: str) -> None:
    one = SHIPPED[name]
    shells = [shell for shell in (["/bin/sh"], ["busybox", "sh"]) if shutil.which(shell[0])]
    for script in (one.setup, one.run, one.check):
        for shell in shells:
            done = subprocess.run(
                [*shell, "-n"], input=script, text=True, capture_output=True, check=False
            )
            assert done.returncode == 0, done.stderr


def test_the_drivers_they_need_exist() -> None:
    used = {name for one in SHIPPED.values() for name in guestfiles.drivers_of(one)}
    assert used <= set(drivers.names())


def test_the_documentation_s_table_is_theirs() -> None:
    text = (Path(__file__).parents[3] / "docs/schedbench/workloads.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.count(" | ") == 4 and "---" not in line][1:]
    arrow = {Better.LOWER: "↓", Better.HIGHER: "↑"}
    wanted = []
    for one in SHIPPED.values():
        parts = ", ".join(f"{part.name}: {part.intent}" for part in one.parts)
        metrics = ", ".join(f"{m.name} {arrow[m.better]} ({m.unit})" for m in one.metrics)
        clocks = ", ".join(sorted(one.clocks))
        wanted.append(f"| {one.name} | {one.title} | {parts} | {metrics} | {clocks} |")
    assert rows == wanted


SPINNING = [name for name in workload.names() if "spin" in workload.load(name).drivers]


@pytest.mark.parametrize("name", SPINNING)
def test_a_hog_that_comes_late_is_awaited_before_anything_else(name: str, tmp_path: Path) -> None:
    """The work takes no time here, and the hog comes late, as one does that gets no CPU: the signal
    that ends it must still find its handler."""
    one, programs = workload.load(name), tmp_path / "bin"
    programs.mkdir()
    spin = [drivers.HERE / "spin.c", "-lm"]
    subprocess.run(["gcc", *drivers.CFLAGS, "-o", programs / "spin", *spin], check=True)
    stubs = dict.fromkeys(map(os.path.basename, one.programs), "#!/bin/sh\n")
    stubs |= dict.fromkeys(set(one.drivers) - {"spin"}, "#!/bin/sh\n")
    stubs["taskset"] = '#!/bin/sh\nshift 2\nexec "$@"\n'
    stubs["part"] = '#!/bin/sh\nshift\ncase "$*" in *spin*) sleep 0.3 ;; esac\nexec "$@"\n'
    stubs["await"] = (guestfiles.HERE / "await").read_text("utf-8")
    for program, text in stubs.items():
        (programs / program).write_text(text)
        (programs / program).chmod(0o755)
    script = re.sub(r"/usr/bin/(?=[a-z])", "", one.run)
    env = {**one.sizes[SizeClass.SMOKE].env, "SEED": "1", "CPUS": "4"}
    env["PATH"] = f"{programs}:{os.environ['PATH']}"
    for _ in range(2):  # repeats: what the first leaves behind must not pass for a hog
        done = subprocess.run(
            ["/bin/sh", "-eu", "-c", script],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert '"least_cpus":' in done.stdout


def test_a_hog_that_dies_is_not_awaited_for_ever(tmp_path: Path) -> None:
    script = f'sh -c "exit 1" & sh {guestfiles.HERE / "await"} ready $!'
    done = subprocess.run(["/bin/sh", "-eu", "-c", script], cwd=tmp_path, timeout=60)
    assert done.returncode == 1
