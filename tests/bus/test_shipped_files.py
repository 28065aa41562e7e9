# SPDX-License-Identifier: Apache-2.0
"""The files in dbus/ say what the daemon does."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from schedcpd.bus import polkit as actions
from schedcpd.bus.manager import manager_interface
from schedcpd.bus.objects import describes_same
from schedcpd.bus.service import BusService
from schedcpd.bus.views import ROOT_PATH
from schedcpd.errors import SchedcpError
from tests.bus.client import NAME, ROOT, WORKLOAD, Client
from tests.bus.fake_control import FakeControl
from tests.bus.private_bus import SYSTEM_POLICY, PrivateBus

SHIPPED = Path(__file__).resolve().parents[2] / "dbus"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"


def shipped(name: str) -> ET.Element:
    element = ET.parse(SHIPPED / f"{name}.xml").find(f"interface[@name='{name}']")
    assert element is not None
    return element


@pytest.mark.parametrize(("name", "path"), [(NAME, ROOT), (WORKLOAD, ROOT + "/workloads/100")])
async def test_introspection_is_the_live_objects(client: Client, name: str, path: str) -> None:
    live = ET.fromstring(await client.call("Introspect", path=path, interface=INTROSPECTABLE))
    found = live.find(f"interface[@name='{name}']")
    assert found is not None
    assert describes_same(shipped(name), found)


def test_the_comparison_sees_a_difference() -> None:
    for change in ("type", "name", "access"):
        other = shipped(NAME)
        target = next(each for each in other.iter("property") if each.get("name") == "State")
        target.set(change, "q")
        assert not describes_same(shipped(NAME), other)
    other = shipped(NAME)
    history = next(each for each in other.iter("method") if each.get("name") == "History")
    first = history[0]
    history.remove(first)
    history.append(first)
    assert not describes_same(shipped(NAME), other), "the order of arguments counts"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/", ["org"]),
        ("/org/schedcp", ["SchedCP1"]),
        (ROOT, ["workloads"]),
        (ROOT + "/workloads", ["100", "101"]),
        ("/org/schedc", []),
    ],
)
async def test_the_tree_can_be_walked(client: Client, path: str, names: list[str]) -> None:
    live = ET.fromstring(await client.call("Introspect", path=path, interface=INTROSPECTABLE))
    assert [node.get("name") for node in live.findall("node")] == names


async def test_standard_interfaces_are_described(client: Client) -> None:
    live = ET.fromstring(await client.call("Introspect", path=ROOT, interface=INTROSPECTABLE))
    assert {each.get("name") for each in live.findall("interface")} == {
        NAME,
        INTROSPECTABLE,
        "org.freedesktop.DBus.ObjectManager",
        "org.freedesktop.DBus.Peer",
        "org.freedesktop.DBus.Properties",
    }


def test_every_member_is_documented() -> None:
    for name in (NAME, WORKLOAD):
        text = (SHIPPED / f"{name}.xml").read_text(encoding="utf-8")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        for before, line in itertools.pairwise(lines):
            member = re.match(r"<(method|signal|property) name=\"(\w+)\"", line)
            if member and not member[2].startswith("Pressure"):
                assert before.endswith("-->"), f"{name}.{member[2]} has no comment"


def test_polkit_actions_are_those_asked_for() -> None:
    policy = ET.parse(SHIPPED / "org.schedcp.policy")
    shipped_ids = {action.get("id") for action in policy.findall("action")}
    used = {method.action for method in manager_interface(FakeControl(), "0").methods} - {""}
    assert shipped_ids == used
    assert used == {
        actions.MANAGE_INTENTS,
        actions.MANAGE_SCHEDULER,
        actions.KILL_SWITCH,
        actions.RELOAD,
        actions.VERIFY,
    }
    for action in policy.findall("action"):
        assert action.findtext("defaults/allow_any") == "no"
        assert action.findtext("defaults/allow_inactive") == "no"
        easy = action.get("id") == actions.KILL_SWITCH
        assert action.findtext("defaults/allow_active") == ("yes" if easy else "auth_admin_keep")
        assert action.findtext("message")


CALL_AS_NOBODY = """
import asyncio, os, sys
from dbus_next import DBusError
from schedcpd.host.dbus import Connection
os.setgid(65534); os.setuid(65534)
async def main():
    bus = Connection(sys.argv[1])
    await bus.open()
    BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
    ROOT = ("org.schedcp.SchedCP1", "/org/schedcp/SchedCP1")
    async def attempt(*call):
        try:
            return await bus.ask(*call)
        except DBusError as error:
            return error.type
    print("own", await attempt(*BUS, "RequestName", "su", ["org.schedcp.SchedCP1", 6]))
    P = "org.freedesktop.DBus.Properties"
    print("get", (await attempt(*ROOT, P, "Get", "ss", ["org.schedcp.SchedCP1", "State"]))[0].value)
    print("list", await attempt(*ROOT, "org.schedcp.SchedCP1", "ListWorkloads"))
    print("managed", len((await attempt(*ROOT, "org.freedesktop.DBus.ObjectManager",
                                        "GetManagedObjects"))[0]))
    print("pin", await attempt(*ROOT, "org.schedcp.SchedCP1", "Pin", "ss", ["nginx", "batch"]))
    print("other", await attempt(*ROOT, "org.example.Other", "Run"))
asyncio.run(main())
"""


@pytest.fixture
def public_path(tmp_path: Path) -> Path:
    """A directory that other users can enter."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == "root" and directory.stat().st_mode & 0o005 != 0o005:
            directory.chmod(0o755)
    return tmp_path


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
async def test_bus_policy_lets_anyone_call_and_only_root_own(public_path: Path) -> None:
    bus = PrivateBus(
        public_path,
        policy=SYSTEM_POLICY,
        include=f"<include>{SHIPPED / 'org.schedcp.SchedCP1.conf'}</include>",
    )
    bus.start()
    control = FakeControl("nginx.service")
    service = BusService(control, bus_address=bus.address)
    try:
        await service.start()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CALL_AS_NOBODY,
            bus.address,
            cwd=SHIPPED.parent,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    finally:
        await service.stop()
        bus.stop()
    denied = "org.freedesktop.DBus.Error.AccessDenied"
    assert output.decode().splitlines() == [
        f"own {denied}",
        "get active",
        f"list [['{ROOT_PATH}/workloads/100']]",
        "managed 1",
        "pin org.schedcp.SchedCP1.Error.AccessDenied",
        f"other {denied}",
    ]
    assert control.calls == []


@pytest.mark.skipif(os.getuid() != 0, reason="root may own the name where the policy is installed")
async def test_without_the_bus_policy_the_name_is_not_given(tmp_path: Path) -> None:
    bus = PrivateBus(tmp_path, policy=SYSTEM_POLICY)
    bus.start()
    service = BusService(FakeControl(), bus_address=bus.address)
    try:
        with pytest.raises(SchedcpError, match="did not give us the name"):
            await service._connect()
    finally:
        await service.stop()
        bus.stop()
