# SPDX-License-Identifier: Apache-2.0
"""Every method and property of both interfaces, seen from the other side of a real bus."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from dbus_next import Message, Variant

from schedcpd.model import LearnedRecord, RecordKind
from tests.bus.client import OBJECT_MANAGER, PROPERTIES, ROOT, WORKLOAD, Client
from tests.bus.fake_control import FakeControl, view
from tests.bus.private_bus import MockPolkit

NGINX = ROOT + "/workloads/100"
BUILD = ROOT + "/workloads/101"


async def test_properties_carry_the_status(client: Client, control: FakeControl) -> None:
    values = await client.properties()
    assert values == {
        "Version": "0.1.0",
        "State": "active",
        "StateReason": "intent runs",
        "Kernel": "7.3.4-test",
        "Scheduler": "intent",
        "Policy": "intent-default",
        "PolicySource": "auto",
        "DeploymentId": "d-1",
        "VerdictId": "v-1",
        "LastKnownGood": "intent-default",
        "Inference": "rules",
        "Agent": "not configured",
        "KillSwitch": False,
        "Workloads": 2,
    }
    one = await client.call("Get", "ss", "org.schedcp.SchedCP1", "Workloads", interface=PROPERTIES)
    assert (one.signature, one.value) == ("u", 2)


async def test_workload_properties(client: Client) -> None:
    values = await client.properties(NGINX, WORKLOAD)
    assert values["Cgroup"] == "/system.slice/nginx.service"
    assert (values["CgroupId"], values["Unit"], values["Uid"]) == (100, "nginx.service", -1)
    assert (values["Intent"], values["IntentSource"]) == ("normal", "default")
    assert (values["Executables"], values["Pinned"]) == (["nginx"], False)


async def test_reads_need_no_polkit(client: Client, control: FakeControl) -> None:
    assert await client.call("ListWorkloads") == [NGINX, BUILD]
    assert await client.call("FindWorkload", "s", "nginx.service") == NGINX
    assert await client.call("ListPins") == {}
    policies = json.loads(await client.call("ListPolicies"))
    assert policies["version"] == 1
    assert policies["policies"][0]["name"] == "intent-default"
    explained = json.loads(await client.call("Explain", "s", "nginx"))
    assert explained["explain"]["intent"]["class"] == "normal"
    assert json.loads(await client.call("Explain", "s", ""))["explain"]["deployment"]["id"] == "d-1"
    managed = await client.call("GetManagedObjects", interface=OBJECT_MANAGER)
    assert set(managed) == {NGINX, BUILD}
    assert managed[BUILD][WORKLOAD]["Unit"].value == "build.service"


async def test_changes_reach_control_with_the_caller(
    client: Client, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    assert await client.call("Pin", "ss", "nginx.service", "latency") == NGINX
    assert await client.call("ListPins") == {"/system.slice/nginx.service": "latency"}
    await client.call("Unpin", "s", "nginx")
    await client.call("Apply", "s", "auto")
    await client.call("Rollback", "s", "too slow\n\x1b[31m")
    await client.call("Kill", "s", "")
    await client.call("Resume")
    await client.call("Reload")
    await client.call("Pin", "s", "batch", path=BUILD, interface=WORKLOAD)
    await client.call("Unpin", path=BUILD, interface=WORKLOAD)
    text = await client.call("Explain", path=BUILD, interface=WORKLOAD)
    assert json.loads(text)["explain"]["workload"]["name"] == "build"

    who = f"uid {os.getuid()} ({client.connection.unique_name})"
    assert control.calls == [
        ("pin", "/system.slice/nginx.service", "latency", who),
        ("unpin", "/system.slice/nginx.service", who),
        ("apply", "auto", who),
        ("rollback", "too slow  [31m", who),
        ("kill", "", who),
        ("resume", who),
        ("reload", who),
        ("pin", "/system.slice/build.service", "batch", who),
        ("unpin", "/system.slice/build.service", who),
    ]


async def test_history_by_limit_kind_and_subject(client: Client, control: FakeControl) -> None:
    control.records = [
        LearnedRecord(RecordKind.DECISION, 1.5, "/a", "a is batch", {"n": 1}, id=1),
        LearnedRecord(RecordKind.OUTCOME, 2.5, "d-1", "ran", id=2),
        LearnedRecord(RecordKind.DECISION, 3.5, "/b", "b is latency", id=3),
    ]

    async def ids(*query: Any) -> list[int]:
        content = json.loads(await client.call("History", "uss", *query))
        assert content["version"] == 1
        return [record["id"] for record in content["records"]]

    assert await ids(10, "", "") == [3, 2, 1]
    assert await ids(1, "", "") == [3]
    assert await ids(10, "decision", "") == [3, 1]
    assert await ids(10, "", "d-1") == [2]
    first = json.loads(await client.call("History", "uss", 1, "", "/a"))["records"][0]
    assert first == {
        "id": 1,
        "kind": "decision",
        "at_unix_s": 1.5,
        "subject": "/a",
        "summary": "a is batch",
        "data": {"n": 1},
    }


@pytest.mark.parametrize(
    ("member", "signature", "body", "name", "words"),
    [
        ("FindWorkload", "s", ["nothing"], "NotFound", "nothing"),
        ("FindWorkload", "s", [""], "InvalidArgument", "target is empty"),
        ("FindWorkload", "s", ["x" * 4097], "InvalidArgument", "4097 characters"),
        ("Pin", "ss", ["nginx", "fast"], "InvalidArgument", "no intent 'fast'"),
        ("Apply", "s", ["nope"], "NotFound", "no policy 'nope'"),
        ("Rollback", "s", ["y" * 513], "InvalidArgument", "reason has 513"),
        ("History", "uss", [0, "", ""], "InvalidArgument", "limit is 0"),
        ("History", "uss", [5, "rumour", ""], "InvalidArgument", "'rumour'"),
        ("Resume", "", [], "InvalidArgument", "not set"),
    ],
)
async def test_errors_have_names_and_hints(
    client: Client,
    polkit: MockPolkit,
    member: str,
    signature: str,
    body: list[Any],
    name: str,
    words: str,
) -> None:
    await polkit.allow_all()
    error = await client.error(member, signature, *body)
    assert error.type == f"org.schedcp.SchedCP1.Error.{name}"
    assert words in error.text
    assert len(error.reply.body) == 2


async def test_config_error_keeps_file_line_and_field(
    client: Client, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    control.broken_config = True
    error = await client.error("Reload")
    assert error.reply.body == [
        "/etc/schedcp/schedcpd.yaml:3: canary.seconds: not a number",
        "write 1 to 600",
    ]
    assert error.type.endswith(".InvalidConfig")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ({"member": "Fly"}, "UnknownMethod"),
        ({"member": "Pin", "signature": "s", "body": ["x"]}, "InvalidArgs"),
        ({"member": "Reload", "interface": "org.example.No"}, "UnknownInterface"),
        ({"member": "Reload", "path": ROOT + "/nothing"}, "UnknownObject"),
        (
            {"member": "Pin", "path": ROOT + "/workloads/999", "interface": WORKLOAD},
            "UnknownObject",
        ),
        ({"member": "Unpin", "path": NGINX}, "UnknownInterface"),
        (
            {"member": "GetManagedObjects", "interface": OBJECT_MANAGER, "path": NGINX},
            "UnknownInterface",
        ),
        (
            {
                "member": "Get",
                "interface": PROPERTIES,
                "signature": "ss",
                "body": ["org.schedcp.SchedCP1", "Nope"],
            },
            "UnknownProperty",
        ),
        (
            {
                "member": "GetAll",
                "interface": PROPERTIES,
                "signature": "s",
                "body": ["org.example.No"],
            },
            "UnknownInterface",
        ),
    ],
)
async def test_wrong_calls_get_the_standard_errors(
    client: Client, call: dict[str, Any], name: str
) -> None:
    member, signature = call.pop("member"), call.pop("signature", "")
    error = await client.error(member, signature, *call.pop("body", []), **call)
    assert error.type == f"org.freedesktop.DBus.Error.{name}"


async def test_properties_cannot_be_set(client: Client, control: FakeControl) -> None:
    error = await client.error(
        "Set",
        "ssv",
        "org.schedcp.SchedCP1",
        "KillSwitch",
        Variant("b", True),
        interface=PROPERTIES,
    )
    assert error.type.endswith(".PropertyReadOnly")
    assert control.calls == []


async def test_call_without_interface_is_found_by_member(client: Client) -> None:
    reply = await client.send_raw(
        Message(destination="org.schedcp.SchedCP1", path=ROOT, member="ListPins")
    )
    assert reply is not None
    assert reply.body == [{}]


async def test_an_unexpected_fault_says_nothing_of_the_inside(
    client: Client, control: FakeControl
) -> None:
    def broken() -> Any:
        raise RuntimeError("secret /root/path")

    control.policies = broken  # type: ignore[method-assign]
    error = await client.error("ListPolicies")
    assert error.type.endswith(".Error.Internal")
    assert "secret" not in " ".join(error.reply.body)
    assert await client.call("ListPins") == {}


async def test_names_that_the_bus_cannot_carry_are_replaced(
    client: Client, control: FakeControl
) -> None:
    control.add(view(300, "odd.service", comm="a\0b\udcff"))
    values = await client.properties(ROOT + "/workloads/300", WORKLOAD)
    assert values["Comm"] == "a\N{REPLACEMENT CHARACTER}b?"


async def test_an_examination_begins_and_signals_follow(
    client: Client, control: FakeControl
) -> None:
    assert await client.call("Verify", "ssb", "a.bpf.c", "int x;", False) == "v-1"
    assert control.calls[-1][:3] == ("verify", "a.bpf.c", "False")
    assert control.handed_in == "int x;"
    progress, ended = [await client.signals.get() for _ in range(2)]
    assert (progress.member, progress.body) == ("VerifyProgress", ["v-1", "source"])
    assert (ended.member, ended.body) == ("VerifyEnded", ["v-1", False, "It is bad. [source.bad]"])
    found = json.loads(await client.call("Verification", "s", "v-1"))
    assert found["verification"]["state"] == "ended"
    assert (await client.error("Verification", "s", "v-2")).type.endswith(".NotFound")
