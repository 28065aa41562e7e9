# SPDX-License-Identifier: Apache-2.0
"""The drivers, compiled by this machine's compiler: do they measure what their heads say?"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schedbench import drivers
from schedcpd.errors import NotFoundError

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a driver; compiles it at its first use."""
    folder = tmp_path_factory.mktemp("drivers")

    def start(name: str, *argv: object, cwd: Path | None = None) -> Any:
        program = folder / name
        if not program.exists():
            source = drivers.HERE / f"{name}.c"
            subprocess.run(
                ["gcc", *drivers.CFLAGS, "-o", program, source, "-lm"], check=True, timeout=120
            )
        words = [str(program), *map(str, argv)]
        return subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=120, cwd=cwd
        )

    return start


def test_a_driver_s_source_has_its_headers() -> None:
    assert b"splitmix64" in drivers.source("longtail")
    with pytest.raises(NotFoundError, match="longtail"):
        drivers.source("no-such")


def test_a_marker_is_one_json_line(run: Run) -> None:
    out = run("mark", "setup", "code=0", 'text=a"b\\c\n', "empty=", "zero=007", "neg=-5").stdout
    match = re.fullmatch(r"SCHEDBENCH setup (\{.*\})\n", out)
    assert match, out
    data = json.loads(match[1])
    assert data.pop("ns") > 0
    assert data == {"code": 0, "text": 'a"b\\c ', "empty": "", "zero": "007", "neg": -5}


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("no-such-command", 127)],
)
def test_a_run_is_stamped_and_its_output_kept_apart(
    script: str, code: int, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run(
        "mark", "-run", "2", out, "/bin/sh", "-c", f"echo SCHEDBENCH end; sleep 0.2; {script}"
    )
    begin, end = done.stdout.splitlines()
    assert done.returncode == 0
    assert begin.startswith("SCHEDBENCH begin ") and end.startswith("SCHEDBENCH end ")
    data = json.loads(end.removeprefix("SCHEDBENCH end "))
    assert (data["repeat"], data["code"]) == (2, code)
    assert 0.2e9 <= data["ns"] - data["began"] < 60e9
    assert json.loads(begin.removeprefix("SCHEDBENCH begin "))["ns"] <= data["began"]
    assert out.read_text().startswith("SCHEDBENCH end\n")


def test_a_longtail_does_the_same_work_for_every_seed(run: Run) -> None:
    for seed in (1, 2):
        data = json.loads(run("longtail", 7, 5, 40, seed).stdout)
        assert data["tasks"] == 8
        assert 75 <= data["cpu_ms"] < 150
        assert data["makespan_ms"] >= data["long_ms"] >= 40
        assert data["makespan_ms"] >= data["short_p99_ms"]
        assert 0 < data["mean_ms"] <= data["makespan_ms"]


def test_the_long_one_of_a_batch_goes_where_it_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").touch()
    data = json.loads(run("longtail", 3, 2, 20, 1, tmp_path).stdout)
    assert (tmp_path / "cgroup.procs").read_text().isdigit()  # one process
    assert data["over_bound"] >= 1


def test_hogs_share_what_there_is(run: Run, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        (folder / "cgroup.procs").touch()
    data = json.loads(run("hogs", 200, 1, f"{folders[0]}:1:2", f"{folders[1]}:3:1").stdout)
    assert all((folder / "cgroup.procs").read_text() == "0" for folder in folders)
    a, b = data["shares"]
    assert a + b == pytest.approx(1, abs=1e-5)
    assert data["least_percent"] == pytest.approx(100 * min(a, b), abs=0.01)
    kept = min(a / 0.25, 0.25 / a, b / 0.75, 0.75 / b)
    assert data["kept_percent"] == pytest.approx(100 * kept, abs=0.01)
    assert 0 < data["jain"] < 1 and data["cpus"] > 0


def test_placement_sees_the_machine(run: Run) -> None:
    data = json.loads(run("placement", 2, 1000, 1000, 200, 1).stdout)
    cpus = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    assert data["cores"] == len({path.read_text() for path in cpus})
    assert 1 <= data["caches"] <= data["cores"] and data["wakeups"] > 0
    assert 0 < data["whole_core_percent"] <= 100 and 0 < data["same_cache_percent"] <= 100


def test_wakebench_serves_requests(run: Run) -> None:
    data = json.loads(run("wakebench", 2, 2, 300, 100, 300, 1).stdout)
    assert data["requests"] > 0
    assert 0 < data["rps"] <= data["requests"] / 0.3
    for kind in ("wakeup", "request"):
        assert 0 < data[f"{kind}_p50_us"] <= data[f"{kind}_p99_us"] <= data[f"{kind}_max_us"]
    assert data["request_p50_us"] >= 300  # think time and three quarters of the work
    assert 0 < data["fairness"] <= 1


def test_wakebench_ends_with_many_messengers(run: Run) -> None:
    for seed in range(12):  # a messenger that ends must not silence another one's workers
        assert run("wakebench", 8, 2, 50, 20, 400, seed).returncode == 0


def test_periodic_counts_all_jobs_and_their_lateness(run: Run) -> None:
    data = json.loads(run("periodic", 2, 20000, 500, 400, 3).stdout)
    assert 36 <= data["jobs"] <= 40
    assert 0 < data["wakeup_p50_us"] <= data["wakeup_p99_us"] <= data["wakeup_max_us"]
    assert 0 < data["done_percent"] <= 100


def test_periodic_cannot_hide_a_starved_task(run: Run) -> None:
    # Three times the work that fits: two of three jobs are skipped, and are late and missed.
    data = json.loads(run("periodic", 1, 10000, 30000, 300, 1).stdout)
    assert 28 <= data["jobs"] <= 30
    assert data["done_percent"] == 0 and data["wakeup_p99_us"] > 15000


def test_spin_ends_by_time_and_reports_the_least_served(run: Run) -> None:
    data = json.loads(run("spin", 2, 200).stdout)
    assert 200 <= data["wall_ms"] < 60_000
    assert 0 < data["least_cpus"] <= data["cpus"] / 2 <= 1.01


def test_a_hog_that_is_ready_ends_well_at_once(run: Run, tmp_path: Path) -> None:
    program = str(run("spin", 1, 1).args[0])
    for n in range(20):
        ready = tmp_path / str(n)
        with subprocess.Popen([program, "3", "0", ready], stdout=subprocess.PIPE) as hog:
            while not ready.exists():
                assert hog.poll() is None
            hog.terminate()
            out, _ = hog.communicate(timeout=60)
        assert hog.returncode == 0 and json.loads(out)["wall_ms"] > 0
    assert run("spin", 1, 1, tmp_path / "0").returncode == 1  # an old hog's file is no sign


@pytest.mark.parametrize(
    "argv", [("text", 64), ("table", 500, 40), ("keys", 300)], ids=lambda argv: str(argv[0])
)
def test_data_follows_the_seed(argv: tuple[object, ...], run: Run) -> None:
    one, again, other = (run("mkdata", *argv, seed).stdout for seed in (1, 1, 2))
    assert one == again != other and len(one) > 1000


def test_keys_are_each_there_once(run: Run) -> None:
    keys = [line.split()[0] for line in run("mkdata", "keys", 300, 5).stdout.splitlines()]
    assert len(keys) == len(set(keys)) == 300 and keys != sorted(keys)
    rows = run("mkdata", "table", 500, 300, 5).stdout.splitlines()
    assert len(rows) == 500 and {row.split()[0] for row in rows} <= set(keys)


@pytest.mark.parametrize(("kind", "compiler"), [("c", "gcc"), ("c++", "g++"), ("stl", "g++")])
def test_the_built_tree_prints_what_was_foretold(
    kind: str, compiler: str, run: Run, tmp_path: Path
) -> None:
    if kind != "c" and shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine; the VM test builds it with clang")
    expected = run("mktree", kind, "tree", 3, 4, 9, cwd=tmp_path).stdout
    argv = ["make", "-s", "-j2", "-C", tmp_path / "tree", f"CC={compiler}", "FLAGS=-O1"]
    subprocess.run(argv, check=True, timeout=120)
    done = subprocess.run([tmp_path / "tree/program"], capture_output=True, text=True, check=True)
    assert done.stdout == expected
    # A changed source is found out.
    source = next(path for path in (tmp_path / "tree").glob("u*.c*"))
    source.write_text(re.sub(r"x \* 3 -", "x * 5 -", source.read_text()))
    subprocess.run(argv, check=True, timeout=120)
    done = subprocess.run([tmp_path / "tree/program"], capture_output=True, text=True, check=True)
    assert done.stdout != expected


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("longtail", ("1", "2", "3")),
        ("longtail", ("0", "2", "3", "4")),
        ("wakebench", ("1", "x", "1", "1", "1", "1")),
        ("spin", ("1", "-1")),
        ("hogs", ("1", "1")),
        ("hogs", ("1", "1", "folder:1")),
        ("hogs", ("1", "1", "folder:0:1")),
        ("placement", ("65", "1", "1", "1", "1")),
        ("periodic", ()),
        ("mkdata", ("poem", "3", "1")),
        ("mktree", ("rust", "tree", "1", "1", "1")),
        ("mark", ()),
        ("mark", ("name", "no-value")),
    ],
)
def test_wrong_arguments_are_an_error(name: str, argv: tuple[str, ...], run: Run) -> None:
    done = run(name, *argv)
    assert done.returncode == 2 and name in done.stderr and not done.stdout
