# SPDX-License-Identifier: Apache-2.0
"""polkit's yes, no, silence and absence: a denied caller changes nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dbus_next import DBusError

from schedcpd.bus.polkit import Authority
from schedcpd.bus.service import BusService
from schedcpd.errors import AuthorizationError
from tests.bus.client import ROOT, WORKLOAD, Client
from tests.bus.fake_control import FakeControl
from tests.bus.private_bus import MockPolkit, PrivateBus

INTENTS, SCHEDULER = "org.schedcp.manage-intents", "org.schedcp.manage-scheduler"
KILL, RELOAD = "org.schedcp.kill-switch", "org.schedcp.reload"
VERIFY = "org.schedcp.verify"
NGINX = ROOT + "/workloads/100"
CHANGES: list[tuple[str, str, list[Any], str]] = [
    ("Pin", "ss", ["nginx", "latency"], INTENTS),
    ("Unpin", "s", ["nginx"], INTENTS),
    ("Apply", "s", ["auto"], SCHEDULER),
    ("Rollback", "s", ["why"], SCHEDULER),
    ("Kill", "s", ["why"], KILL),
    ("Resume", "", [], SCHEDULER),
    ("Reload", "", [], RELOAD),
    ("Verify", "ssb", ["a.bpf.c", "int x;", True], VERIFY),
]


@pytest.mark.parametrize(("member", "signature", "body", "action"), CHANGES)
async def test_denied_caller_changes_nothing(
    client: Client,
    control: FakeControl,
    polkit: MockPolkit,
    member: str,
    signature: str,
    body: list[Any],
    action: str,
) -> None:
    # Every other action is allowed: the method must ask for its own.
    await polkit.allow_only(*({INTENTS, SCHEDULER, KILL, RELOAD, VERIFY} - {action}))
    before = control.status(), control.workloads(), control.pins()
    error = await client.error(member, signature, *body)
    assert error.type == "org.schedcp.SchedCP1.Error.AccessDenied"
    assert action in error.text
    assert control.calls == []
    assert (control.status(), control.workloads(), control.pins()) == before
    assert await client.quiet() == []


@pytest.mark.parametrize(
    ("member", "signature", "body"), [("Pin", "s", ["batch"]), ("Unpin", "", [])]
)
async def test_denied_on_a_workload_object(
    client: Client,
    control: FakeControl,
    polkit: MockPolkit,
    member: str,
    signature: str,
    body: list[Any],
) -> None:
    await polkit.allow_only(SCHEDULER, KILL, RELOAD)
    error = await client.error(member, signature, *body, path=NGINX, interface=WORKLOAD)
    assert error.type.endswith(".AccessDenied")
    assert control.calls == []


async def test_each_action_lets_its_own_methods_through(
    client: Client, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_only(KILL)
    await client.call("Kill", "s", "smoke")
    assert (await client.error("Resume")).type.endswith(".AccessDenied")
    await polkit.allow_only(SCHEDULER)
    await client.call("Resume")
    assert [call[0] for call in control.calls] == ["kill", "resume"]


async def test_silent_polkit_means_no_and_reads_go_on(
    client: Client, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    await polkit.hang(True)
    began = time.monotonic()
    pending = asyncio.create_task(client.error("Pin", "ss", "nginx", "latency"))
    await asyncio.sleep(0.1)
    assert (await client.properties())["State"] == "active"
    assert not pending.done()
    error = await pending
    assert error.type.endswith(".AccessDenied")
    assert "did not answer" in error.text
    assert 2.9 < time.monotonic() - began < 20
    assert control.calls == []


async def test_interactive_callers_get_the_longer_time(
    client: Client, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.hang(True)
    began = time.monotonic()
    with pytest.raises(DBusError, match="within 6 s"):
        await client.call("Reload", interactive=True)
    assert time.monotonic() - began >= 5.9
    assert control.calls == []


async def test_without_polkit_only_root_changes(
    client: Client, control: FakeControl, bus: PrivateBus
) -> None:
    if os.getuid() == 0:
        await client.call("Pin", "ss", "nginx", "latency")
        assert [call[0] for call in control.calls] == ["pin"]
    else:
        error = await client.error("Pin", "ss", "nginx", "latency")
        assert error.type.endswith(".AccessDenied")
        assert control.calls == []
    assert await client.call("FindWorkload", "s", "nginx") == NGINX


class OtherUser(Authority):
    """polkit and bus are real; only the caller's uid is not root's."""

    async def uid(self, sender: str) -> int:
        return 1000 + 0 * await super().uid(sender)


@pytest.fixture
async def for_others(bus: PrivateBus, control: FakeControl) -> AsyncIterator[BusService]:
    running = BusService(control, bus_address=bus.address, authorizer=OtherUser)
    await running.start()
    yield running
    await running.stop()


async def test_without_polkit_others_read_and_change_nothing(
    bus: PrivateBus, control: FakeControl, for_others: BusService
) -> None:
    async with Client(bus.address) as client:
        for member, signature, body, _action in CHANGES:
            error = await client.error(member, signature, *body)
            assert error.type.endswith(".AccessDenied")
            assert "polkit is not available" in error.text
        assert (await client.properties())["Policy"] == "intent-default"
    assert control.calls == []


async def test_polkit_that_dies_while_asked_means_no_to_others(
    bus: PrivateBus, control: FakeControl, polkit: MockPolkit, for_others: BusService
) -> None:
    await polkit.hang(True)
    async with Client(bus.address) as client:
        pending = asyncio.create_task(client.error("Reload"))
        await asyncio.sleep(0.1)
        polkit.stop()
        assert (await pending).type.endswith(".AccessDenied")
    assert control.calls == []


class Odd:
    """Answers CheckAuthorization with whatever it was given."""

    def __init__(self, answer: list[Any]) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    async def ask(self, *call: Any, **_options: Any) -> list[Any]:
        self.asked.append(call)
        return self.answer


@pytest.mark.parametrize("interactive", [True, False])
async def test_question_names_the_bus_name_and_the_wish_to_be_asked(interactive: bool) -> None:
    polkit = Odd([[True, False, {}]])
    await Authority(polkit).require(INTENTS, ":1.7", interactive=interactive)
    (_dest, _path, _interface, member, signature, body) = polkit.asked[0]
    assert (member, signature) == ("CheckAuthorization", "(sa{sv})sa{ss}us")
    subject, action, details, flag, cancellation = body
    assert subject[0] == "system-bus-name"
    assert subject[1]["name"].value == ":1.7"
    assert (action, details, flag) == (INTENTS, {}, int(interactive))
    assert cancellation


@pytest.mark.parametrize("answer", [[[False, True, {}]], [["yes", False, {}]], [[1, False, {}]]])
async def test_only_a_plain_true_is_a_yes(answer: list[Any]) -> None:
    with pytest.raises(AuthorizationError):
        await Authority(Odd(answer)).require(INTENTS, ":1.7", interactive=False)


def test_the_authority_is_the_default(tmp_path: Path) -> None:
    assert BusService(FakeControl(), bus_address="unix:path=/nowhere")._authorizer is Authority


async def test_costly_reads_of_one_user_are_rationed_by_time(
    bus: PrivateBus, control: FakeControl, for_others: BusService
) -> None:
    """The budget is the user's, whatever the number of connections; cheap reads go on."""
    original = control.policies

    def slow() -> Any:
        time.sleep(0.4)
        return original()

    control.policies = slow  # type: ignore[method-assign]
    answered = 0
    for _ in range(6):
        async with Client(bus.address) as client:
            try:
                await client.call("ListPolicies")
                answered += 1
            except DBusError as error:
                assert error.type.endswith(".LimitsExceeded")
            assert (await client.properties())["State"] == "active"
    assert 2 <= answered <= 4
