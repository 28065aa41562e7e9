# SPDX-License-Identifier: Apache-2.0
"""sched-agent as its package installs it: socket activation, a dynamic user, real litellm, gone
when idle; and the daemon that asks it about a workload that no rule knows.

Needs `make deb`, like test_packages.py.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from schedcpd.microvm import MicroVm, VmSpec, resume
from schedcpd.microvm.cache import cache_dir

LIMIT_S = 2400.0
INSTALL_S = 900.0
ANSWER_S = 900.0  # importing litellm takes a minute or more under emulation
LLM_SERVER = Path(__file__).resolve().parents[1] / "llm_server.py"

SERVE = """
import asyncio, socket
from llm_server import LlmServer
async def main():
    listen = socket.create_server(("127.0.0.1", 8091))
    listen.setblocking(False)
    async with LlmServer(listen):
        await asyncio.sleep(3600)
asyncio.run(main())
"""
AGENT_YAML = """
model: openai/scripted
api_base: http://127.0.0.1:8091/v1
timeout_s: 600
idle_exit_s: 15
"""
DROP_IN = "agent: {timeout_s: 600}\n"


async def sh(vm: MicroVm, script: str, timeout_s: float = 180.0) -> str:
    return (await vm.run(["sh", "-c", script], timeout_s=timeout_s)).check().text.strip()


async def put_text(vm: MicroVm, tmp_path: Path, text: str, path: str) -> None:
    file = tmp_path / Path(path).name
    file.write_text(text)
    await vm.put(file, path)


async def eventually(vm: MicroVm, what: str, check: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + ANSWER_S
    while not await check():
        if time.monotonic() > end:
            log = await sh(vm, "journalctl --no-pager -u schedcp-agent -u schedcpd | tail -60")
            pytest.fail(f"not within {ANSWER_S:.0f} s: {what}\n{log}")
        await asyncio.sleep(2)


async def test_an_unknown_workload_is_asked_about(vm_image: VmSpec, tmp_path: Path) -> None:
    debs = sorted((cache_dir() / "deb" / "current").glob("*.deb"))
    assert len(debs) == 2, "run `make deb`"
    async with resume(vm_image, limit_s=LIMIT_S) as vm:
        for deb in debs:
            await vm.put(deb, f"/root/debs/{deb.name}", timeout_s=300)
        await sh(vm, "dpkg -i /root/debs/*.deb", INSTALL_S)

        # As installed: no model, nothing running, and status says so.
        status = json.loads(await sh(vm, "schedctl status --json"))
        assert "not configured" in json.dumps(status)

        await vm.put(LLM_SERVER, "/root/llm/llm_server.py")
        await put_text(vm, tmp_path, SERVE, "/root/llm/serve.py")
        await put_text(vm, tmp_path, AGENT_YAML, "/etc/schedcp/agent.yaml")
        await put_text(vm, tmp_path, DROP_IN, "/etc/schedcp/schedcpd.yaml.d/agent.yaml")
        await sh(vm, "systemd-run --unit=llm -d --working-directory=/root/llm python3 serve.py")
        await sh(vm, "systemctl stop schedcp-agent.service; systemctl reload schedcpd.service")
        await sh(vm, "cp /bin/sleep /usr/local/bin/frobnicate")
        await sh(vm, "systemd-run --unit=frobnicator /usr/local/bin/frobnicate 9999")

        # While it is asked, its process is nobody's and may do nothing.
        async def running() -> bool:
            return await sh(vm, "systemctl show -P MainPID schedcp-agent.service") != "0"

        await eventually(vm, "the agent is started by its socket", running)
        pid = await sh(vm, "systemctl show -P MainPID schedcp-agent.service")
        facts = await sh(vm, f"grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' /proc/{pid}/status")
        lines = dict(line.split(":\t") for line in facts.splitlines())
        assert int(lines["Uid"].split("\t")[0]) >= 61184, "a dynamic user"
        assert (int(lines["CapEff"], 16), lines["NoNewPrivs"], lines["Seccomp"]) == (0, "1", "2")

        async def answered() -> bool:
            found = json.loads(await sh(vm, "schedctl explain frobnicator.service --json"))
            return '"source": "agent"' in json.dumps(found)

        await eventually(vm, "the model's intent stands", answered)
        found = await sh(vm, "schedctl explain frobnicator.service --json")
        assert '"batch"' in found
        assert "openai/scripted" in found
        assert "openai/scripted" in await sh(vm, "schedctl log --json")

        async def gone() -> bool:
            return await sh(vm, "systemctl show -P ActiveState schedcp-agent.service") == "inactive"

        await eventually(vm, "it goes when idle", gone)
        assert await sh(vm, "systemctl show -P Result schedcp-agent.service") == "success"
        assert await sh(vm, "systemctl is-active schedcp-agent.socket") == "active"
        await sh(vm, "test -S /run/schedcp/agent.sock")
        await sh(vm, "schedctl status --json")

        # Only root may use the socket.
        probe = "import socket; socket.socket(socket.AF_UNIX).connect('/run/schedcp/agent.sock')"
        denied = await vm.run(["runuser", "-u", "nobody", "--", "python3", "-c", probe])
        assert denied.exit_code != 0
        assert "PermissionError" in denied.error_text
