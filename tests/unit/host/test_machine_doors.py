# SPDX-License-Identifier: Apache-2.0
"""cgroupfs, procfs, sched_ext, sd_notify, files: real doors on small trees."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from schedcpd.host import journal
from schedcpd.host.cgroupfs import Cgroup2
from schedcpd.host.files import write_atomically
from schedcpd.host.procfs import Procfs
from schedcpd.host.scx import SysScx
from schedcpd.host.sdnotify import Notifier
from schedcpd.model import ScxState


def test_a_cgroup_that_vanished_reads_as_nothing(tmp_path: Path) -> None:
    fs = Cgroup2(tmp_path)
    assert fs.id_of("/gone") is None
    assert fs.children("/gone") == ()
    assert fs.populated("/gone") is None
    assert fs.procs("/gone") == ()
    assert (fs.cpu_usage_us("/gone"), fs.cpu_weight("/gone"), fs.pressure("/gone")) == (None,) * 3


def test_procs(tmp_path: Path) -> None:
    fs = Cgroup2(tmp_path)
    (tmp_path / "cgroup.procs").write_text("0\n" + "".join(f"{n}\n" for n in range(1, 30_000)))
    assert fs.procs("/") == tuple(range(1, 30_000))  # 0: a process of another pid namespace
    assert fs.procs("/", limit=3) == (1, 2, 3)


def test_why_a_mount_cannot_be_used(tmp_path: Path) -> None:
    assert "does not exist" in Cgroup2(tmp_path / "none").unusable()
    assert "not a cgroup v2 mount" in Cgroup2(tmp_path).unusable()
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    assert Cgroup2(tmp_path).unusable() == ""


def test_walk_gives_parents_first(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    found = list(Cgroup2(tmp_path).walk())
    assert [path for path, _ in found] == ["/a", "/a/b"]
    assert found[1][1] == (tmp_path / "a" / "b").stat().st_ino


def test_who_a_process_is() -> None:
    proc = Procfs()
    me = os.getpid()
    assert proc.executable(me) == Path("/proc/self/exe").readlink().name
    assert proc.uid(me) == os.getuid()
    assert proc.comm(me) == Path("/proc/self/comm").read_text().strip()
    assert proc.executable(2**22 + 1) is None
    assert proc.uid(2**22 + 1) is None


def test_a_deleted_executable_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "exe").symlink_to("/usr/sbin/nginx (deleted)")
    (tmp_path / "7" / "cgroup").write_text("1:name=systemd:/\n0::/a.service (deleted)\n")
    assert Procfs(tmp_path).executable(7) == "nginx"
    assert Procfs(tmp_path).cgroup(7) == "/a.service"


def test_sched_ext(tmp_path: Path) -> None:
    scx = SysScx(tmp_path)
    assert scx.snapshot().state is ScxState.ABSENT
    assert "no sched_ext" in scx.unsupported()
    sys = tmp_path / "sys/kernel/sched_ext"
    (sys / "root").mkdir(parents=True)
    (sys / "state").write_text("enabled\n")
    assert "no BTF" in scx.unsupported()
    (tmp_path / "sys/kernel/btf").mkdir()
    (tmp_path / "sys/kernel/btf/vmlinux").write_text("")
    assert scx.unsupported() == ""
    (sys / "root/ops").write_text("intent\n")
    (sys / "enable_seq").write_text("4\n")
    snapshot = scx.snapshot()
    assert (snapshot.state, snapshot.ops, snapshot.enable_seq) == (ScxState.ENABLED, "intent", 4)
    assert snapshot.loaded
    (sys / "state").write_text("a state of a later kernel\n")
    assert scx.snapshot().loaded  # somebody is at it: hands off


def test_an_atomic_write_that_fails_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomically(path, b"old")
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="state"):
        write_atomically(path, b"new")
    assert list(tmp_path.iterdir()) == [path]  # no temporary file stays


def test_the_service_manager_hears_us(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "9000000"})
        notifier.ready("active:\nall well")
        notifier.reloading()
        assert manager.recv(4096) == b"READY=1\nSTATUS=active: all well"
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert notifier.watchdog_s == 9.0
    notifier.watchdog()  # nobody listens any more: no error
    assert Notifier({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).watchdog_s == 0.0


def test_journal_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, dict[str, object]]] = []
    handler = journal.JournalHandler.__new__(journal.JournalHandler)
    logging.Handler.__init__(handler)
    handler._send = lambda message, **fields: sent.append((message, fields))
    logger = logging.Logger("schedcpd.x")
    logger.addHandler(handler)
    logger.warning("state %s", "active", extra={"intent-class": "batch"})
    ((message, fields),) = sent
    assert message == "state active"
    assert (fields["PRIORITY"], fields["SCHEDCP_INTENT_CLASS"]) == (4, "batch")
    assert isinstance(fields["CODE_LINE"], int)  # systemd.journal.send formats it as a number
    stat = os.fstat(2)
    assert journal.under_journal({"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"})
    assert not journal.under_journal({"JOURNAL_STREAM": "1:2"})
    assert not journal.under_journal({})
