# SPDX-License-Identifier: Apache-2.0
"""Every change is announced, in order, on the object it belongs to."""

from __future__ import annotations

from dataclasses import replace

from schedcpd.model import DaemonState, Pressure
from tests.bus.client import NAME, OBJECT_MANAGER, PROPERTIES, ROOT, WORKLOAD, Client
from tests.bus.fake_control import FakeControl, view
from tests.bus.private_bus import MockPolkit

NGINX = ROOT + "/workloads/100"


async def test_status_change(client: Client, control: FakeControl) -> None:
    control.set_status(state=DaemonState.FOREIGN, scheduler="scx_other", reason="not ours")
    changed = await client.signal("PropertiesChanged")
    assert (changed.path, changed.interface) == (ROOT, PROPERTIES)
    interface, values, invalidated = changed.body
    assert (interface, invalidated) == (NAME, [])
    assert {name: value.value for name, value in values.items()} == {
        "State": "foreign",
        "Scheduler": "scx_other",
        "StateReason": "not ours",
    }
    scheduler = await client.signal("SchedulerChanged")
    assert scheduler.body == ["intent", "scx_other", "not ours"]


async def test_no_signal_without_a_change(client: Client, control: FakeControl) -> None:
    control.set_status(reason="intent runs")
    control.change(control.views["100"])
    assert await client.quiet() == []


async def test_pin_changes_properties_then_the_intent(
    client: Client, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    await client.call("Pin", "ss", "nginx", "latency")
    changed = await client.signal("PropertiesChanged")
    assert changed.path == NGINX
    assert changed.body[0] == WORKLOAD
    values = {name: value.value for name, value in changed.body[1].items()}
    assert values["Intent"] == "latency"
    assert values["Pinned"] is True
    assert "Cgroup" not in values
    assert (await client.signal("IntentChanged")).body == [NGINX, "normal", "latency", "pin"]
    assert (await client.properties(NGINX, WORKLOAD))["Intent"] == "latency"


async def test_measurements_change_without_an_intent_signal(
    client: Client, control: FakeControl
) -> None:
    old = control.views["100"]
    profile = replace(old.profile, cpu_usage_us=9_000, pressure=Pressure(avg10=1.5))
    control.change(replace(old, profile=profile))
    changed = await client.signal("PropertiesChanged")
    assert set(changed.body[1]) == {"CpuUsageUsec", "PressureAvg10"}
    assert await client.quiet() == []


async def test_workloads_come_and_go(client: Client, control: FakeControl) -> None:
    control.add(view(200, "redis.service", uid=33))
    added = await client.signal("InterfacesAdded")
    assert (added.path, added.interface) == (ROOT, OBJECT_MANAGER)
    assert added.body[0] == ROOT + "/workloads/200"
    assert added.body[1][WORKLOAD]["Uid"].value == 33
    assert set(added.body[1][WORKLOAD]) == set(
        await client.properties(ROOT + "/workloads/200", WORKLOAD)
    )
    count = await client.signal("PropertiesChanged")
    assert count.body[1]["Workloads"].value == 3

    control.remove("200")
    removed = await client.signal("InterfacesRemoved")
    assert removed.body == [ROOT + "/workloads/200", [WORKLOAD]]
    managed = await client.call("GetManagedObjects", interface=OBJECT_MANAGER)
    assert ROOT + "/workloads/200" not in managed
    error = await client.error(
        "GetAll", "s", WORKLOAD, path=ROOT + "/workloads/200", interface=PROPERTIES
    )
    assert error.type == "org.freedesktop.DBus.Error.UnknownObject"


async def test_ejection_carries_the_kernels_words(client: Client, control: FakeControl) -> None:
    control.eject()
    ejected = await client.signal("Ejected")
    assert ejected.body == [
        "d-1",
        "intent",
        1026,
        "ERROR_STALL",
        -7,
        "runnable task stall",
        "watchdog failed to check in for 5.0s",
    ]
    assert (await client.signal("SchedulerChanged")).body[:2] == ["intent", ""]


async def test_rollback(client: Client, control: FakeControl, polkit: MockPolkit) -> None:
    await polkit.allow_all()
    await client.call("Rollback", "s", "slow")
    assert (await client.signal("RolledBack")).body == ["intent-default", "kernel-default", "slow"]


async def test_order_is_kept(client: Client, control: FakeControl) -> None:
    for number in range(200, 220):
        control.add(view(number, f"unit{number}.service"))
        control.remove(str(number))
    names = []
    while len(names) < 40:
        message = await client.signals.get()
        if message.interface == OBJECT_MANAGER:
            names.append((message.member, message.body[0].rsplit("/", 1)[1]))
    assert names == [
        (member, str(number))
        for number in range(200, 220)
        for member in ("InterfacesAdded", "InterfacesRemoved")
    ]
