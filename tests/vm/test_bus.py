# SPDX-License-Identifier: Apache-2.0
"""Bus policy, polkit actions and schedctl with Debian's own dbus, polkit and systemd."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest_asyncio

from schedcpd.microvm import MicroVm
from schedcpd.microvm.vm import GuestResult

ROOT = Path(__file__).resolve().parents[2]
SITE = "/usr/lib/python3/dist-packages"
CALLS = "/run/calls"
SCHEDCTL = "python3 -m schedctl"
UNITS = """
mkdir -p /run/systemd/system
cat >/run/systemd/system/schedcp-scheduler.socket <<END
[Socket]
ListenStream=/run/schedcp/scheduler.sock
END
cat >/run/systemd/system/schedcp-scheduler.service <<END
[Service]
ExecStart=/bin/sleep infinity
END
systemctl daemon-reload
systemctl start schedcp-scheduler.socket schedcp-scheduler.service
"""


async def sh(vm: MicroVm, script: str, *, timeout_s: float = 60.0) -> GuestResult:
    return await vm.run(["sh", "-c", script], timeout_s=timeout_s)


async def as_nobody(vm: MicroVm, command: str) -> GuestResult:
    return await sh(vm, f"runuser -u nobody -- {command}")


@pytest_asyncio.fixture
async def guest(vm: MicroVm) -> MicroVm:
    for package in ("schedcpd", "schedctl"):
        await vm.put(ROOT / package, f"{SITE}/{package}")
    dbus = ROOT / "dbus"
    system = "/usr/share/dbus-1/system.d"
    await vm.put(dbus / "org.schedcp.SchedCP1.conf", f"{system}/org.schedcp.SchedCP1.conf")
    await vm.put(dbus / "org.schedcp.policy", "/usr/share/polkit-1/actions/org.schedcp.policy")
    await vm.put(ROOT / "tests/bus/fake_control.py", "/opt/fake/fake_control.py")
    await vm.put(ROOT / "tests/vm/guest/serve_fake.py", "/opt/fake/serve_fake.py")
    (
        await sh(
            vm,
            "chmod -R go+rX /usr/lib/python3 && busctl call org.freedesktop.DBus / "
            "org.freedesktop.DBus ReloadConfig",
        )
    ).check()
    return vm


async def serve(vm: MicroVm) -> None:
    (
        await sh(
            vm,
            f"systemd-run --unit=fake -p StandardOutput=file:{CALLS} "
            "python3 /opt/fake/serve_fake.py; "
            f"timeout 40 sh -c 'until grep -q ready {CALLS}; do sleep 0.1; done'",
        )
    ).check()


async def calls(vm: MicroVm) -> list[str]:
    return (await sh(vm, f"cat {CALLS}")).text.splitlines()[1:]


async def test_anyone_reads_and_only_those_polkit_trusts_change(guest: MicroVm) -> None:
    await serve(guest)
    found = (await sh(guest, "pkaction | grep schedcp")).text.split()
    assert found == [
        "org.schedcp.kill-switch",
        "org.schedcp.manage-intents",
        "org.schedcp.manage-scheduler",
        "org.schedcp.reload",
        "org.schedcp.verify",
    ]
    status = await as_nobody(guest, f"{SCHEDCTL} status --json")
    assert status.exit_code == 0, status.error_text
    assert json.loads(status.text)["status"]["policy"] == "intent-default"
    listed = await as_nobody(guest, f"{SCHEDCTL} list")
    assert "nginx.service" in listed.text
    for command in (
        "pin nginx latency",
        "unpin nginx",
        "apply auto",
        "rollback",
        "kill",
        "reload",
    ):
        refused = await as_nobody(guest, f"{SCHEDCTL} --no-ask-password {command}")
        assert refused.exit_code == 4, f"{command}: {refused.error_text}"
        assert refused.error_text.count("\n") == 1
    own = await as_nobody(
        guest,
        "busctl call org.freedesktop.DBus / org.freedesktop.DBus RequestName su "
        "org.schedcp.SchedCP1 6",
    )
    assert "Access denied" in own.error_text or "not allowed to own" in own.error_text
    assert await calls(guest) == []
    pinned = await sh(guest, f"{SCHEDCTL} pin nginx.service latency")
    assert pinned.exit_code == 0, pinned.error_text
    (call,) = await calls(guest)
    assert call.startswith("pin /system.slice/nginx.service latency uid 0 (:1.")


async def test_without_polkit_root_acts_and_others_do_not(guest: MicroVm) -> None:
    (await sh(guest, "systemctl mask --runtime --now polkit.service")).check()  # cannot be started
    await serve(guest)
    assert (await as_nobody(guest, f"{SCHEDCTL} status")).exit_code == 0
    assert (await as_nobody(guest, f"{SCHEDCTL} pin nginx batch")).exit_code == 4
    assert await calls(guest) == []
    acted = await sh(guest, f"{SCHEDCTL} pin nginx batch")
    assert acted.exit_code == 0, acted.error_text
    assert len(await calls(guest)) == 1


async def test_bus_restart_is_survived(guest: MicroVm) -> None:
    await serve(guest)
    restart = "systemctl restart dbus.service; sleep 2"
    await sh(guest, restart)
    found = await sh(
        guest,
        f"timeout 40 sh -c 'until {SCHEDCTL} status >/dev/null 2>&1; do sleep 0.5; done'; "
        f"{SCHEDCTL} status --json",
        timeout_s=90,
    )
    assert json.loads(found.text)["status"]["state"] == "active"
    assert (await sh(guest, "systemctl is-active fake")).text.strip() == "active"


async def test_kill_and_resume_with_the_daemon_dead(guest: MicroVm) -> None:
    (await sh(guest, UNITS)).check()
    state = "systemctl is-active schedcp-scheduler.socket schedcp-scheduler.service || true"
    assert (await sh(guest, state)).text.split() == ["active", "active"]
    assert (await as_nobody(guest, f"{SCHEDCTL} status")).exit_code == 3
    refused = await as_nobody(guest, f"{SCHEDCTL} --no-ask-password kill")
    assert refused.exit_code == 4, refused.error_text
    assert (await sh(guest, state)).text.split() == ["active", "active"]

    reason = shlex.quote("it stutters")
    killed = await sh(guest, f"{SCHEDCTL} kill --reason {reason}")
    assert killed.exit_code == 0, killed.error_text
    assert "active" not in (await sh(guest, state)).text.split()
    latch = await sh(guest, "cat /var/lib/schedcp/kill-switch")
    assert "schedctl kill by uid 0" in latch.text
    assert latch.text.endswith(": it stutters\n")

    resumed = await sh(guest, f"{SCHEDCTL} resume")
    assert resumed.exit_code == 0, resumed.error_text
    assert (await sh(guest, state)).text.split()[0] == "active"
    assert (await sh(guest, "test -e /var/lib/schedcp/kill-switch")).exit_code == 1


async def test_kill_without_a_bus(guest: MicroVm) -> None:
    (await sh(guest, UNITS)).check()
    (await sh(guest, "systemctl stop dbus.socket dbus.service")).check()
    killed = await sh(guest, f"{SCHEDCTL} kill", timeout_s=90)
    assert killed.exit_code == 0, killed.error_text
    states = "systemctl is-active schedcp-scheduler.socket schedcp-scheduler.service || true"
    assert "active" not in (await sh(guest, states)).text.split()
