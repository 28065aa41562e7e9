# SPDX-License-Identifier: Apache-2.0
"""External schedulers: what is found, what is trusted, how a program is started, seen and ended.

The programs are copies of dash with a script among their fixed arguments, and the kernel is a tree
of files that the script writes, as the kernel would when a scheduler is enabled.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import NotFoundError, SchedulerHostError
from schedcpd.host import external
from schedcpd.host.external import ExternalScheduler, holds_struct_ops
from schedcpd.host.program_file import ProgramFinder
from schedcpd.host.program_words import end_of, last_words
from schedcpd.host.scx import SysScx
from schedcpd.host.scx_programs import ScxProgram
from schedcpd.model import ACT_RESTART, ExitKind, IntentClass, ScxState

TOP = Path(__file__).parents[3]
NAME = "scx_rusty"
# `scx ENABLED OPS SEQ` is what the kernel does; the rest is what a scheduler's program does.
KERNEL = """
s={root}/sys/kernel/sched_ext; mkdir -p $s/root
scx() {{ echo $3 >$s/enable_seq; echo $2 >$s/root/ops; echo $1 >$s/state; }}
leave() {{ echo disabled >$s/state; echo "EXIT: unregistered from user space"; exit 0; }}
"""
RUNS = "trap leave INT; scx enabled rusty_1.0 7; echo ready; while :; do sleep 0.05; done"


class Bench:
    """A directory of programs and a kernel made of files."""

    def __init__(self, root: Path) -> None:
        self.root, self.bin = root, root / "bin"
        self.bin.mkdir()
        self.path = self.bin / NAME
        shutil.copy(os.path.realpath("/bin/sh"), self.path)
        self.path.chmod(0o755)
        self.finder = ProgramFinder((self.bin,), os.getuid())
        self.scx = SysScx(root)
        state = root / "sys/kernel/sched_ext"
        state.mkdir(parents=True)
        (state / "state").write_text("disabled\n")
        (state / "enable_seq").write_text("6\n")
        self.started: list[ExternalScheduler] = []

    def program(self, script: str) -> ExternalScheduler:
        text = KERNEL.format(root=self.root) + script
        table = ScxProgram(NAME, MappingProxyType({"auto": ("-c", text)}))
        made = ExternalScheduler(self.finder.open(NAME), table, "auto")
        self.started.append(made)
        return made

    def running(self, script: str = RUNS) -> ExternalScheduler:
        made = self.program(script)
        made.attach(self.scx.snapshot, 20.0)
        return made


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(external, "holds_struct_ops", lambda _pid: True)
    made = Bench(tmp_path)
    yield made
    for each in made.started:
        each.close()


def pid_of(scheduler: ExternalScheduler) -> int:
    assert scheduler._process is not None
    return scheduler._process.pid


def ended(scheduler: ExternalScheduler) -> None:
    deadline = time.monotonic() + 20
    while scheduler.alive:
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.01)


# ---------------------------------------------------------------- start, proof, end


def test_a_program_is_started_proven_and_ended_in_order(bench: Bench) -> None:
    running = bench.running()
    assert running.ops_name == "rusty_1.0"
    assert running.runs(bench.scx.snapshot())
    assert (running.alive, running.exit_record()) == (True, None)
    argv = Path(f"/proc/{pid_of(running)}/cmdline").read_bytes().split(b"\0")
    assert argv[:2] == [NAME.encode(), b"-c"]
    assert bench.path.samefile(f"/proc/{pid_of(running)}/exe")
    running.close()
    assert bench.scx.snapshot().state is ScxState.DISABLED  # it could clean up: SIGINT
    record = running.exit_record()
    assert record is not None
    assert (record.kind, record.reason) == (ExitKind.UNREG, "unregistered from user space")
    running.close()  # twice does no harm


def test_nothing_of_the_host_is_handed_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LD_PRELOAD", "")
    running = bench.running(f"env >{bench.root}/env; ls -l /proc/$$/fd >{bench.root}/fd; {RUNS}")
    names = {line.split("=")[0] for line in (bench.root / "env").read_text().split()}
    assert names == {"PATH", "LANG", "LC_ALL", "HOME", "NO_COLOR", "PWD"}
    links = [line for line in (bench.root / "fd").read_text().splitlines() if "->" in line]
    targets = {line.rpartition("-> ")[2] for line in links}
    assert {t for t in targets if not t.startswith("pipe:")} <= {"/dev/null", f"{bench.root}/fd"}
    assert os.sched_getscheduler(pid_of(running)) == os.SCHED_OTHER
    assert str(Path(f"/proc/{pid_of(running)}/cwd").readlink()) == "/"


def test_refused_arguments_are_told_with_the_programs_words(bench: Bench) -> None:
    made = bench.program("echo \"error: unexpected argument '--autopilot' found\" >&2; exit 2")
    with pytest.raises(SchedulerHostError, match="unexpected argument '--autopilot'") as error:
        made.attach(bench.scx.snapshot, 20.0)
    assert "exit code 2" in error.value.message
    assert "not to know the arguments" in error.value.hint


@pytest.mark.parametrize(
    "script",
    [
        "exec sleep 100",
        "scx enabled lavd_1.0 7; exec sleep 100",  # somebody else's
        "scx enabled rusty_1.0 6; exec sleep 100",  # not enabled since
        "scx enabling rusty_1.0 7; exec sleep 100",
    ],
)
def test_what_is_not_proven_in_time_is_ended(bench: Bench, script: str) -> None:
    made = bench.program(script)
    with pytest.raises(SchedulerHostError, match=r"after 0.5 s the kernel's state") as error:
        made.attach(bench.scx.snapshot, 0.5)
    assert "start_timeout_s" in error.value.hint
    assert not made.alive


def test_a_program_without_the_link_is_not_what_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "holds_struct_ops", holds_struct_ops)
    with pytest.raises(SchedulerHostError, match=r"state is enabled with ops 'rusty_1\.0'"):
        bench.program(RUNS).attach(bench.scx.snapshot, 1.0)


def test_the_link_is_seen_in_fdinfo(tmp_path: Path) -> None:
    (tmp_path / "5/fdinfo").mkdir(parents=True)
    (tmp_path / "5/fdinfo/3").write_text("pos:\t0\nlink_type:\ttracing\n")
    assert not holds_struct_ops(5, tmp_path)
    (tmp_path / "5/fdinfo/4").write_text("pos:\t0\nlink_type:\tstruct_ops\nlink_id:\t9\n")
    assert holds_struct_ops(5, tmp_path)
    assert not holds_struct_ops(6, tmp_path)


def test_a_program_that_will_not_end_is_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        external,
        "_ENDING",
        ((signal.SIGINT, 0.2), (signal.SIGTERM, 0.2), (signal.SIGKILL, 5.0)),
    )
    stubborn = RUNS.replace("trap leave INT", "trap '' INT TERM")
    running = bench.running(stubborn)
    running.close()
    record = running.exit_record()
    assert record is not None
    assert record.reason == "its program was killed by SIGKILL"


def test_a_crash_is_told_apart_from_an_operators_kill(bench: Bench) -> None:
    running = bench.running(f"echo 'thread main panicked'; {RUNS}")
    os.kill(pid_of(running), signal.SIGKILL)
    ended(running)
    record = running.exit_record()
    assert record is not None
    assert record.kind == ExitKind.UNREG
    (bench.root / "sys/kernel/sched_ext/enable_seq").write_text("6\n")
    running = bench.running(f"printf '\\033[31mthread main panicked\\033[0m\\n'; {RUNS}")
    os.kill(pid_of(running), signal.SIGABRT)
    ended(running)
    record = running.exit_record()
    assert record is not None
    assert (record.kind, record.reason) == (ExitKind.ERROR, "its program crashed by SIGABRT")
    assert "thread main panicked" in record.message
    assert record.dump.splitlines()[0] == "thread main panicked"


def test_a_program_that_left_the_kernel_by_itself_is_to_be_started_again(bench: Bench) -> None:
    running = bench.running()
    (bench.root / "sys/kernel/sched_ext/enable_seq").write_text("8\n")
    now = bench.scx.snapshot()
    assert not running.runs(now)
    record = running.unexplained(now)
    assert (record.kind, record.code) == (ExitKind.UNREG_KERN, ACT_RESTART)


def test_it_knows_no_intents_and_keeps_no_statistics(bench: Bench) -> None:
    running = bench.running()
    assert running.set_intents([(7, IntentClass.BATCH)], [8]) == 0
    for asked in (running.class_stats, lambda: running.cgroup_stats(None)):
        with pytest.raises(NotFoundError, match="external"):
            asked()


def test_a_chatty_program_is_read_and_only_its_end_is_kept(bench: Bench) -> None:
    running = bench.running(
        f"i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; {RUNS}"
    )
    os.kill(pid_of(running), signal.SIGKILL)
    ended(running)
    record = running.exit_record()
    assert record is not None
    assert record.dump.splitlines()[-2:] == ["line 2999", "ready"]
    assert len(running._lines) <= external.KEPT_LINES


def test_the_program_does_not_outlive_its_host(bench: Bench) -> None:
    """SIGKILL of the host, which has no chance to say anything."""
    host = f"""
import sys, time
from schedcpd.host import external
from schedcpd.host.external import ExternalScheduler
from schedcpd.host.program_file import ProgramFinder
from schedcpd.host.scx import SysScx
from schedcpd.host.scx_programs import ScxProgram
from pathlib import Path
external.holds_struct_ops = lambda pid: True
table = ScxProgram({NAME!r}, {{"auto": ("-c", {KERNEL.format(root=bench.root) + RUNS!r})}})
made = ExternalScheduler(ProgramFinder((Path({str(bench.bin)!r}),), {os.getuid()}).open({NAME!r}),
                         table, "auto")
made.attach(SysScx({str(bench.root)!r}).snapshot, 20)
print(made._process.pid, flush=True)
time.sleep(100)
"""
    with subprocess.Popen(
        [sys.executable, "-c", host], cwd=TOP, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.kill(pid, 0)
        process.kill()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/exe").exists() and os.access(f"/proc/{pid}/exe", os.F_OK):
        assert time.monotonic() < deadline, "the program goes on"
        time.sleep(0.02)


def test_the_reader_ends_with_the_program(bench: Bench) -> None:
    running = bench.running()
    running.close()
    assert NAME not in {thread.name for thread in threading.enumerate()}


# ---------------------------------------------------------------- its words


@pytest.mark.parametrize(
    ("code", "lines", "kind"),
    [
        (1, ["Error: EXIT: runnable task stall (kworker[5] failed)"], ExitKind.ERROR_STALL),
        (1, ["EXIT: runtime error (invalid CPU 9)"], ExitKind.ERROR),
        (1, ["EXIT: scx_bpf_error (no memory)"], ExitKind.ERROR_BPF),
        (1, ["EXIT: disabled by sysrq-S"], ExitKind.SYSRQ),
        (0, ["EXIT: unregistered from user space"], ExitKind.UNREG),
        (0, ["EXIT: unregistered from the main kernel"], ExitKind.UNREG_KERN),
        (101, ["EXIT: unregistered from user space", "panicked"], ExitKind.ERROR),
        (0, [], ExitKind.UNREG),
        (1, [], ExitKind.ERROR),
        (-9, [], ExitKind.UNREG),
        (-15, ["EXIT: something new"], ExitKind.UNREG),
        (-11, [], ExitKind.ERROR),
        (-64, [], ExitKind.ERROR),
        (1, ["EXIT: runtime error (x)", "EXIT: disabled by sysrq-S"], ExitKind.SYSRQ),
    ],
)
def test_an_end_is_what_the_kernel_said_or_what_the_code_says(
    code: int, lines: list[str], kind: ExitKind
) -> None:
    assert end_of(code, lines)[0] is kind


@given(st.integers(-255, 255), st.lists(st.text()))
def test_no_end_is_unexpected(code: int, lines: list[str]) -> None:
    kind, reason = end_of(code, lines)
    assert kind in (ExitKind.UNREG, ExitKind.ERROR) or any("EXIT: " in line for line in lines)
    assert reason
    assert 0 < len(last_words(lines)) <= 600
