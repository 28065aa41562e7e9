# SPDX-License-Identifier: Apache-2.0
"""The built packages in a real machine: install, upgrade, crash, remove, purge, and no sched_ext.

Needs `make deb` (tools/build-deb): it tests the packages that users would get.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from schedcpd.microvm import MicroVm, VmSpec, boot, resume
from schedcpd.microvm.cache import cache_dir, stderr_progress
from schedcpd.microvm.kernel import stable_kernel

PACKAGES = ("schedcp", "schedcp-agent")
UNITS = (
    "schedcpd.service",
    "schedcp-scheduler.service",
    "schedcp-verify.service",
    "schedcp-agent.service",
)
SECURITY = (Path(__file__).resolve().parents[2] / "docs/security.md").read_text(encoding="utf-8")
INSTALL_S = 900.0
LIMIT_S = 2400.0
SETTLE_S = 120.0
# What a sandbox that is too tight leaves in the journal.
DENIED = re.compile(
    r"permission denied|operation not permitted|read-only file system|accessdenied"
    r"|not authorized|apparmor=.denied|seccomp|traceback",
    re.IGNORECASE,
)


@pytest.fixture
def debs() -> dict[str, Path]:
    directory = cache_dir() / "deb" / "current"
    found = {path.name.split("_")[0]: path for path in directory.glob("*.deb")}
    assert set(found) == set(PACKAGES), f"{directory} has no packages: run `make deb`"
    return found


def newer(deb: Path, old: str, new: str, directory: Path) -> Path:
    """The same package under a higher version, as an upgrade would bring it."""
    tree = directory / deb.stem
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True, timeout=300)
    control = tree / "DEBIAN/control"
    text = control.read_text(encoding="utf-8")
    assert f"Version: {old}\n" in text
    text = text.replace(f"Version: {old}\n", f"Version: {new}\n")
    control.write_text(text.replace(f"(= {old})", f"(= {new})"), encoding="utf-8")
    out = directory / deb.name.replace(f"_{old}_", f"_{new}_")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, out], check=True)
    shutil.rmtree(tree)
    return out


async def sh(vm: MicroVm, script: str, timeout_s: float = 120.0) -> str:
    """What the script printed; it must succeed."""
    return (await vm.run(["sh", "-c", script], timeout_s=timeout_s)).check().text.strip()


async def outcome(vm: MicroVm, script: str, timeout_s: float = 120.0) -> tuple[int, str]:
    result = await vm.run(["sh", "-c", script], timeout_s=timeout_s)
    return result.exit_code, result.text.strip()


async def install(vm: MicroVm, files: list[Path]) -> None:
    for file in files:
        await vm.put(file, f"/root/debs/{file.name}", timeout_s=300)
    names = " ".join(f"/root/debs/{file.name}" for file in files)
    await sh(vm, f"dpkg -i {names} && rm -r /root/debs", INSTALL_S)


async def eventually(what: str, check: Callable[[], Awaitable[bool]], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not await check():
        assert time.monotonic() < end, f"not within {limit_s:.0f} s: {what}"
        await asyncio.sleep(1)


async def status(vm: MicroVm) -> dict[str, object]:
    answer = json.loads(await sh(vm, "schedctl status --json"))["status"]
    assert isinstance(answer, dict)
    return answer


async def kernel_state(vm: MicroVm) -> tuple[str, str, str]:
    """state, ops and enable_seq of sched_ext, as the kernel says."""
    text = await sh(
        vm,
        "cd /sys/kernel/sched_ext; cat state; cat root/ops 2>/dev/null || echo -; cat enable_seq",
    )
    state, ops, sequence = text.splitlines()
    return state, ops, sequence


async def wait_attached(vm: MicroVm) -> tuple[str, str, str]:
    async def attached() -> bool:
        code, text = await outcome(vm, "schedctl status --json")
        if code == 3:  # unreachable: it is just being started again
            return False
        told = json.loads(text)["status"]
        return (await kernel_state(vm))[0] == "enabled" and told["state"] == "active"

    try:
        await eventually("a scheduler of ours is attached", attached, SETTLE_S)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{await status(vm)}\n{await journal(vm)}") from None
    return await kernel_state(vm)


async def journal(vm: MicroVm) -> str:
    units = " ".join(f"-u {unit}" for unit in (*UNITS, "dbus.service", "polkit.service"))
    return await sh(vm, f"journalctl --no-pager -o short-monotonic {units}")


async def assert_nothing_denied(vm: MicroVm) -> None:
    denied = [line for line in (await journal(vm)).splitlines() if DENIED.search(line)]
    refusals = "apparmor=.DENIED|avc: *denied|type=1326"  # the last is seccomp's
    kernel = await sh(vm, f"journalctl --no-pager -k | grep -iE '{refusals}' || true")
    assert not denied and not kernel, "\n".join([*denied, kernel])


async def traces(vm: MicroVm) -> set[str]:
    """Every file named after us or, among systemd's, that speaks of us."""
    found = await sh(
        vm,
        "find /etc /var /run /usr /tmp -xdev -path '*schedcp*' -not -path '/var/log/journal/*';"
        " grep -l schedcp -r /etc/systemd || true",
    )
    return set(found.splitlines())


async def test_install_upgrade_remove_purge(
    vm_image: VmSpec, debs: dict[str, Path], tmp_path: Path
) -> None:
    old = debs["schedcp"].name.split("_")[1]
    async with resume(vm_image, limit_s=LIMIT_S) as vm:
        there_before = await traces(vm)  # the micro-VM's own guest agent
        # Install: it runs, is enabled, and puts a scheduler in place by itself.
        await install(vm, list(debs.values()))
        assert await sh(vm, "systemctl is-active schedcpd") == "active"
        for unit in ("schedcpd.service", "schedcp-scheduler.socket", "schedcp-agent.socket"):
            assert await sh(vm, f"systemctl is-enabled {unit}") == "enabled"
        before = await wait_attached(vm)
        host = await sh(vm, "systemctl show -P MainPID schedcp-scheduler.service")
        assert host != "0"
        code, text = await outcome(vm, "schedctl status")
        assert code == 0 and "active" in text
        await assert_nothing_denied(vm)

        # What ships is in order, and schedctl says so without the daemon.
        for policies in ("10-intent.yaml", "30-system.yaml"):
            await sh(vm, f"schedctl verify /usr/share/schedcp/policies.d/{policies}")
        shipped = "schedctl verify --no-vm /usr/share/schedcp/bpf/intent.bpf.o"
        code, text = await outcome(vm, f"cd / && runuser -u nobody -- {shipped}")
        assert code == 5 and "nothing that is not allowed" in text and "not proved" in text, text

        # The agent starts on demand in its own environment, and schedctl finds the MCP SDK there.
        assert "schedcp-agent" not in await sh(vm, "systemctl list-units -t service --state=active")
        await sh(vm, "cd / && runuser -u nobody -- schedcp-agent --check-config", 300)
        await sh(vm, "PYTHONPATH=/usr/lib/schedcp-agent python3 -c 'import litellm, mcp'", 600)
        await assert_nothing_denied(vm)

        # A crash of the daemon: the scheduler stays, the next daemon adopts it.
        await sh(vm, "systemctl kill -s KILL schedcpd.service")
        assert await wait_attached(vm) == before
        assert await sh(vm, "systemctl show -P NRestarts schedcpd.service") == "1"

        # Upgrade: the daemon is a new one; the same host still holds the same scheduler.
        daemon = await sh(vm, "systemctl show -P MainPID schedcpd.service")
        await install(vm, [newer(deb, old, f"{old}+1", tmp_path) for deb in debs.values()])
        assert await sh(vm, "systemctl show -P MainPID schedcpd.service") != daemon
        assert await wait_attached(vm) == before
        assert await sh(vm, "systemctl show -P MainPID schedcp-scheduler.service") == host
        await assert_nothing_denied(vm)

        # Stopping the daemon takes away neither the scheduler nor the other units' sockets.
        await sh(vm, "systemctl stop schedcpd.service")
        assert (await kernel_state(vm)) == before
        await sh(vm, "test -S /run/schedcp/scheduler.sock && test -S /run/schedcp/agent.sock")

        # Remove: every task is back with the kernel's default; configuration and state stay.
        await sh(vm, "dpkg -r schedcp-agent schedcp", INSTALL_S)
        assert (await kernel_state(vm))[0] == "disabled"
        await sh(vm, "test -f /etc/schedcp/schedcpd.yaml && test -d /var/lib/schedcp")
        assert (await outcome(vm, "systemctl is-active schedcpd schedcp-scheduler.socket"))[0] != 0

        # Purge: nothing is left.
        await sh(vm, "dpkg -P schedcp-agent schedcp", INSTALL_S)
        assert await traces(vm) - there_before == set()


async def test_a_daemon_that_keeps_crashing_gives_the_machine_back(
    vm_image: VmSpec, debs: dict[str, Path]
) -> None:
    async with resume(vm_image, limit_s=LIMIT_S) as vm:
        await install(vm, [debs["schedcp"]])
        await wait_attached(vm)
        # Every further start fails at once.
        await sh(
            vm,
            "mkdir -p /run/systemd/system/schedcpd.service.d &&"
            " printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\nRestartSec=10ms\\n"
            "RestartMaxDelaySec=50ms\\n' > /run/systemd/system/schedcpd.service.d/crash.conf &&"
            " systemctl daemon-reload && systemctl kill -s KILL schedcpd.service",
        )

        async def default() -> bool:
            return (await kernel_state(vm))[0] == "disabled"

        await eventually("the kernel's default is back", default, SETTLE_S)
        assert await sh(vm, "systemctl is-failed schedcpd.service") == "failed"
        assert await sh(vm, "systemctl is-active schedcp-fallback.target") == "active"

        # Repaired and started, it does not load by itself what went wrong; an operator's word does.
        await sh(
            vm,
            "rm -r /run/systemd/system/schedcpd.service.d && systemctl daemon-reload &&"
            " systemctl reset-failed schedcpd.service && systemctl start schedcpd.service",
        )
        assert (await status(vm))["state"] == "default"
        await sh(vm, "schedctl apply auto")
        await wait_attached(vm)
        assert (await outcome(vm, "systemctl is-active schedcp-fallback.target"))[0] != 0


async def test_exposure_of_the_units(vm_image: VmSpec, debs: dict[str, Path]) -> None:
    """Trixie's own `systemd-analyze security`; the figures are those of docs/security.md."""
    documented = dict(
        re.findall(r"^\| `(schedcp\S+\.service)` \| ([0-9.]+) \|", SECURITY, re.MULTILINE)
    )
    async with resume(vm_image, limit_s=LIMIT_S) as vm:
        await install(vm, list(debs.values()))
        measured = {}
        for unit in UNITS:
            text = await sh(vm, f"systemd-analyze security --no-pager {unit} | tail -1")
            found = re.search(rf"for {re.escape(unit)}: ([0-9.]+)", text)
            assert found is not None, text
            measured[unit] = found[1]
        verify = await sh(vm, f"systemd-analyze verify --man=no {' '.join(UNITS)} 2>&1")
    assert verify == ""
    assert measured == documented
    assert all(float(value) <= 2.5 for value in measured.values())


async def test_a_kernel_without_sched_ext(debs: dict[str, Path]) -> None:
    spec = VmSpec(kernel=await stable_kernel(stderr_progress()))
    async with boot(spec, limit_s=LIMIT_S) as vm:
        assert await sh(vm, "test ! -e /sys/kernel/sched_ext && echo none") == "none"
        await install(vm, [debs["schedcp"]])
        assert await sh(vm, "systemctl is-active schedcpd") == "active"
        told = await status(vm)
        assert told["state"] == "unsupported"
        assert "sched_ext" in str(told["state_reason"])
        code, text = await outcome(vm, "schedctl pin dbus.service batch 2>&1")
        assert "has no sched_ext" in text
        assert code == 5
        assert await sh(vm, "systemctl show -P NRestarts schedcpd.service") == "0"
        assert await sh(vm, "systemctl show -P MainPID schedcp-scheduler.service") == "0"
        await assert_nothing_denied(vm)
        await sh(vm, "dpkg -P schedcp", INSTALL_S)
