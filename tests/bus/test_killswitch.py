# SPDX-License-Identifier: Apache-2.0
"""kill and resume when the daemon is dead, hung or broken."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from dbus_next import MessageType

from schedcpd.bus.service import BusService
from schedcpd.errors import SchedcpError, SchedulerHostError
from schedcpd.host.dbus import Connection
from schedcpd.model import Status
from schedctl import killswitch
from schedctl.exits import Exit, exit_of
from tests.bus.cli import Schedctl
from tests.bus.fake_control import FakeControl
from tests.bus.mock_systemd import MockSystemd
from tests.bus.private_bus import MockPolkit, PrivateBus

ROOT = os.getuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root can latch the kill switch")
SOCKET, SERVICE = "schedcp-scheduler.socket", "schedcp-scheduler.service"


@as_root
async def test_kill_with_the_daemon_dead(
    ctl: Schedctl, systemd: MockSystemd, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    ran = await ctl("kill", "--reason", "it stutters\nbadly", "--state-dir", str(state))
    assert ran.code == 0, ran.err
    assert systemd.manager.calls == [("stop", SOCKET), ("stop", SERVICE)]
    assert {unit.state for unit in systemd.units.values()} == {"inactive"}
    latch = state / "kill-switch"
    text = latch.read_text(encoding="utf-8")
    assert text.startswith("schedctl kill by uid 0 at ")
    assert text.endswith(": it stutters badly\n")
    assert latch.stat().st_mode & 0o777 == 0o644
    assert "kernel's own scheduler runs" in ran.out

    ran = await ctl("resume", "--state-dir", str(state))
    assert ran.code == 0, ran.err
    assert not latch.exists()
    assert systemd.manager.calls[2:] == [("start", SOCKET)]
    assert "systemctl start schedcpd" in ran.out


@as_root
async def test_kill_when_the_daemon_cannot(
    ctl: Schedctl,
    systemd: MockSystemd,
    service: BusService,
    control: FakeControl,
    polkit: MockPolkit,
    tmp_path: Path,
) -> None:
    async def broken(*, actor: str, reason: str = "") -> Status:
        raise SchedulerHostError("the scheduler host does not answer")

    control.kill = broken  # type: ignore[method-assign]
    await polkit.allow_all()
    ran = await ctl("kill", "--state-dir", str(tmp_path), "--json")
    assert ran.code == 0
    assert ran.json["kill"]["done"][0] == "without schedcpd: the scheduler host does not answer"
    assert ("stop", SERVICE) in systemd.manager.calls
    assert (tmp_path / "kill-switch").exists()


async def test_denied_kill_stops_nothing(
    bus: PrivateBus,
    systemd: MockSystemd,
    service: BusService,
    control: FakeControl,
    polkit: MockPolkit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SchedcpError) as refused:
        await killswitch.kill(bus.address, "", tmp_path, ask_password=False)
    assert exit_of(refused.value) is Exit.NOT_AUTHORISED
    assert systemd.manager.calls == []
    assert not (tmp_path / "kill-switch").exists()
    assert control.calls == []


@as_root
async def test_root_is_not_held_up_by_a_polkit_that_hangs(
    ctl: Schedctl,
    systemd: MockSystemd,
    service: BusService,
    control: FakeControl,
    polkit: MockPolkit,
    tmp_path: Path,
) -> None:
    await polkit.hang(True)
    ran = await ctl("kill", "--no-ask-password", "--state-dir", str(tmp_path))
    assert ran.code == 0, ran.err
    assert control.calls == []
    assert ("stop", SERVICE) in systemd.manager.calls
    assert (tmp_path / "kill-switch").exists()


async def test_systemd_says_no(ctl: Schedctl, systemd: MockSystemd, tmp_path: Path) -> None:
    systemd.manager.denies = True
    ran = await ctl("kill", "--state-dir", str(tmp_path))
    assert ran.code == 4
    assert "Interactive authentication required" in ran.err


async def test_units_that_are_not_loaded_are_stopped_already(
    ctl: Schedctl, systemd: MockSystemd, tmp_path: Path
) -> None:
    systemd.units.clear()
    assert (await ctl("kill", "--state-dir", str(tmp_path))).code == 0


@as_root
async def test_kill_latches_even_when_nobody_can_be_asked(ctl: Schedctl, tmp_path: Path) -> None:
    ran = await ctl("kill", "--state-dir", str(tmp_path), PATH="/nonexistent")
    assert ran.code == 3
    assert (tmp_path / "kill-switch").exists()


@as_root
async def test_kill_without_a_bus_uses_systemctl(bus: PrivateBus, tmp_path: Path) -> None:
    bus.stop()
    fake = tmp_path / "bin" / "systemctl"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n', encoding="utf-8")
    fake.chmod(0o755)
    path = f"{fake.parent}:/usr/bin:/bin"
    ran = await Schedctl(bus.address)("kill", "--state-dir", str(tmp_path), PATH=path)
    assert ran.code == 0, ran.err
    asked = (tmp_path / "asked").read_text(encoding="utf-8")
    assert asked.split() == ["stop", SOCKET, SERVICE]
    fake.write_text("#!/bin/sh\necho no such thing >&2; exit 5\n", encoding="utf-8")
    ran = await Schedctl(bus.address)("kill", "--state-dir", str(tmp_path), PATH=path)
    assert ran.code == 3
    assert "no such thing" in ran.err


@as_root
async def test_a_state_directory_that_cannot_be_written_does_not_stop_the_kill(
    ctl: Schedctl, systemd: MockSystemd, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    ran = await ctl("kill", "--state-dir", str(tmp_path / "file" / "below"))
    assert ran.code == 0
    assert "not latched" in ran.out
    assert ("stop", SERVICE) in systemd.manager.calls


async def test_resume_starts_a_stopped_socket_then_asks_the_daemon(
    ctl: Schedctl,
    systemd: MockSystemd,
    service: BusService,
    control: FakeControl,
    polkit: MockPolkit,
) -> None:
    await polkit.allow_all()
    assert (await ctl("kill")).code == 0
    assert systemd.manager.calls == [], "the daemon is alive: systemd is not needed"
    systemd.units[SOCKET].state = "inactive"
    ran = await ctl("resume")
    assert ran.code == 0
    assert systemd.manager.calls == [("start", SOCKET)]
    assert [call[0] for call in control.calls] == ["kill", "resume"]
    assert (await ctl("resume")).code == 1, "it is not set any more"


@as_root
async def test_a_hung_daemon_is_killed_around(
    systemd: MockSystemd, bus: PrivateBus, tmp_path: Path
) -> None:
    """Somebody owns the name and never answers."""
    silent = Connection(bus.address)
    await silent.open()
    silent.add_message_handler(lambda message: message.message_type is MessageType.METHOD_CALL)
    await silent.request_name("org.schedcp.SchedCP1")
    before = killswitch.HUNG_DAEMON_S
    killswitch.HUNG_DAEMON_S = 0.3
    try:
        done = await asyncio.wait_for(
            killswitch.kill(bus.address, "", tmp_path, ask_password=False), 10
        )
        assert "did not answer" in done[0]
        assert ("stop", SERVICE) in systemd.manager.calls
    finally:
        killswitch.HUNG_DAEMON_S = before
        silent.close()
