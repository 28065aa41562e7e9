# SPDX-License-Identifier: Apache-2.0
"""`schedctl mcp` seen by the official SDK's own client, over stdio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from schedcpd.bus.service import BusService
from schedcpd.model import LearnedRecord, RecordKind
from tests.bus.cli import Schedctl, environment
from tests.bus.fake_control import FakeControl
from tests.bus.private_bus import MockPolkit

READS = {"status", "workloads", "policies", "explain", "history", "verify"} | {
    *("show_policy", "search_policies", "policy_history"),
}
CHANGES = {"pin", "unpin", "rollback", "promote_policy", "retire_policy"}


@asynccontextmanager
async def session(ctl: Schedctl) -> AsyncIterator[ClientSession]:
    argv = ctl.argv("mcp")
    parameters = StdioServerParameters(
        command=argv[0], args=argv[1:], env=environment(PYTHONWARNINGS=""), cwd="/"
    )
    async with (
        stdio_client(parameters) as (read, write),
        ClientSession(read, write) as connected,
    ):
        await asyncio.wait_for(connected.initialize(), 60)
        yield connected


async def good(connected: ClientSession, name: str, **arguments: Any) -> Any:
    result = await connected.call_tool(name, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def bad(connected: ClientSession, name: str, **arguments: Any) -> str:
    result = await connected.call_tool(name, arguments)
    assert result.is_error, result.structured_content
    return str(result.content[0].text)  # type: ignore[union-attr]


async def test_tools_are_typed_and_annotated(ctl: Schedctl, service: BusService) -> None:
    async with session(ctl) as connected:
        tools = {tool.name: tool for tool in (await connected.list_tools()).tools}
    assert set(tools) == READS | CHANGES
    for name, tool in tools.items():
        assert tool.description
        notes = tool.annotations
        assert notes is not None
        assert notes.read_only_hint is (name in READS)
        assert notes.destructive_hint is (name == "rollback")
        assert notes.open_world_hint is False
    pin = tools["pin"].input_schema
    assert sorted(pin["required"]) == ["intent", "target"]
    assert pin["properties"]["intent"]["enum"] == [
        "latency",
        "interactive",
        "normal",
        "batch",
        "background",
    ]
    assert pin["properties"]["target"]["maxLength"] == 4096
    assert tools["history"].input_schema["properties"]["limit"]["maximum"] == 1000
    assert tools["rollback"].input_schema["required"] == ["reason"]


async def test_reads(ctl: Schedctl, service: BusService, control: FakeControl) -> None:
    control.records = [LearnedRecord(RecordKind.NOTE, 1.5, "/a", "noted", id=1)]
    async with session(ctl) as connected:
        assert (await good(connected, "status"))["policy"] == "intent-default"
        found = (await good(connected, "workloads"))["workloads"]
        assert [each["unit"] for each in found] == ["build.service", "nginx.service"]
        assert (await good(connected, "policies"))["policies"][0]["name"] == "intent-default"
        shown = (await good(connected, "show_policy", policy="intent-default"))["policy"]
        assert shown["verdicts"][0]["kernel"] == "7.3.4-test"
        found = (await good(connected, "search_policies", intent="latency", here=True))["found"]
        assert found[0]["neighbours"][0]["did_well"] is True
        assert control.catalogue.asked["limit"] == 20
        trials = (await good(connected, "policy_history"))["history"]["trials"]
        assert trials[0]["kind"] == "rolled-back"
        explained = await good(connected, "explain", target="nginx")
        assert explained["explain"]["intent"]["class"] == "normal"
        records = (await good(connected, "history", limit=5, kind="note"))["records"]
        assert records[0]["summary"] == "noted"
    assert control.calls == []


async def test_verify_tells_a_model_what_to_change(
    ctl: Schedctl, service: BusService, tmp_path: Path
) -> None:
    policy = tmp_path / "mine.yaml"
    policy.write_text("version: 1\npolicies:\n  - {name: mine, schedulr: intent}\n")
    async with session(ctl) as connected:
        found = await good(connected, "verify", file=str(policy))
        assert found["kind"] == "policy" and found["passed"] is False
        check = found["checks"][0]
        assert (check["name"], check["status"]) == ("policy", "failed")
        assert check["reason"].startswith("policy.") and check["hint"]
        assert "schedulr" in check["sentence"] + check["evidence"]
        assert "nothing.txt" in await bad(connected, "verify", file=str(tmp_path / "nothing.txt"))


async def test_changes_are_the_callers(
    ctl: Schedctl, service: BusService, control: FakeControl, polkit: MockPolkit
) -> None:
    await polkit.allow_all()
    async with session(ctl) as connected:
        pinned = await good(connected, "pin", target="nginx", intent="latency")
        assert pinned["workload"]["intent"] == "latency"
        await good(connected, "unpin", target="nginx")
        status = await good(connected, "rollback", reason="a test")
        assert status["policy"] == "kernel-default"
        retired = await good(connected, "retire_policy", policy="intent-default", reason="a test")
        assert retired["policy"]["standing"] == "retired"
        await good(connected, "promote_policy", policy="intent-default", reason="a test")
    assert [call[0] for call in control.calls] == [
        *("pin", "unpin", "rollback", "retired", "promoted"),
    ]


async def test_refusals_change_nothing_and_say_why(
    ctl: Schedctl, service: BusService, control: FakeControl, polkit: MockPolkit
) -> None:
    async with session(ctl) as connected:
        assert "AccessDenied" in await bad(connected, "pin", target="nginx", intent="latency")
        assert "AccessDenied" in await bad(connected, "rollback", reason="x")
        await polkit.allow_all()
        assert "NotFound" in await bad(connected, "explain", target="nothing")
        assert "intent" in await bad(connected, "pin", target="nginx", intent="fast")
        assert "limit" in await bad(connected, "history", limit=0)
        assert "target" in await bad(connected, "pin", target="", intent="batch")
        assert (await good(connected, "status"))["state"] == "active"
    assert control.calls == []


async def test_without_the_daemon_every_tool_says_so(ctl: Schedctl) -> None:
    async with session(ctl) as connected:
        assert "Unreachable" in await bad(connected, "status")


async def test_without_the_sdk_the_error_names_the_package(ctl: Schedctl, tmp_path: Path) -> None:
    """As on a Debian machine without schedcp-agent: `import mcp` finds nothing."""
    block = tmp_path / "sitecustomize.py"
    block.write_text(
        "import sys\n"
        "class No:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'mcp':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}')\n"
        "sys.meta_path.insert(0, No())\n",
        encoding="utf-8",
    )
    paths = f"{tmp_path}:{environment()['PYTHONPATH']}"
    ran = await ctl("mcp", PYTHONPATH=paths)
    assert ran.code == 1
    assert "apt install schedcp-agent" in ran.err
    assert ran.out == ""


async def test_ends_with_its_standard_input(ctl: Schedctl) -> None:
    process = await asyncio.create_subprocess_exec(
        *ctl.argv("mcp"), env=environment(PYTHONWARNINGS=""), stdin=asyncio.subprocess.DEVNULL
    )
    assert await asyncio.wait_for(process.wait(), 60) == 0
