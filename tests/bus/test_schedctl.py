# SPDX-License-Identifier: Apache-2.0
"""schedctl as a process against a real bus: every command, its JSON, its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.bus.service import BusService
from schedcpd.model import DaemonState, LearnedRecord, RecordKind
from schedctl.text import width
from tests.bus.cli import Schedctl, environment
from tests.bus.fake_control import SHIPPED, FakeControl, view
from tests.bus.private_bus import MockPolkit, PrivateBus

ESCAPE = "\x1b["


async def test_status(ctl: Schedctl, service: BusService) -> None:
    plain = await ctl("status")
    assert (plain.code, plain.err) == (0, "")
    assert re.search(r"^State +active$", plain.out, re.M)
    assert re.search(r"^Scheduler +intent \(Linux 7\.3\.4-test\)$", plain.out, re.M)
    assert ESCAPE not in plain.out
    for args in (("status", "--json"), ("--json", "status")):
        ran = await ctl(*args)
        assert ran.code == 0
        assert ran.json["status"] == {
            "version": "0.1.0",
            "state": "active",
            "state_reason": "intent runs",
            "kernel": "7.3.4-test",
            "scheduler": "intent",
            "policy": "intent-default",
            "policy_source": "auto",
            "deployment_id": "d-1",
            "verdict_id": "v-1",
            "last_known_good": "intent-default",
            "inference": "rules",
            "agent": "not configured",
            "kill_switch": False,
            "workloads": 2,
        }


async def test_list(ctl: Schedctl, service: BusService, control: FakeControl) -> None:
    empty = view(300, "empty.service")
    control.add(replace(empty, profile=replace(empty.profile, populated=False, nr_procs=0)))
    control.pinned["/system.slice/gone.service"] = next(iter(type(empty.intent.intent_class)))
    ran = await ctl("list")
    assert ran.code == 0
    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert lines[0] == ["NAME", "INTENT", "SOURCE", "PROCS", "CPU-WAIT", "CGROUP"]
    assert [line[0] for line in lines[1:]] == ["build", "nginx", "(not running)"]
    assert lines[2][1:] == ["normal", "default", "2", "0.0%", "/system.slice/nginx.service"]
    everything = (await ctl("list", "--all", "--json")).json["list"]
    assert [each["unit"] for each in everything["workloads"]] == [
        "build.service",
        "empty.service",
        "nginx.service",
    ]
    assert everything["pinned_absent"] == {"/system.slice/gone.service": "latency"}


async def test_pin_and_unpin(
    ctl: Schedctl, service: BusService, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    ran = await ctl("pin", "/sys/fs/cgroup/system.slice/nginx.service/", "latency")
    assert (ran.code, ran.out) == (0, "/system.slice/nginx.service: pinned to latency\n")
    assert control.calls[0][:3] == ("pin", "/system.slice/nginx.service", "latency")
    again = await ctl("--json", "pin", "build", "batch")
    assert again.json["workload"]["intent"] == "batch"
    ran = await ctl("unpin", "nginx")
    assert (ran.code, ran.out) == (0, "nginx: unpinned; now normal (default)\n")
    ran = await ctl("unpin", "nginx")
    assert ran.code == 1
    assert "not pinned" in ran.err


async def test_changes_of_the_scheduler(
    ctl: Schedctl, service: BusService, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    assert (await ctl("apply", "auto")).out == "applied: policy auto, intent runs\n"
    ran = await ctl("rollback", "--reason", "too slow", "--json")
    assert ran.json["status"]["policy"] == "kernel-default"
    assert (await ctl("reload")).code == 0
    ran = await ctl("kill", "--reason", "drill")
    assert ran.code == 0
    assert "kernel's own scheduler" in ran.out
    assert (await ctl("apply", "auto")).code == 1
    ran = await ctl("resume", "--json")
    assert ran.json["resume"]["done"][-1] == "the kill switch is released"
    assert [call[:2] for call in control.calls if call[0] != "reload"] == [
        ("apply", "auto"),
        ("rollback", "too slow"),
        ("kill", "drill"),
        ("resume", control.calls[-1][1]),
    ]


async def test_explain(ctl: Schedctl, service: BusService) -> None:
    ran = await ctl("explain", "nginx")
    assert "cgroup    /system.slice/nginx.service" in ran.out
    assert "wants     normal: no rule matched\n" in ran.out
    assert (await ctl("explain", "--json")).json["explain"]["deployment"]["id"] == "d-1"


async def test_log(ctl: Schedctl, service: BusService, control: FakeControl) -> None:
    control.records = [
        LearnedRecord(RecordKind.DECISION, 1.5, "/a", "a is batch", {"n": 1}, id=1),
        LearnedRecord(RecordKind.OUTCOME, 2.5, "d-1", "ran\x1b[2J", id=2),
    ]
    ran = await ctl("log", TZ="UTC")
    assert ran.out.splitlines() == [
        "TIME\tKIND\tSUBJECT\tSUMMARY",
        "1970-01-01 00:00:02\toutcome\td-1\tran\\x1b[2J",
        "1970-01-01 00:00:01\tdecision\t/a\ta is batch",
    ]
    only = (await ctl("log", "--json", "--kind", "decision", "--limit", "5")).json["records"]
    assert [record["id"] for record in only] == [1]
    assert (await ctl("log", "--json", "-n", "1")).json["records"][0]["id"] == 2


async def test_policies(ctl: Schedctl, service: BusService) -> None:
    ran = await ctl("policies")
    assert ran.out.splitlines()[1] == (
        "intent-default\tintent\tyes\tyes\tshipped\tone class for each intent"
    )
    assert (await ctl("policies", "--json")).json["policies"] == [SHIPPED]


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["fly"],
        ["pin", "nginx"],
        ["pin", "nginx", "fast"],
        ["log", "--limit", "0"],
        ["log", "--limit", "1001"],
        ["log", "--kind", "rumour"],
        ["status", "extra"],
        ["--jso", "status"],
    ],
)
async def test_usage_is_2(ctl: Schedctl, args: list[str]) -> None:
    ran = await ctl(*args)
    assert (ran.code, ran.out) == (2, "")
    assert "usage: schedctl" in ran.err


async def test_exit_codes(
    ctl: Schedctl, service: BusService, control: FakeControl, polkit: MockPolkit
) -> None:
    denied = await ctl("pin", "nginx", "latency")
    assert denied.code == 4
    assert denied.err.count("\n") == 1
    assert "not authorised" in denied.err
    await polkit.allow_all()
    unknown = await ctl("pin", "nothing", "latency")
    assert (unknown.code, unknown.err) == (
        1,
        "schedctl: no workload matches 'nothing' (see schedctl list)\n",
    )
    control.unsupported = True
    unsupported = await ctl("--json", "apply", "auto")
    assert unsupported.code == 5
    assert json.loads(unsupported.err) == {
        "version": 1,
        "error": {
            "code": "Unsupported",
            "message": "this kernel has no sched_ext",
            "hint": "boot 6.12 or newer",
        },
    }
    assert unsupported.out == ""


@pytest.mark.parametrize(
    "command", ["status", "list", "policies", "log", "explain", "watch", "reload"]
)
async def test_unreachable_daemon_is_3(ctl: Schedctl, command: str) -> None:
    ran = await ctl(command)
    assert (ran.code, ran.out) == (3, "")
    assert "systemctl start schedcpd" in ran.err
    assert ran.err.count("\n") == 1


async def test_unreachable_bus_is_3() -> None:
    ran = await Schedctl("unix:path=/nonexistent")("status")
    assert ran.code == 3
    assert ran.err.count("\n") == 1


async def test_address_from_the_environment(bus: PrivateBus, service: BusService) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schedctl",
        "status",
        env=environment(SCHEDCTL_BUS_ADDRESS=bus.address),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"active" in out


async def test_table_on_a_terminal(
    ctl: Schedctl, service: BusService, control: FakeControl
) -> None:
    control.add(view(300, "a-service-with-a-name-that-does-not-fit-anywhere-at-all.service"))
    control.add(view(301, "ünïcode-日本語.service"))
    ran = await ctl.on_terminal("list", columns=72, NO_COLOR="1")
    assert ran.code == 0
    assert ESCAPE not in ran.out
    lines = ran.out.splitlines()
    assert len(lines) == 5
    assert all(width(line) <= 72 for line in lines)
    assert sum("…" in line for line in lines) >= 1
    start = lines[0].index("INTENT")
    assert lines[2][start:].startswith("normal")


async def test_colour_only_on_a_terminal_and_never_with_no_color(
    ctl: Schedctl, service: BusService
) -> None:
    assert ESCAPE in (await ctl.on_terminal("status")).out
    assert ESCAPE not in (await ctl.on_terminal("status", NO_COLOR="1")).out
    assert ESCAPE not in (await ctl.on_terminal("status", TERM="dumb")).out
    assert ESCAPE not in (await ctl("status", TERM="xterm-256color")).out


async def test_names_cannot_steer_the_terminal(
    ctl: Schedctl, service: BusService, control: FakeControl
) -> None:
    control.add(view(300, "evil\x1b]0;owned\x07\n\u202e.service"))
    ran = await ctl.on_terminal("list", columns=200, NO_COLOR="1")
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out
    assert "\u202e" not in ran.out
    assert "evil\\x1b]0;owned\\x07\\n\\u202e" in ran.out


async def test_reader_that_leaves_early_is_no_error(ctl: Schedctl, service: BusService) -> None:
    process = await ctl.start("watch")
    assert process.stdout is not None and process.stderr is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined]
    control = service._control
    assert isinstance(control, FakeControl)
    for number in range(50):
        control.set_status(reason=f"round {number}")
        await asyncio.sleep(0.02)
        if process.returncode is not None:
            break
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert b"Traceback" not in await process.stderr.read()


async def next_event(process: asyncio.subprocess.Process) -> dict[str, object]:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 10)
    event = json.loads(line)
    assert event.pop("version") == 1
    assert event.pop("at_unix_s") > 1_600_000_000
    assert isinstance(event, dict)
    return event


async def test_watch_as_json(
    ctl: Schedctl, service: BusService, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    process = await ctl.start("watch", "--json")
    first = await next_event(process)
    assert first["event"] == "watching"
    assert first["status"]["state"] == "active"  # type: ignore[index]
    await ctl("pin", "nginx", "latency")
    changed = await next_event(process)
    assert changed["event"] == "workload-changed"
    assert changed["changed"]["intent"] == "latency"  # type: ignore[index]
    assert await next_event(process) == {
        "event": "intent-changed",
        "object": "/org/schedcp/SchedCP1/workloads/100",
        "cgroup": "/system.slice/nginx.service",
        "old": "normal",
        "new": "latency",
        "source": "pin",
    }
    control.eject()
    ejected = await next_event(process)
    assert (ejected["event"], ejected["kind_name"]) == ("ejected", "ERROR_STALL")
    assert (await next_event(process))["event"] == "status"
    assert (await next_event(process))["event"] == "scheduler-changed"
    control.add(view(300, "new.service"))
    added = await next_event(process)
    assert (added["event"], added["cgroup"]) == ("workload-added", "/system.slice/new.service")
    await next_event(process)
    control.remove("300")
    removed = await next_event(process)
    assert (removed["event"], removed["cgroup"]) == (
        "workload-removed",
        "/system.slice/new.service",
    )
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert process.stderr is not None
    assert await process.stderr.read() == b""


async def test_watch_for_people_survives_the_daemons_restart(
    ctl: Schedctl, service: BusService, control: FakeControl
) -> None:
    process = await ctl.start("watch")
    assert process.stdout is not None

    async def line() -> str:
        assert process.stdout is not None
        return (await asyncio.wait_for(process.stdout.readline(), 10)).decode()[10:].strip()

    assert await line() == "active: intent runs; policy intent-default, 2 workloads"
    control.set_status(state=DaemonState.FOREIGN, reason="another runs")
    assert await line() == "state: foreign, state reason: another runs"
    await service.stop()
    assert await line() == "schedcpd has gone; scheduling goes on without it"
    await service.start()
    assert await line() == "schedcpd is back"
    assert (await line()).startswith("foreign: another runs")
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_watch_ends_when_the_bus_does(
    ctl: Schedctl, service: BusService, bus: PrivateBus
) -> None:
    process = await ctl.start("watch")
    assert process.stdout is not None
    await process.stdout.readline()
    bus.stop()
    assert await asyncio.wait_for(process.wait(), 10) == 3


async def test_help_is_quick_and_needs_no_bus() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "schedctl",
        "--help",
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0
    assert b"exit codes: 0 done" in out
    imported = {line.rsplit(b"|", 1)[-1].strip() for line in err.splitlines()}
    assert b"schedctl.parser" in imported
    assert not imported & {b"dbus_next", b"asyncio", b"mcp", b"schedctl.commands"}


async def test_version(ctl: Schedctl) -> None:
    assert (await ctl("--version")).out == "schedctl 0.1.0\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may change without polkit")
async def test_root_needs_no_polkit(
    ctl: Schedctl, service: BusService, control: FakeControl
) -> None:
    assert (await ctl("pin", "nginx", "latency")).code == 0
    assert control.calls[0][0] == "pin"


async def test_verify_by_the_daemon(
    ctl: Schedctl, service: BusService, control: FakeControl, tmp_path: Path
) -> None:
    path = tmp_path / "a.bpf.c"
    path.write_text("int x;")
    ran = await ctl("verify", "--daemon", "--no-vm", str(path), "--json")
    assert control.handed_in == "int x;"
    assert control.calls[-1][:3] == ("verify", "a.bpf.c", "False")
    assert ran.json["verify"]["passed"] is False
    assert ran.code == 1
    ran = await ctl("verify", "--daemon", str(path))
    assert "source     failed   It is bad." in ran.out
    assert "did not pass" in ran.out
    ran = await ctl("verify", "--daemon", str(tmp_path / "none.yaml"))
    assert (ran.code, "cannot be read" in ran.err) == (1, True)
